// The operands where a head's width is a multiple of 4: four elements at a time.
const WIDE: bool = true;
@group(0) @binding(0) var<storage, read> qkv: array<vec4<scalar>>;
@group(0) @binding(1) var<storage, read> offsets: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<scalar>>;

fn qkv_len() -> u32 {
    return arrayLength(&qkv) * 4u;
}

fn out_len() -> u32 {
    return arrayLength(&out) * 4u;
}

fn load(at: u32, more: u32) -> vec4<f32> {
    return vec4<f32>(qkv[at / 4u]);
}

fn store(at: u32, more: u32, values: vec4<f32>) {
    out[at / 4u] = vec4<scalar>(values);
}
