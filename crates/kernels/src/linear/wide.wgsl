// The operands where the numbers of inputs and outputs are multiples of 4: four elements at a time.
const WIDE: bool = true;
@group(0) @binding(0) var<storage, read> x: array<vec4<scalar>>;
// In panels of 32 outputs, k-major, whatever the number of outputs.
@group(0) @binding(1) var<storage, read> weight: array<vec4<scalar>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<scalar>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<scalar>>;

fn x_len() -> u32 {
    return arrayLength(&x) * 4u;
}

fn bias_len() -> u32 {
    return arrayLength(&bias) * 4u;
}

fn out_len() -> u32 {
    return arrayLength(&out) * 4u;
}

// Four values from `at` on, with 0 from `end` on.
fn load_x(at: u32, end: u32) -> vec4<f32> {
    if at < end {
        return vec4<f32>(x[at / 4u]);
    }
    return vec4<f32>();
}

// The same without a branch: past the end it gives the last four.
fn x_at(at: u32, end: u32) -> vec4<f32> {
    return vec4<f32>(x[min(at, end - 4u) / 4u]);
}

// Bias and activation for four columns of a row, from `column` on.
fn finish(row: u32, column: u32, sums: vec4<f32>) {
    let v = sums + vec4<f32>(bias[column / 4u]);
    let result = vec4<f32>(activate(v.x), activate(v.y), activate(v.z), activate(v.w));
    out[(row * p.outputs + column) / 4u] = vec4<scalar>(result);
}
