// Normalisation, a workgroup for each row. The bindings, and what is read of them, are in plain.wgsl, added.wgsl and
// unbiased.wgsl.
override RMS: bool = false;

struct Params {
    width: u32,
    epsilon: f32,
}
var<immediate> p: Params;

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let len = arrayLength(&out);
    if p.width == 0u {
        fail(0u, 0u);
        return;
    }
    if len % p.width != 0u || !operands_have(len, p.width) {
        fail(1u, 0u);
        return;
    }
    let row = group.x + group.y * groups.x;
    if row >= len / p.width {
        return;
    }
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
