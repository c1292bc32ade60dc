// The operands for heads of any width: one element at a time.
const WIDE: bool = false;
@group(0) @binding(0) var<storage, read> qkv: array<scalar>;
@group(0) @binding(1) var<storage, read> offsets: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<scalar>;

fn qkv_len() -> u32 {
    return arrayLength(&qkv);
}

fn out_len() -> u32 {
    return arrayLength(&out);
}

// Four values from `at` on, of which there are `more`, and 0 past them.
fn load(at: u32, more: u32) -> vec4<f32> {
    var values = vec4<f32>(f32(qkv[at]), 0.0, 0.0, 0.0);
    if more > 1u {
        values.y = f32(qkv[at + 1u]);
    }
    if more > 2u {
        values.z = f32(qkv[at + 2u]);
    }
    if more > 3u {
        values.w = f32(qkv[at + 3u]);
    }
    return values;
}

fn store(at: u32, more: u32, values: vec4<f32>) {
    out[at] = scalar(values.x);
    if more > 1u {
        out[at + 1u] = scalar(values.y);
    }
    if more > 2u {
        out[at + 2u] = scalar(values.z);
    }
    if more > 3u {
        out[at + 3u] = scalar(values.w);
    }
}
