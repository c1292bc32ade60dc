// An operation on one operand, an invocation for each element. The first workgroup checks the parameters.
struct Params {
    operation: u32,
    shape: array<u32, 6>,
    source: View,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> source: array<scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<scalar>;
@group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let len = arrayLength(&out);
    if p.operation > LAST {
        fail(0u, p.operation);
        return;
    }
    let number = group.x + group.y * groups.x;
    if number == 0u {
        if elements(p.shape, len) != len {
            fail(1u, 0u);
        } else if !is_inside(p.source, p.shape, arrayLength(&source)) {
            fail(2u, 0u);
        }
    }
    let item = number * SIZE + lid;
    if item < len {
        out[item] = scalar(apply(p.operation, f32(source[locate(item, p.shape, p.source)])));
    }
}
