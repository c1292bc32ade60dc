// The entry point of kernels with a workgroup for each row, or each item. A kernel says with `contradiction` what is wrong
// with its parameters (the failure's number plus 1, and what it is about; 0 if nothing is), with `items` how many there
// are, and with `compute` what all invocations of a workgroup do together for one.
const SIZE: u32 = 128u;

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let wrong = contradiction();
    if wrong.x != 0u {
        fail(wrong.x - 1u, wrong.y);
        return;
    }
    let item = group.x + group.y * groups.x;
    if item < items() {
        compute(item, lid);
    }
}
