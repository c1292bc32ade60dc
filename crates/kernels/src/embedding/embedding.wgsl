// Rows of a part of a table by their numbers, a workgroup for each row of the output.
struct Params {
    total: u32,
    first: u32,
    rows: u32,
    width: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> table: array<scalar>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<scalar>;
@group(0) @binding(3) var<storage, read_write> failure: array<atomic<u32>, 2>;

fn contradiction() -> vec2<u32> {
    let n = arrayLength(&ids);
    if p.width == 0u {
        return vec2<u32>(1u, 0u);
    }
    if !is_product(arrayLength(&table), p.rows, p.width) || !is_product(arrayLength(&out), n, p.width) {
        return vec2<u32>(2u, 0u);
    }
    return vec2<u32>();
}

fn items() -> u32 {
    return arrayLength(&ids);
}

fn compute(item: u32, lid: u32) {
    let id = ids[item];
    if id >= p.total {
        fail(2u, item);
        return;
    }
    // Below `first` it wraps, and is no row either.
    let row = id - p.first;
    for (var i = lid; i < p.width; i += SIZE) {
        var value = scalar();
        if row < p.rows {
            value = table[row * p.width + i];
        }
        out[item * p.width + i] = value;
    }
}
