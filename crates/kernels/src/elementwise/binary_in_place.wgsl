// An operation on two operands. The result replaces the first. An invocation for each element that changes. The first
// workgroup checks the parameters.
struct Params {
    operation: u32,
    first: u32,
    shape: array<u32, 6>,
    b: View,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> b: array<scalar>;
@group(0) @binding(1) var<storage, read_write> changing: array<scalar>;
@group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    if p.operation > LAST {
        fail(0u, p.operation);
        return;
    }
    let len = arrayLength(&changing);
    if p.first > len {
        fail(1u, p.first);
        return;
    }
    let count = elements(p.shape, len - p.first);
    if count > len - p.first {
        fail(1u, p.first);
        return;
    }
    let number = group.x + group.y * groups.x;
    if number == 0u && count > 0u && !is_inside(p.b, p.shape, arrayLength(&b)) {
        fail(2u, 0u);
    }
    let item = number * SIZE + lid;
    if item >= count {
        return;
    }
    let first = number_of(changing[p.first + item]);
    let second = number_of(b[locate(item, p.shape, p.b)]);
    if !has_result(p.operation, second) {
        fail(3u, item);
        return;
    }
    changing[p.first + item] = scalar(apply(p.operation, first, second));
}
