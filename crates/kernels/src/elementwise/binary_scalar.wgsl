// An operation on an operand and a number, an invocation for each element.
struct Params {
    operation: u32,
    bits: u32,
    swapped: u32,
    shape: array<u32, 6>,
    source: View,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> source: array<scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<result>;
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
    let element = number_of(source[locate(item, p.shape, p.source)]);
    let fixed = number_of_bits(p.bits);
    let first = select(element, fixed, p.swapped != 0u);
    let second = select(fixed, element, p.swapped != 0u);
    if !has_result(p.operation, second) {
        fail(3u, item);
        return;
    }
    out[item] = result(apply(p.operation, first, second));
}
