// A gate, a workgroup for each row.
struct Params {
    width: u32,
    activation: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<scalar>;
@group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;

fn contradiction() -> vec2<u32> {
    let len = arrayLength(&out);
    if p.width == 0u {
        return vec2<u32>(1u, 0u);
    }
    if p.activation >= ACTIVATIONS {
        return vec2<u32>(2u, p.activation);
    }
    if len % p.width != 0u || !is_product(arrayLength(&x), len, 2u) {
        return vec2<u32>(3u, 0u);
    }
    return vec2<u32>();
}

fn items() -> u32 {
    return arrayLength(&out) / p.width;
}

fn compute(row: u32, lid: u32) {
    for (var i = lid; i < p.width; i += SIZE) {
        let gate = f32(x[2u * row * p.width + i]);
        let value = f32(x[(2u * row + 1u) * p.width + i]);
        out[row * p.width + i] = scalar(activation_of(p.activation, gate) * value);
    }
}
