// Few rows: a workgroup for 8 rows and a panel of 32 outputs, small so that there are enough of them to fill a device. Its
// invocations share the inputs: each has 4 outputs of all 8 rows, for every 32nd group of four inputs. Their sums meet
// in workgroup memory, four rows at a time.
var<workgroup> parts: array<vec4<f32>, 1024>; // [32 invocations][4 rows][8]

// The sum of four outputs of a row over the invocations that share them.
fn joined(row: u32, four: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var part = 0u; part < 32u; part++) {
        sum += parts[part * 32u + row * 8u + four];
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
    let first_row = number / panels * 8u;
    if first_row >= rows {
        return;
    }
    let count = min(rows - first_row, 8u);
    let four = lid % 8u;
    let part = lid / 8u;
    var sums_0 = vec4<f32>();
    var sums_1 = vec4<f32>();
    var sums_2 = vec4<f32>();
    var sums_3 = vec4<f32>();
    var sums_4 = vec4<f32>();
    var sums_5 = vec4<f32>();
    var sums_6 = vec4<f32>();
    var sums_7 = vec4<f32>();
    // Rows that are not there are read as the last, so that all loads of a step are made at once and none waits for a branch;
    // what is made of them is not stored. A step's loads are on their way while the step before is multiplied.
    let from_0 = (first_row + min(0u, count - 1u)) * p.inputs;
    let from_1 = (first_row + min(1u, count - 1u)) * p.inputs;
    let from_2 = (first_row + min(2u, count - 1u)) * p.inputs;
    let from_3 = (first_row + min(3u, count - 1u)) * p.inputs;
    let from_4 = (first_row + min(4u, count - 1u)) * p.inputs;
    let from_5 = (first_row + min(5u, count - 1u)) * p.inputs;
    let from_6 = (first_row + min(6u, count - 1u)) * p.inputs;
    let from_7 = (first_row + min(7u, count - 1u)) * p.inputs;
    var k = part * 4u;
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
        let next = k + 128u;
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

    let own_row = lid / 8u;
    let own_column = panel * 32u + four * 4u;
    let to = part * 32u + four;
    parts[to] = sums_0;
    parts[to + 8u] = sums_1;
    parts[to + 16u] = sums_2;
    parts[to + 24u] = sums_3;
    workgroupBarrier();
    if own_row < 4u && own_row < count && own_column < p.outputs {
        finish(first_row + own_row, own_column, joined(own_row, four));
    }
    if count > 4u {
        workgroupBarrier();
        parts[to] = sums_4;
        parts[to + 8u] = sums_5;
        parts[to + 16u] = sums_6;
        parts[to + 24u] = sums_7;
        workgroupBarrier();
        if own_row < 4u && own_row + 4u < count && own_column < p.outputs {
            finish(first_row + own_row + 4u, own_column, joined(own_row, four));
        }
    }
}
