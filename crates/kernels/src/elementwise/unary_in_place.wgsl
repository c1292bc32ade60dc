// An operation on each of a range of elements, an invocation for each.
const SIZE: u32 = 256u;

struct Params {
    operation: u32,
    first: u32,
    elements: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> changing: array<scalar>;
@group(0) @binding(1) var<storage, read_write> failure: array<atomic<u32>, 2>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let len = arrayLength(&changing);
    if p.operation > LAST {
        fail(0u, p.operation);
        return;
    }
    if p.first > len || p.elements > len - p.first {
        fail(1u, p.first);
        return;
    }
    let item = (group.x + group.y * groups.x) * SIZE + lid;
    if item < p.elements {
        changing[p.first + item] = scalar(apply(p.operation, f32(changing[p.first + item])));
    }
}
