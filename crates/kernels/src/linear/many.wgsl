// Many rows: a workgroup for 64 rows and 64 outputs, an invocation for 8 rows and 4 outputs of them. Stages of 16
// inputs go through workgroup memory; the next stage's values are on their way while one is multiplied.
var<workgroup> x_stage: array<vec4<f32>, 256>; // [64 rows][4]
var<workgroup> weight_stage: array<vec4<f32>, 256>; // [16 inputs][16]

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
    let rows = out_len() / p.outputs;
    let across = (p.outputs - 1u) / 64u + 1u;
    let number = group.x + group.y * groups.x;
    let first_row = number / across * 64u;
    let first_column = number % across * 64u;
    if first_row >= rows {
        return;
    }

    // What this invocation brings in each stage: of x, four values of two rows; of the weight, four outputs of two
    // inputs.
    let x_column = lid % 4u * 4u;
    let row_0 = first_row + lid / 4u;
    let row_1 = row_0 + 32u;
    let at_0 = select(0u, row_0 * p.inputs, row_0 < rows);
    let at_1 = select(0u, row_1 * p.inputs, row_1 < rows);
    let end_0 = select(0u, at_0 + p.inputs, row_0 < rows);
    let end_1 = select(0u, at_1 + p.inputs, row_1 < rows);
    let panel = first_column / 32u + lid % 16u / 8u;
    let four = lid % 8u;
    let depth = lid / 16u;
    var x_0 = load_x(at_0 + x_column, end_0);
    var x_1 = load_x(at_1 + x_column, end_1);
    var weight_0 = load_weight(panel, depth, four);
    var weight_1 = load_weight(panel, depth + 8u, four);

    // What it computes.
    let own_rows = lid / 16u * 8u;
    let own_four = lid % 16u;
    var sums_0 = vec4<f32>();
    var sums_1 = vec4<f32>();
    var sums_2 = vec4<f32>();
    var sums_3 = vec4<f32>();
    var sums_4 = vec4<f32>();
    var sums_5 = vec4<f32>();
    var sums_6 = vec4<f32>();
    var sums_7 = vec4<f32>();
    for (var start = 0u; start < p.inputs; start += 16u) {
        workgroupBarrier();
        x_stage[lid] = x_0;
        x_stage[lid + 128u] = x_1;
        weight_stage[lid] = weight_0;
        weight_stage[lid + 128u] = weight_1;
        workgroupBarrier();
        let next = start + 16u;
        if next < p.inputs {
            x_0 = load_x(at_0 + next + x_column, end_0);
            x_1 = load_x(at_1 + next + x_column, end_1);
            weight_0 = load_weight(panel, next + depth, four);
            weight_1 = load_weight(panel, next + depth + 8u, four);
        }
        for (var k = 0u; k < 4u; k++) {
            let w0 = weight_stage[k * 64u + own_four];
            let w1 = weight_stage[k * 64u + 16u + own_four];
            let w2 = weight_stage[k * 64u + 32u + own_four];
            let w3 = weight_stage[k * 64u + 48u + own_four];
            let at = own_rows * 4u + k;
            sums_0 = products(x_stage[at], w0, w1, w2, w3, sums_0);
            sums_1 = products(x_stage[at + 4u], w0, w1, w2, w3, sums_1);
            sums_2 = products(x_stage[at + 8u], w0, w1, w2, w3, sums_2);
            sums_3 = products(x_stage[at + 12u], w0, w1, w2, w3, sums_3);
            sums_4 = products(x_stage[at + 16u], w0, w1, w2, w3, sums_4);
            sums_5 = products(x_stage[at + 20u], w0, w1, w2, w3, sums_5);
            sums_6 = products(x_stage[at + 24u], w0, w1, w2, w3, sums_6);
            sums_7 = products(x_stage[at + 28u], w0, w1, w2, w3, sums_7);
        }
    }

    let row = first_row + own_rows;
    let column = first_column + own_four * 4u;
    if column < p.outputs && row < rows {
        let more = rows - row;
        finish(row, column, sums_0);
        if more > 1u {
            finish(row + 1u, column, sums_1);
        }
        if more > 2u {
            finish(row + 2u, column, sums_2);
        }
        if more > 3u {
            finish(row + 3u, column, sums_3);
        }
        if more > 4u {
            finish(row + 4u, column, sums_4);
        }
        if more > 5u {
            finish(row + 5u, column, sums_5);
        }
        if more > 6u {
            finish(row + 6u, column, sums_6);
        }
        if more > 7u {
            finish(row + 7u, column, sums_7);
        }
    }
}
