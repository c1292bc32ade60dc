// An operation on an operand and a number, an invocation for each element. The first workgroup checks the parameters.
struct Params {
    operation: u32,
    bits: u32,
    swapped: u32,
    shape: array<u32, 6>,
    source: View,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> source: array<scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<result>;
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
    let group_number = group.x + group.y * groups.x;
    if group_number == 0u {
        if elements(p.shape, len) != len {
            fail(1u, 0u);
        } else if !is_inside(p.source, p.shape, arrayLength(&source)) {
            fail(2u, 0u);
        }
    }
    let item = group_number * SIZE + lid;
    if item >= len {
        return;
    }
    let element = number_of(source[locate(item, p.shape, p.source)]);
    let fixed = number_of_bits(p.bits);
    let first = select(element, fixed, p.swapped != 0u);
    let second = select(fixed, element, p.swapped != 0u);
    if !has_result(p.operation, second) {
        fail(3u, item);
        return;
    }
    out[item] = result(apply(p.operation, first, second));
}
