// The rows of a sequence to one row: a workgroup for 64 columns of a sequence, an invocation for each column.
struct Params {
    pooling: u32,
    sequences: u32,
    rows: u32,
    width: u32,
    skip: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<scalar>;
@group(0) @binding(1) var<storage, read> offsets: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<scalar>;
@group(0) @binding(3) var<storage, read_write> failure: array<atomic<u32>, 2>;

const MEAN: u32 = 0u;
const MAX: u32 = 2u;
const LAST_TOKEN: u32 = 3u;
const WEIGHTED_MEAN: u32 = 4u;
const MEAN_SQRT_LENGTH: u32 = 5u;
const SUM: u32 = 6u;
const SIZE: u32 = 64u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    if p.width == 0u {
        fail(0u, 0u);
        return;
    }
    if p.pooling > SUM {
        fail(1u, p.pooling);
        return;
    }
    if !is_product(arrayLength(&x), p.rows, p.width) || !is_product(arrayLength(&out), p.sequences, p.width)
        || arrayLength(&offsets) == 0u || arrayLength(&offsets) - 1u != p.sequences {
        fail(2u, 0u);
        return;
    }
    let blocks = (p.width - 1u) / SIZE + 1u;
    let number = group.x + group.y * groups.x;
    let sequence = number / blocks;
    if sequence >= p.sequences {
        return;
    }
    let start = offsets[sequence];
    let end = offsets[sequence + 1u];
    // Each sequence checks its own: together that is all of them.
    if start >= end || end > p.rows || (sequence == 0u && start != 0u)
        || (sequence + 1u == p.sequences && end != p.rows) {
        fail(3u, sequence);
        return;
    }
    if end - start <= p.skip {
        fail(4u, sequence);
        return;
    }
    let first = start + p.skip;
    let count = f32(end - first);
    let column = number % blocks * SIZE + lid;
    if column >= p.width {
        return;
    }
    var result = f32(x[first * p.width + column]);
    if p.pooling == MEAN || p.pooling >= MEAN_SQRT_LENGTH {
        for (var row = first + 1u; row < end; row++) {
            result += f32(x[row * p.width + column]);
        }
        if p.pooling == MEAN {
            result = result / count;
        } else if p.pooling == MEAN_SQRT_LENGTH {
            result = result / sqrt(count);
        }
    } else if p.pooling == LAST_TOKEN {
        result = f32(x[(end - 1u) * p.width + column]);
    } else if p.pooling == WEIGHTED_MEAN {
        let lightest = f32(p.skip) + 1.0;
        var weight = lightest;
        result = weight * result;
        for (var row = first + 1u; row < end; row++) {
            weight += 1.0;
            result = fma(weight, f32(x[row * p.width + column]), result);
        }
        result = result / (count * (lightest + weight) / 2.0);
    } else if p.pooling == MAX {
        for (var row = first + 1u; row < end; row++) {
            let value = f32(x[row * p.width + column]);
            if is_nan(value) {
                result = value;
            } else if !is_nan(result) {
                result = max(result, value);
            }
        }
    }
    out[sequence * p.width + column] = scalar(result);
}
