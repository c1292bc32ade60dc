// An operation on two operands, an invocation for each element.
struct Params {
    operation: u32,
    shape: array<u32, 6>,
    a: View,
    b: View,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<scalar>;
@group(0) @binding(1) var<storage, read> b: array<scalar>;
@group(0) @binding(2) var<storage, read_write> out: array<result>;
@group(0) @binding(3) var<storage, read_write> failure: array<atomic<u32>, 2>;

fn contradiction() -> vec2<u32> {
    let len = arrayLength(&out);
    if p.operation > LAST {
        return vec2<u32>(1u, p.operation);
    }
    if elements(p.shape, len) != len {
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
    let first = number_of(a[locate(item, p.shape, p.a)]);
    let second = number_of(b[locate(item, p.shape, p.b)]);
    if !has_result(p.operation, second) {
        fail(4u, item);
        return;
    }
    out[item] = result(apply(p.operation, first, second));
}
