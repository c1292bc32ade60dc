@group(0) @binding(0) var<storage, read_write> x: array<u32>;
var<immediate> salt: u32;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    x[id.x] = 5u * x[id.x] + salt;
}
