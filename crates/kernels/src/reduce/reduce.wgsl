// A row to one value, a workgroup for each row.
struct Params {
    reduction: u32,
    width: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<scalar>;
@group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;

const MEAN: u32 = 1u;
const MAX: u32 = 2u;
const MIN: u32 = 3u;
const PRODUCT: u32 = 4u;

fn contradiction() -> vec2<u32> {
    let rows = arrayLength(&out);
    if p.width == 0u {
        return vec2<u32>(1u, 0u);
    }
    if p.reduction > PRODUCT {
        return vec2<u32>(2u, p.reduction);
    }
    if !is_product(arrayLength(&x), rows, p.width) {
        return vec2<u32>(3u, 0u);
    }
    return vec2<u32>();
}

fn items() -> u32 {
    return arrayLength(&out);
}

fn compute(row: u32, lid: u32) {
    let start = row * p.width;
    var result = 0.0;
    if p.reduction == MAX || p.reduction == MIN {
        let least = p.reduction == MIN;
        var key = 0u;
        for (var i = lid; i < p.width; i += SIZE) {
            key = max(key, turned_key(key_of(f32(x[start + i])), least));
        }
        result = value_of(turned_key(greatest(key, lid), least));
    } else if p.reduction == PRODUCT {
        var product = 1.0;
        for (var i = lid; i < p.width; i += SIZE) {
            product *= f32(x[start + i]);
        }
        result = folded(product, lid, true);
    } else {
        var sum = 0.0;
        for (var i = lid; i < p.width; i += SIZE) {
            sum += f32(x[start + i]);
        }
        result = total(sum, lid);
        if p.reduction == MEAN {
            result = result / f32(p.width);
        }
    }
    if lid == 0u {
        out[row] = scalar(result);
    }
}
