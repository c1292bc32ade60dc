// The operands for heads of any width: one element at a time.
const WIDE: bool = false;
@group(0) @binding(0) var<storage, read> query: array<scalar>;
@group(0) @binding(1) var<storage, read> key: array<scalar>;
@group(0) @binding(2) var<storage, read> value: array<scalar>;
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
@group(0) @binding(4) var<storage, read> biases: array<scalar>;
@group(0) @binding(5) var<storage, read_write> out: array<scalar>;

fn query_len() -> u32 {
    return arrayLength(&query);
}

fn key_len() -> u32 {
    return arrayLength(&key);
}

fn value_len() -> u32 {
    return arrayLength(&value);
}

fn out_len() -> u32 {
    return arrayLength(&out);
}

fn element(which: u32, at: u32) -> f32 {
    if which == QUERY {
        return f32(query[at]);
    }
    if which == KEY {
        return f32(key[at]);
    }
    return f32(value[at]);
}

// Four values of an operand from `at` on, of which there are `more`, and 0 past them.
fn load(which: u32, at: u32, more: u32) -> vec4<f32> {
    var values = vec4<f32>(element(which, at), 0.0, 0.0, 0.0);
    if more > 1u {
        values.y = element(which, at + 1u);
    }
    if more > 2u {
        values.z = element(which, at + 2u);
    }
    if more > 3u {
        values.w = element(which, at + 3u);
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
