@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read> b: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
var<immediate> salt: u32;

// Some take long, so that what does not wait for them reads too early: 0 after many steps, which no compiler knows.
fn late() -> u32 {
    var x = salt;
    for (var i = 0u; i < 4096u; i++) {
        x = x * 1664525u + 1013904223u;
    }
    return select(0u, 1u, x == salt);
}

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = 31u * a[id.x] + 17u * b[id.x] + salt;
    if salt % 32u == 0u {
        sum += late();
    }
    out[id.x] = sum;
}
