@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read_write> to: array<u32>;
@group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x == 0u && source[0] % 2u == 0u {
        if atomicCompareExchangeWeak(&failure[0], 0u, 1u).exchanged {
            atomicStore(&failure[1], source[0]);
        }
        return;
    }
    to[id.x] = source[id.x];
}
