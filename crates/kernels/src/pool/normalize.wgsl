// Rows to unit length, a workgroup for each row.
struct Params {
    width: u32,
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
    if len % p.width != 0u || arrayLength(&x) != len {
        fail(1u, 0u);
        return;
    }
    let row = group.x + group.y * groups.x;
    if row >= len / p.width {
        return;
    }
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
