// Rows to unit length, a workgroup for each row.
struct Params {
    width: u32,
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
    if len % p.width != 0u || arrayLength(&x) != len {
        return vec2<u32>(2u, 0u);
    }
    return vec2<u32>();
}

fn items() -> u32 {
    return arrayLength(&out) / p.width;
}

fn compute(row: u32, lid: u32) {
    let start = row * p.width;
    var squares = 0.0;
    for (var i = lid; i < p.width; i += SIZE) {
        let value = f32(x[start + i]);
        squares = fma(value, value, squares);
    }
    let sum = total(squares, lid);
    // The root's comparison with 1e-12, before the root: squares that small are 0 on devices without subnormal numbers.
    var length = sqrt(sum);
    if !is_nan(sum) && sum < 1e-24 {
        length = 1e-12;
    }
    for (var i = lid; i < p.width; i += SIZE) {
        out[start + i] = scalar(f32(x[start + i]) / length);
    }
}
