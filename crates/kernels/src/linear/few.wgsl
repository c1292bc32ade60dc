// Few rows: a workgroup for GROUPS * 8 rows and a panel of 32 outputs, small so that there are enough of them to fill a
// device. Its invocations are GROUPS groups, each for 8 rows. The groups read the same weights at nearly the same time,
// so that all but the first find them in the nearest cache: with one group every 8 rows fetch the panel anew. The
// invocations of a group share the inputs: each has 4 outputs of all 8 rows, for every PARTS-th group of four inputs.
// Their sums meet in workgroup memory, four rows at a time.
override GROUPS: u32 = 1u; // 1, 2 or 4
override PARTS: u32 = 32u / GROUPS;
var<workgroup> parts: array<vec4<f32>, 1024>; // [GROUPS][PARTS][4 rows][8]

// The sum of four outputs of a group's row over the invocations that share them.
fn joined(own: u32, row: u32, four: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var part = 0u; part < PARTS; part++) {
        sum += parts[(own * PARTS + part) * 32u + row * 8u + four];
    }
    return sum;
}

@compute @workgroup_size(256)
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
    let panels = (p.outputs - 1u) / 32u + 1u;
    let number = group.x + group.y * groups.x;
    let panel = number % panels;
    let first = number / panels * GROUPS * 8u;
    if first >= rows {
        return;
    }
    let four = lid % 8u;
    let part = lid / 8u % PARTS;
    let own = lid / 8u / PARTS;
    let first_row = first + own * 8u;
    var sums_0 = vec4<f32>();
    var sums_1 = vec4<f32>();
    var sums_2 = vec4<f32>();
    var sums_3 = vec4<f32>();
    var sums_4 = vec4<f32>();
    var sums_5 = vec4<f32>();
    var sums_6 = vec4<f32>();
    var sums_7 = vec4<f32>();
    // Rows that are not there are read as the last, so that all loads of a step are made at once and none waits for a
    // branch; what is made of them is not stored. A step's loads are on their way while the step before is multiplied.
    let from_0 = min(first_row, rows - 1u) * p.inputs;
    let from_1 = min(first_row + 1u, rows - 1u) * p.inputs;
    let from_2 = min(first_row + 2u, rows - 1u) * p.inputs;
    let from_3 = min(first_row + 3u, rows - 1u) * p.inputs;
    let from_4 = min(first_row + 4u, rows - 1u) * p.inputs;
    let from_5 = min(first_row + 5u, rows - 1u) * p.inputs;
    let from_6 = min(first_row + 6u, rows - 1u) * p.inputs;
    let from_7 = min(first_row + 7u, rows - 1u) * p.inputs;
    // A group without rows is past the end from the start: it only meets the others at the barriers.
    var k = select(p.inputs, part * 4u, first_row < rows);
    var w0 = weight_at(panel, k, four);
    var w1 = weight_at(panel, k + 1u, four);
    var w2 = weight_at(panel, k + 2u, four);
    var w3 = weight_at(panel, k + 3u, four);
    var x_0 = x_at(from_0 + k, from_0 + p.inputs);
    var x_1 = x_at(from_1 + k, from_1 + p.inputs);
    var x_2 = x_at(from_2 + k, from_2 + p.inputs);
    var x_3 = x_at(from_3 + k, from_3 + p.inputs);
    var x_4 = x_at(from_4 + k, from_4 + p.inputs);
    var x_5 = x_at(from_5 + k, from_5 + p.inputs);
    var x_6 = x_at(from_6 + k, from_6 + p.inputs);
    var x_7 = x_at(from_7 + k, from_7 + p.inputs);
    while k < p.inputs {
        let next = k + PARTS * 4u;
        // Past the end the last step is loaded again, for nothing.
        let ahead = select(k, next, next < p.inputs);
        let v0 = weight_at(panel, ahead, four);
        let v1 = weight_at(panel, ahead + 1u, four);
        let v2 = weight_at(panel, ahead + 2u, four);
        let v3 = weight_at(panel, ahead + 3u, four);
        let y_0 = x_at(from_0 + ahead, from_0 + p.inputs);
        let y_1 = x_at(from_1 + ahead, from_1 + p.inputs);
        let y_2 = x_at(from_2 + ahead, from_2 + p.inputs);
        let y_3 = x_at(from_3 + ahead, from_3 + p.inputs);
        let y_4 = x_at(from_4 + ahead, from_4 + p.inputs);
        let y_5 = x_at(from_5 + ahead, from_5 + p.inputs);
        let y_6 = x_at(from_6 + ahead, from_6 + p.inputs);
        let y_7 = x_at(from_7 + ahead, from_7 + p.inputs);
        sums_0 = products(x_0, w0, w1, w2, w3, sums_0);
        sums_1 = products(x_1, w0, w1, w2, w3, sums_1);
        sums_2 = products(x_2, w0, w1, w2, w3, sums_2);
        sums_3 = products(x_3, w0, w1, w2, w3, sums_3);
        sums_4 = products(x_4, w0, w1, w2, w3, sums_4);
        sums_5 = products(x_5, w0, w1, w2, w3, sums_5);
        sums_6 = products(x_6, w0, w1, w2, w3, sums_6);
        sums_7 = products(x_7, w0, w1, w2, w3, sums_7);
        w0 = v0;
        w1 = v1;
        w2 = v2;
        w3 = v3;
        x_0 = y_0;
        x_1 = y_1;
        x_2 = y_2;
        x_3 = y_3;
        x_4 = y_4;
        x_5 = y_5;
        x_6 = y_6;
        x_7 = y_7;
        k = next;
    }

    let own_row = first_row + part;
    let own_column = panel * 32u + four * 4u;
    let stores = part < 4u && own_column < p.outputs;
    let to = lid / 8u * 32u + four;
    parts[to] = sums_0;
    parts[to + 8u] = sums_1;
    parts[to + 16u] = sums_2;
    parts[to + 24u] = sums_3;
    workgroupBarrier();
    if stores && own_row < rows {
        finish(own_row, own_column, joined(own, part, four));
    }
    // The same for all groups, for the barriers: no group has more rows than the first.
    if rows - first > 4u {
        workgroupBarrier();
        parts[to] = sums_4;
        parts[to + 8u] = sums_5;
        parts[to + 16u] = sums_6;
        parts[to + 24u] = sums_7;
        workgroupBarrier();
        if stores && own_row + 4u < rows {
            finish(own_row + 4u, own_column, joined(own, part, four));
        }
    }
}
