// Where the greatest or the least value of a row is, a workgroup for each row.
struct Params {
    least: u32,
    width: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;

const NONE: u32 = 0xffffffffu;

fn contradiction() -> vec2<u32> {
    let rows = arrayLength(&out);
    if p.width == 0u {
        return vec2<u32>(1u, 0u);
    }
    if !is_product(arrayLength(&x), rows, p.width) {
        return vec2<u32>(2u, 0u);
    }
    return vec2<u32>();
}

fn items() -> u32 {
    return arrayLength(&out);
}

fn compute(row: u32, lid: u32) {
    let start = row * p.width;
    // Each invocation's best, and the first place where it is.
    var key = 0u;
    var place = NONE;
    for (var i = lid; i < p.width; i += SIZE) {
        let own = key_or_turned(x[start + i], p.least != 0u);
        if place == NONE || own > key {
            key = own;
            place = i;
        }
    }
    let best = greatest(key, lid);
    let first = ~greatest(~select(NONE, place, key == best), lid);
    if lid == 0u {
        out[row] = first;
    }
}
