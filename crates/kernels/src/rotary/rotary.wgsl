// Rotary positions, a workgroup for each row of all heads.
struct Params {
    heads: u32,
    head_dim: u32,
    turned: u32,
    positions: u32,
    x: Heads,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<scalar>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<scalar>;
@group(0) @binding(4) var<storage, read_write> failure: array<atomic<u32>, 2>;

fn contradiction() -> vec2<u32> {
    let n = arrayLength(&positions);
    if p.heads == 0u || p.turned == 0u || p.turned % 2u != 0u || p.turned > p.head_dim {
        return vec2<u32>(1u, 0u);
    }
    let len = arrayLength(&out);
    if len % n != 0u || !is_product(len / n, p.heads, p.head_dim) || !is_inside(p.x, n, p.heads, p.head_dim, arrayLength(&x))
        || !is_product(arrayLength(&table), p.positions, p.turned) {
        return vec2<u32>(2u, 0u);
    }
    return vec2<u32>();
}

fn items() -> u32 {
    return arrayLength(&positions);
}

fn compute(row: u32, lid: u32) {
    let position = positions[row];
    if position >= p.positions {
        fail(2u, row);
        return;
    }
    let half = p.turned / 2u;
    let angles = position * p.turned;
    for (var i = lid; i < p.heads * p.head_dim; i += SIZE) {
        let head = i / p.head_dim;
        let column = i % p.head_dim;
        let first = head_at(p.x, row, head);
        var result = f32(x[first + column]);
        if column < half {
            let other = f32(x[first + column + half]);
            result = result * table[angles + column] - other * table[angles + half + column];
        } else if column < p.turned {
            let other = f32(x[first + column - half]);
            result = result * table[angles + column - half] + other * table[angles + column];
        }
        out[row * p.heads * p.head_dim + i] = scalar(result);
    }
}
