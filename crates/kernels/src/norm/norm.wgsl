// Normalisation, a workgroup for each row. The bindings, and what is read of them, are in plain.wgsl, added.wgsl and
// unbiased.wgsl.
override RMS: bool = false;

struct Params {
    width: u32,
    epsilon: f32,
}
var<immediate> p: Params;

fn contradiction() -> vec2<u32> {
    let len = arrayLength(&out);
    if p.width == 0u {
        return vec2<u32>(1u, 0u);
    }
    if len % p.width != 0u || !operands_have(len, p.width) {
        return vec2<u32>(2u, 0u);
    }
    return vec2<u32>();
}

fn items() -> u32 {
    return arrayLength(&out) / p.width;
}

fn compute(row: u32, lid: u32) {
    let start = row * p.width;
    var mean = 0.0;
    if !RMS {
        var sum = 0.0;
        for (var i = lid; i < p.width; i += SIZE) {
            sum += value(start + i);
        }
        mean = total(sum, lid) / f32(p.width);
    }
    var squares = 0.0;
    for (var i = lid; i < p.width; i += SIZE) {
        let distance = value(start + i) - mean;
        squares = fma(distance, distance, squares);
    }
    let variance = total(squares, lid) / f32(p.width);
    let scale = 1.0 / sqrt(variance + p.epsilon);
    for (var i = lid; i < p.width; i += SIZE) {
        out[start + i] = scalar((value(start + i) - mean) * scale * f32(weight[i]) + bias_of(i));
    }
}
