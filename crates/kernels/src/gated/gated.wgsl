// A gate, a workgroup for each row.
struct Params {
    width: u32,
    activation: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<scalar>;
@group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;

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
    if p.activation >= ACTIVATIONS {
        fail(1u, p.activation);
        return;
    }
    if len % p.width != 0u || !is_product(arrayLength(&x), len, 2u) {
        fail(2u, 0u);
        return;
    }
    let row = group.x + group.y * groups.x;
    if row >= len / p.width {
        return;
    }
    for (var i = lid; i < p.width; i += 128u) {
        let gate = f32(x[2u * row * p.width + i]);
        let value = f32(x[(2u * row + 1u) * p.width + i]);
        out[row * p.width + i] = scalar(activation_of(p.activation, gate) * value);
    }
}
