// The entry point of kernels with an invocation for each element of `out`, indices being clamped. A kernel says with
// `contradiction` what is wrong with its parameters (the failure's number plus 1, and what it is about; 0 if nothing
// is), which the first workgroup asks, and with `compute` what is done for an element.
@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let number = group.x + group.y * groups.x;
    if number == 0u {
        let wrong = contradiction();
        if wrong.x != 0u {
            fail(wrong.x - 1u, wrong.y);
        }
    }
    let item = number * SIZE + lid;
    if item < arrayLength(&out) {
        compute(item);
    }
}
