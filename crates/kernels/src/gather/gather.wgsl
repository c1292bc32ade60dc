// Elements of an axis by their numbers, an invocation for each element. The first workgroup checks the parameters.
struct Params {
    length: u32,
    stride: u32,
    shape: array<u32, 6>,
    source: View,
    places: View,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> source: array<scalar>;
@group(0) @binding(1) var<storage, read> places: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<scalar>;
@group(0) @binding(3) var<storage, read_write> failure: array<atomic<u32>, 2>;

// What is left of a binding without the elements of an axis behind its first.
fn without_axis(len: u32) -> u32 {
    if p.length == 0u || p.stride == 0u {
        return len;
    }
    if p.length - 1u > len / p.stride {
        return 0u;
    }
    return len - (p.length - 1u) * p.stride;
}

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
        } else if !is_inside(p.source, p.shape, without_axis(arrayLength(&source))) {
            fail(1u, 0u);
        } else if !is_inside(p.places, p.shape, arrayLength(&places)) {
            fail(2u, 0u);
        }
    }
    let item = number * SIZE + lid;
    if item >= len {
        return;
    }
    let index = places[locate(item, p.shape, p.places)];
    if index >= p.length {
        fail(3u, item);
        return;
    }
    out[item] = source[locate(item, p.shape, p.source) + index * p.stride];
}
