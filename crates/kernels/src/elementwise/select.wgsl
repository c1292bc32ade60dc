// One of two operands, an invocation for each element. The first workgroup checks the parameters.
struct Params {
    shape: array<u32, 6>,
    mask: View,
    a: View,
    b: View,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> mask: array<u32>;
@group(0) @binding(1) var<storage, read> a: array<scalar>;
@group(0) @binding(2) var<storage, read> b: array<scalar>;
@group(0) @binding(3) var<storage, read_write> out: array<scalar>;
@group(0) @binding(4) var<storage, read_write> failure: array<atomic<u32>, 2>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let len = arrayLength(&out);
    let number = group.x + group.y * groups.x;
    if number == 0u {
        if elements(p.shape, len) != len {
            fail(0u, 0u);
        } else if !is_inside(p.mask, p.shape, arrayLength(&mask)) {
            fail(1u, 0u);
        } else if !is_inside(p.a, p.shape, arrayLength(&a)) {
            fail(2u, 0u);
        } else if !is_inside(p.b, p.shape, arrayLength(&b)) {
            fail(3u, 0u);
        }
    }
    let item = number * SIZE + lid;
    if item >= len {
        return;
    }
    if mask[locate(item, p.shape, p.mask)] != 0u {
        out[item] = a[locate(item, p.shape, p.a)];
    } else {
        out[item] = b[locate(item, p.shape, p.b)];
    }
}
