// A view made contiguous, an invocation for each element. `scalar` is what is read, `result` what is written.
struct Params {
    shape: array<u32, 6>,
    source: View,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> source: array<scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<result>;
@group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;

fn contradiction() -> vec2<u32> {
    let len = arrayLength(&out);
    if elements(p.shape, len) != len {
        return vec2<u32>(1u, 0u);
    }
    if !is_inside(p.source, p.shape, arrayLength(&source)) {
        return vec2<u32>(2u, 0u);
    }
    return vec2<u32>();
}

fn compute(item: u32) {
    out[item] = converted(source[locate(item, p.shape, p.source)]);
}
