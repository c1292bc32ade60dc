// The operands where all steps are multiples of 4: four elements at a time.
const WIDE: bool = true;
@group(0) @binding(0) var<storage, read> query: array<vec4<scalar>>;
@group(0) @binding(1) var<storage, read> key: array<vec4<scalar>>;
@group(0) @binding(2) var<storage, read> value: array<vec4<scalar>>;
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
@group(0) @binding(4) var<storage, read> biases: array<scalar>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<scalar>>;

fn query_len() -> u32 {
    return arrayLength(&query) * 4u;
}

fn key_len() -> u32 {
    return arrayLength(&key) * 4u;
}

fn value_len() -> u32 {
    return arrayLength(&value) * 4u;
}

fn out_len() -> u32 {
    return arrayLength(&out) * 4u;
}

fn load(which: u32, at: u32, more: u32) -> vec4<f32> {
    if which == QUERY {
        return vec4<f32>(query[at / 4u]);
    }
    if which == KEY {
        return vec4<f32>(key[at / 4u]);
    }
    return vec4<f32>(value[at / 4u]);
}

fn store(at: u32, more: u32, values: vec4<f32>) {
    out[at / 4u] = vec4<scalar>(values);
}
