// One of two operands, an invocation for each element.
struct Params {
    shape: array<u32, 6>,
    mask: View,
    a: View,
    b: View,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> mask: array<u32>;
@group(0) @binding(1) var<storage, read> a: array<scalar>;
@group(0) @binding(2) var<storage, read> b: array<scalar>;
@group(0) @binding(3) var<storage, read_write> out: array<scalar>;
@group(0) @binding(4) var<storage, read_write> failure: array<atomic<u32>, 2>;

fn contradiction() -> vec2<u32> {
    let len = arrayLength(&out);
    if elements(p.shape, len) != len {
        return vec2<u32>(1u, 0u);
    }
    if !is_inside(p.mask, p.shape, arrayLength(&mask)) {
        return vec2<u32>(2u, 0u);
    }
    if !is_inside(p.a, p.shape, arrayLength(&a)) {
        return vec2<u32>(3u, 0u);
    }
    if !is_inside(p.b, p.shape, arrayLength(&b)) {
        return vec2<u32>(4u, 0u);
    }
    return vec2<u32>();
}

fn compute(item: u32) {
    if mask[locate(item, p.shape, p.mask)] != 0u {
        out[item] = a[locate(item, p.shape, p.a)];
    } else {
        out[item] = b[locate(item, p.shape, p.b)];
    }
}
