// Attention of packed sequences: a workgroup for 16 rows of one head. For each of their sequences it goes through the
// keys in blocks of 32, counted from the sequence's start, with a running maximum, sum and result for each row, as the
// host form does (head.rs). Blocks of which none of its rows sees a key are left out.
//
// Eight invocations have a row. Each computes 4 of a block's 32 scores, and 4 of every 32 columns of the result. A row
// takes part only in blocks of which it sees a key, and adds only the values that it sees, so that what it does not
// see, NaN too, never reaches it.
struct Params {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    sequences: u32,
    scale: f32,
    before: u32,
    after: u32,
    reach: u32,
    query: Heads,
    key: Heads,
    value: Heads,
}
var<immediate> p: Params;
@group(0) @binding(6) var<storage, read_write> failure: array<atomic<u32>, 2>;

const QUERY: u32 = 0u;
const KEY: u32 = 1u;
const VALUE: u32 = 2u;
// The reach of no bias.
const NO_BIAS: u32 = 0xffffffffu;

const ROWS: u32 = 16u;
const KEYS: u32 = 32u;
// Columns that are in workgroup memory at once.
const CHUNK: u32 = 32u;
// Columns of the result that are kept at once; wider heads compute the scores again for the next.
const PANEL: u32 = 128u;
// Less than any score.
const LOWEST: f32 = -3.4e38;
// Distance between keys in memory, in fours: one more than a key has, so that neighbours lie in different banks.
const STRIDE: u32 = 9u;

var<workgroup> queries: array<vec4<f32>, 128>; // [16 rows][8]
var<workgroup> tile: array<vec4<f32>, 288>; // 32 keys, or their values
var<workgroup> powers: array<vec4<f32>, 128>; // [16 rows][8]
var<workgroup> partials: array<f32, 128>; // [16 rows][8]

// The failure's number plus 1 if the parameters contradict the bindings, else 0.
fn contradiction() -> u32 {
    if p.heads == 0u || p.head_dim == 0u || p.kv_heads == 0u || p.heads % p.kv_heads != 0u {
        return 1u;
    }
    let steps = p.head_dim | p.query.offset | p.query.row_stride | p.query.head_stride | p.key.offset
        | p.key.row_stride | p.key.head_stride | p.value.offset | p.value.row_stride | p.value.head_stride;
    if WIDE && steps % 4u != 0u {
        return 2u;
    }
    let len = out_len();
    if len == 0u || len % p.heads != 0u || len / p.heads % p.head_dim != 0u {
        return 3u;
    }
    let rows = len / p.heads / p.head_dim;
    if !is_inside(p.query, rows, p.heads, p.head_dim, query_len())
        || !is_inside(p.key, rows, p.kv_heads, p.head_dim, key_len())
        || !is_inside(p.value, rows, p.kv_heads, p.head_dim, value_len()) {
        return 3u;
    }
    if p.reach != NO_BIAS
        && (p.reach > 0x7fffffffu || !is_product(arrayLength(&biases), p.heads, 2u * p.reach + 1u)) {
        return 3u;
    }
    if arrayLength(&offsets) == 0u || arrayLength(&offsets) - 1u != p.sequences
        || p.sequences > rows || p.sequences == 0u {
        return 4u;
    }
    return 0u;
}

// The last sequence that starts at or before a row.
fn sequence_of(row: u32) -> u32 {
    var low = 0u;
    var high = p.sequences;
    while high - low > 1u {
        let middle = low + (high - low) / 2u;
        if offsets[middle] <= row {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

// e^v for v <= 0. The error is in proportion to 1, the greatest of a row's powers.
fn power(v: f32) -> f32 {
    if is_nan(v) {
        return v;
    }
    return select(exp(max(v, -100.0)), 0.0, v < -100.0);
}

// Four columns, from `column` on, of a row's head; 0 where there are none.
fn part(which: u32, view: Heads, row: u32, head: u32, column: u32, exists: bool) -> vec4<f32> {
    if exists && column < p.head_dim {
        return load(which, head_at(view, row, head) + column, p.head_dim - column);
    }
    return vec4<f32>();
}

// The keys of a block, counted from its first: those that a row sees, from `start` to `end`.
struct Seen {
    start: u32,
    end: u32,
    // Whether the row sees every key that the block has.
    whole: bool,
}

// Adds a block's values, weighted, to 32 columns of the result, of which this invocation has four.
fn weighted(
    first_key: u32,
    end: u32,
    head: u32,
    column: u32,
    again: bool,
    seen: Seen,
    lid: u32,
    result: vec4<f32>,
) -> vec4<f32> {
    if again {
        workgroupBarrier();
    }
    let key = first_key + lid / 8u;
    let four = lid % 8u;
    let at = lid / 8u * STRIDE + four;
    tile[at] = part(VALUE, p.value, key, head, column + four * 4u, key < end);
    tile[at + 16u * STRIDE] = part(VALUE, p.value, key + 16u, head, column + four * 4u, key + 16u < end);
    workgroupBarrier();
    var sums = result;
    let row = lid / 8u;
    if seen.whole {
        for (var i = 0u; i < 8u; i++) {
            let weights = powers[row * 8u + i];
            let at = i * 4u * STRIDE + four;
            sums = fma(vec4<f32>(weights.x), tile[at], sums);
            sums = fma(vec4<f32>(weights.y), tile[at + STRIDE], sums);
            sums = fma(vec4<f32>(weights.z), tile[at + 2u * STRIDE], sums);
            sums = fma(vec4<f32>(weights.w), tile[at + 3u * STRIDE], sums);
        }
    } else {
        for (var i = seen.start; i < seen.end; i++) {
            sums = fma(vec4<f32>(powers[row * 8u + i / 4u][i % 4u]), tile[i * STRIDE + four], sums);
        }
    }
    return sums;
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let reason = contradiction();
    if reason != 0u {
        fail(reason - 1u, 0u);
        return;
    }
    let rows = out_len() / p.heads / p.head_dim;
    let number = group.x + group.y * groups.x;
    let head = number % p.heads;
    let kv_head = head / (p.heads / p.kv_heads);
    let first = number / p.heads * ROWS;
    if first >= rows {
        return;
    }
    // There are more invocations than sequences: together they check all.
    let checked = number * 128u + lid;
    if checked < p.sequences {
        let rises = offsets[checked] < offsets[checked + 1u] && offsets[checked + 1u] <= rows;
        if !rises || (checked == 0u && offsets[0] != 0u)
            || (checked + 1u == p.sequences && offsets[p.sequences] != rows) {
            fail(4u, checked);
        } else if offsets[checked + 1u] - offsets[checked] - 1u > p.reach {
            fail(5u, checked);
        }
    }

    let row = first + lid / 8u;
    let four = lid % 8u;
    let last = min(first + ROWS, rows) - 1u;
    let first_sequence = sequence_of(first);
    let last_sequence = sequence_of(last);
    for (var panel = 0u; panel < p.head_dim; panel += PANEL) {
        var greatest = LOWEST;
        var sum = 0.0;
        var result_0 = vec4<f32>();
        var result_1 = vec4<f32>();
        var result_2 = vec4<f32>();
        var result_3 = vec4<f32>();
        for (var sequence = first_sequence; sequence <= last_sequence; sequence++) {
            let start = offsets[sequence];
            let end = offsets[sequence + 1u];
            if start >= end || end > rows {
                fail(4u, sequence);
                return;
            }
            if end - start - 1u > p.reach {
                fail(5u, sequence);
                return;
            }
            // What this row sees, and the blocks of which one of the workgroup's rows sees a key. Every sum is at most
            // `end`.
            let is_here = row >= start && row < end;
            let sees_from = row - min(p.before, row - start);
            let sees_to = row + min(p.after, end - 1u - row) + 1u;
            let top = max(first, start);
            let bottom = min(last, end - 1u);
            let all_from = top - min(p.before, top - start);
            let all_to = bottom + min(p.after, end - 1u - bottom) + 1u;
            for (var block = start + (all_from - start) / KEYS * KEYS; block < all_to; block += KEYS) {
                let held = min(end - block, KEYS);
                let mine = is_here && sees_from < block + held && sees_to > block;
                var seen = Seen(0u, 0u, false);
                if mine {
                    seen.start = max(sees_from, block) - block;
                    seen.end = min(sees_to - block, held);
                    seen.whole = seen.start == 0u && seen.end == held;
                }
                var scores = vec4<f32>();
                for (var chunk = 0u; chunk < p.head_dim; chunk += CHUNK) {
                    workgroupBarrier();
                    let column = chunk + four * 4u;
                    queries[lid] = part(QUERY, p.query, row, head, column, row < rows) * p.scale;
                    // Key i of the block lies at i % 4 * 8 + i / 4: where eight invocations read their keys 4 i, they
                    // read neighbours.
                    let key = lid / 8u;
                    let at = (key % 4u * 8u + key / 4u) * STRIDE + four;
                    tile[at] = part(KEY, p.key, block + key, kv_head, column, key < held);
                    tile[at + 4u * STRIDE] = part(KEY, p.key, block + key + 16u, kv_head, column, key + 16u < held);
                    workgroupBarrier();
                    let fours = min((p.head_dim - chunk + 3u) / 4u, 8u);
                    if mine {
                        for (var i = 0u; i < fours; i++) {
                            let query = queries[lid / 8u * 8u + i];
                            let keys = four * STRIDE + i;
                            scores.x += dot(query, tile[keys]);
                            scores.y += dot(query, tile[keys + 8u * STRIDE]);
                            scores.z += dot(query, tile[keys + 16u * STRIDE]);
                            scores.w += dot(query, tile[keys + 24u * STRIDE]);
                        }
                    }
                }
                let keys = vec4<u32>(four * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
                let sees = (keys >= vec4<u32>(seen.start)) & (keys < vec4<u32>(seen.end));
                if p.reach != NO_BIAS {
                    // That of key j for row i is at reach + j - i.
                    let bias = head * (2u * p.reach + 1u) + p.reach + block + four * 4u - row;
                    if sees.x {
                        scores.x += f32(biases[bias]);
                    }
                    if sees.y {
                        scores.y += f32(biases[bias + 1u]);
                    }
                    if sees.z {
                        scores.z += f32(biases[bias + 2u]);
                    }
                    if sees.w {
                        scores.w += f32(biases[bias + 3u]);
                    }
                }
                scores = select(vec4<f32>(LOWEST), scores, sees);
                partials[lid] = max(max(scores.x, scores.y), max(scores.z, scores.w));
                workgroupBarrier();
                var most = greatest;
                for (var i = 0u; i < 8u; i++) {
                    most = max(most, partials[lid / 8u * 8u + i]);
                }
                if mine {
                    let factor = power(greatest - most);
                    let distance = scores - most;
                    let own = select(
                        vec4<f32>(),
                        vec4<f32>(power(distance.x), power(distance.y), power(distance.z), power(distance.w)),
                        sees,
                    );
                    powers[lid] = own;
                    greatest = most;
                    sum = fma(sum, factor, own.x + own.y + own.z + own.w);
                    result_0 *= factor;
                    result_1 *= factor;
                    result_2 *= factor;
                    result_3 *= factor;
                }
                result_0 = weighted(block, end, kv_head, panel, false, seen, lid, result_0);
                if panel + CHUNK < p.head_dim {
                    result_1 = weighted(block, end, kv_head, panel + CHUNK, true, seen, lid, result_1);
                }
                if panel + 2u * CHUNK < p.head_dim {
                    result_2 = weighted(block, end, kv_head, panel + 2u * CHUNK, true, seen, lid, result_2);
                }
                if panel + 3u * CHUNK < p.head_dim {
                    result_3 = weighted(block, end, kv_head, panel + 3u * CHUNK, true, seen, lid, result_3);
                }
            }
        }
        workgroupBarrier();
        partials[lid] = sum;
        workgroupBarrier();
        var total = 0.0;
        for (var i = 0u; i < 8u; i++) {
            total += partials[lid / 8u * 8u + i];
        }
        if row < rows {
            let at = (row * p.heads + head) * p.head_dim;
            let column = panel + four * 4u;
            if column < p.head_dim {
                store(at + column, p.head_dim - column, result_0 / total);
            }
            if column + CHUNK < p.head_dim {
                store(at + column + CHUNK, p.head_dim - column - CHUNK, result_1 / total);
            }
            if column + 2u * CHUNK < p.head_dim {
                store(at + column + 2u * CHUNK, p.head_dim - column - 2u * CHUNK, result_2 / total);
            }
            if column + 3u * CHUNK < p.head_dim {
                store(at + column + 3u * CHUNK, p.head_dim - column - 3u * CHUNK, result_3 / total);
            }
        }
    }
}
