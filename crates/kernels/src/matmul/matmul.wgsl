// Batched products of strided matrices: a workgroup for 32 rows and 32 columns of a product, an invocation for 4 and 4.
struct Matrix {
    offset: u32,
    batch_strides: array<u32, 4>,
    row_stride: u32,
    column_stride: u32,
}
struct Params {
    batch: array<u32, 4>,
    m: u32,
    k: u32,
    n: u32,
    a: Matrix,
    b: Matrix,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<scalar>;
@group(0) @binding(1) var<storage, read> b: array<scalar>;
@group(0) @binding(2) var<storage, read_write> out: array<scalar>;
@group(0) @binding(3) var<storage, read_write> failure: array<atomic<u32>, 2>;

const DEPTH: u32 = 16u;

// Rows of a are one longer than they have to be, so that neighbours lie in different banks.
var<workgroup> a_stage: array<f32, 528>; // [16][33]
var<workgroup> b_stage: array<f32, 512>; // [16][32]

// Whether every element of a batch of matrices is inside a binding: what is left of it after each axis, so that nothing
// overflows.
fn is_inside(matrix: Matrix, rows: u32, columns: u32, len: u32) -> bool {
    if products() == 0u || rows == 0u || columns == 0u {
        return true;
    }
    if matrix.offset >= len {
        return false;
    }
    var room = len - 1u - matrix.offset;
    return take_axis(&room, p.batch[0], matrix.batch_strides[0]) && take_axis(&room, p.batch[1], matrix.batch_strides[1])
        && take_axis(&room, p.batch[2], matrix.batch_strides[2])
        && take_axis(&room, p.batch[3], matrix.batch_strides[3]) && take_axis(&room, rows, matrix.row_stride)
        && take_axis(&room, columns, matrix.column_stride);
}

// Takes what an axis spans from the room that is left, if it is there.
fn take_axis(room: ptr<function, u32>, length: u32, stride: u32) -> bool {
    if stride > 0u {
        if length - 1u > *room / stride {
            return false;
        }
        *room -= (length - 1u) * stride;
    }
    return true;
}

// The number of products, if a u32 holds it; else the greatest u32.
fn products() -> u32 {
    var product = 1u;
    var large = false;
    for (var axis = 0u; axis < 4u; axis++) {
        let length = p.batch[axis];
        if length == 0u {
            return 0u;
        }
        large = large || product > 0xffffffffu / length;
        product *= length;
    }
    return select(product, 0xffffffffu, large);
}

// Where product number `index` of the batch starts in a matrix.
fn first_of(matrix: Matrix, index: u32) -> u32 {
    var rest = index;
    var at = matrix.offset + rest % p.batch[3] * matrix.batch_strides[3];
    rest /= p.batch[3];
    at += rest % p.batch[2] * matrix.batch_strides[2];
    rest /= p.batch[2];
    at += rest % p.batch[1] * matrix.batch_strides[1];
    return at + rest / p.batch[1] * matrix.batch_strides[0];
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let len = arrayLength(&out);
    if p.m == 0u || p.n == 0u || len % p.n != 0u || !is_product(len / p.n, p.m, products()) {
        fail(0u, 0u);
        return;
    }
    if !is_inside(p.a, p.m, p.k, arrayLength(&a)) {
        fail(1u, 0u);
        return;
    }
    if !is_inside(p.b, p.k, p.n, arrayLength(&b)) {
        fail(2u, 0u);
        return;
    }
    let across = (p.n - 1u) / 32u + 1u;
    let down = (p.m - 1u) / 32u + 1u;
    let number = group.x + group.y * groups.x;
    let first_column = number % across * 32u;
    let first_row = number / across % down * 32u;
    let index = number / across / down;
    if index >= products() {
        return;
    }
    let from_a = first_of(p.a, index);
    let from_b = first_of(p.b, index);
    let own_row = lid / 8u * 4u;
    let own_column = lid % 8u * 4u;
    var sums_0 = vec4<f32>();
    var sums_1 = vec4<f32>();
    var sums_2 = vec4<f32>();
    var sums_3 = vec4<f32>();
    // A step is no longer than what is left, so that it ends also where a stride of 0 lets k be any number.
    for (var start = 0u; start < p.k; start += min(DEPTH, p.k - start)) {
        workgroupBarrier();
        for (var i = lid; i < 512u; i += 64u) {
            // Neighbours read along the axis on which elements lie together.
            let along = p.a.column_stride <= p.a.row_stride;
            let k = select(i / 32u, i % DEPTH, along);
            let row = select(i % 32u, i / DEPTH, along);
            var value = 0.0;
            if start + k < p.k && first_row + row < p.m {
                value = f32(a[from_a + (first_row + row) * p.a.row_stride + (start + k) * p.a.column_stride]);
            }
            a_stage[k * 33u + row] = value;
        }
        for (var i = lid; i < 512u; i += 64u) {
            let along = p.b.column_stride <= p.b.row_stride;
            let k = select(i % DEPTH, i / 32u, along);
            let column = select(i / DEPTH, i % 32u, along);
            var value = 0.0;
            if start + k < p.k && first_column + column < p.n {
                value = f32(b[from_b + (start + k) * p.b.row_stride + (first_column + column) * p.b.column_stride]);
            }
            b_stage[k * 32u + column] = value;
        }
        workgroupBarrier();
        let depth = min(p.k - start, DEPTH);
        for (var k = 0u; k < depth; k++) {
            let at = k * 32u + own_column;
            let columns = vec4<f32>(b_stage[at], b_stage[at + 1u], b_stage[at + 2u], b_stage[at + 3u]);
            let rows = k * 33u + own_row;
            sums_0 = fma(vec4<f32>(a_stage[rows]), columns, sums_0);
            sums_1 = fma(vec4<f32>(a_stage[rows + 1u]), columns, sums_1);
            sums_2 = fma(vec4<f32>(a_stage[rows + 2u]), columns, sums_2);
            sums_3 = fma(vec4<f32>(a_stage[rows + 3u]), columns, sums_3);
        }
    }
    store(index, first_row + own_row, first_column + own_column, sums_0);
    store(index, first_row + own_row + 1u, first_column + own_column, sums_1);
    store(index, first_row + own_row + 2u, first_column + own_column, sums_2);
    store(index, first_row + own_row + 3u, first_column + own_column, sums_3);
}

fn store(index: u32, row: u32, column: u32, sums: vec4<f32>) {
    if row < p.m && column < p.n {
        let at = (index * p.m + row) * p.n + column;
        let more = p.n - column;
        out[at] = scalar(sums.x);
        if more > 1u {
            out[at + 1u] = scalar(sums.y);
        }
        if more > 2u {
            out[at + 2u] = scalar(sums.z);
        }
        if more > 3u {
            out[at + 3u] = scalar(sums.w);
        }
    }
}
