// The operands for any number of inputs and outputs: one element at a time.
const WIDE: bool = false;
@group(0) @binding(0) var<storage, read> x: array<scalar>;
// In panels of 32 outputs, k-major, whatever the number of outputs.
@group(0) @binding(1) var<storage, read> weight: array<vec4<scalar>>;
@group(0) @binding(2) var<storage, read> bias: array<scalar>;
@group(0) @binding(3) var<storage, read_write> out: array<scalar>;

fn x_len() -> u32 {
    return arrayLength(&x);
}

fn bias_len() -> u32 {
    return arrayLength(&bias);
}

fn out_len() -> u32 {
    return arrayLength(&out);
}

// Four values from `at` on, with 0 from `end` on.
fn load_x(at: u32, end: u32) -> vec4<f32> {
    var values = vec4<f32>();
    if at < end {
        values.x = f32(x[at]);
        let more = end - at;
        if more > 1u {
            values.y = f32(x[at + 1u]);
        }
        if more > 2u {
            values.z = f32(x[at + 2u]);
        }
        if more > 3u {
            values.w = f32(x[at + 3u]);
        }
    }
    return values;
}

fn x_at(at: u32, end: u32) -> vec4<f32> {
    return load_x(at, end);
}

// Bias and activation for up to four columns of a row, from `column` on. There is at least one.
fn finish(row: u32, column: u32, sums: vec4<f32>) {
    let at = row * p.outputs + column;
    let more = p.outputs - column;
    out[at] = scalar(activate(sums.x + f32(bias[column])));
    if more > 1u {
        out[at + 1u] = scalar(activate(sums.y + f32(bias[column + 1u])));
    }
    if more > 2u {
        out[at + 2u] = scalar(activate(sums.z + f32(bias[column + 2u])));
    }
    if more > 3u {
        out[at + 3u] = scalar(activate(sums.w + f32(bias[column + 3u])));
    }
}
