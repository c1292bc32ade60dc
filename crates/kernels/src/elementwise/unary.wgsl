// An operation on one operand, an invocation for each element.
struct Params {
    operation: u32,
    shape: array<u32, 6>,
    source: View,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> source: array<scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<scalar>;
@group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;

fn contradiction() -> vec2<u32> {
    let len = arrayLength(&out);
    if p.operation > LAST {
        return vec2<u32>(1u, p.operation);
    }
    if elements(p.shape, len) != len {
        return vec2<u32>(2u, 0u);
    }
    if !is_inside(p.source, p.shape, arrayLength(&source)) {
        return vec2<u32>(3u, 0u);
    }
    return vec2<u32>();
}

fn compute(item: u32) {
    out[item] = scalar(apply(p.operation, f32(source[locate(item, p.shape, p.source)])));
}
