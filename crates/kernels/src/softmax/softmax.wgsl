// Softmax, a workgroup for each row.
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
    var key = 0u;
    for (var i = lid; i < p.width; i += SIZE) {
        key = max(key, key_of(f32(x[start + i])));
    }
    let most = value_of(greatest(key, lid));
    // With NaN or +inf in the row, and with nothing but -inf, all of it is NaN.
    let undefined = is_nan(most) || is_infinite(most);
    var sum = 0.0;
    for (var i = lid; i < p.width; i += SIZE) {
        sum += exp_of(f32(x[start + i]) - most);
    }
    let powers = total(sum, lid);
    for (var i = lid; i < p.width; i += SIZE) {
        var result = exp_of(f32(x[start + i]) - most) / powers;
        if undefined {
            result = not_a_number();
        }
        out[start + i] = scalar(result);
    }
}
