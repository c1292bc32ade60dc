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
    let at = first_row * p.inputs;
    var sums_0 = vec4<f32>();
    var sums_1 = vec4<f32>();
    var sums_2 = vec4<f32>();
    var sums_3 = vec4<f32>();
    var sums_4 = vec4<f32>();
    var sums_5 = vec4<f32>();
    var sums_6 = vec4<f32>();
    var sums_7 = vec4<f32>();
    for (var k = part * 4u; k < p.inputs; k += 128u) {
        let w0 = load_weight(panel, k, four);
        let w1 = load_weight(panel, k + 1u, four);
        let w2 = load_weight(panel, k + 2u, four);
        let w3 = load_weight(panel, k + 3u, four);
        let start = at + k;
        let end = at + p.inputs;
        sums_0 = products(load_x(start, end), w0, w1, w2, w3, sums_0);
        if count > 1u {
            sums_1 = products(load_x(start + p.inputs, end + p.inputs), w0, w1, w2, w3, sums_1);
        }
        if count > 2u {
            sums_2 = products(load_x(start + 2u * p.inputs, end + 2u * p.inputs), w0, w1, w2, w3, sums_2);
        }
        if count > 3u {
            sums_3 = products(load_x(start + 3u * p.inputs, end + 3u * p.inputs), w0, w1, w2, w3, sums_3);
        }
        if count > 4u {
            sums_4 = products(load_x(start + 4u * p.inputs, end + 4u * p.inputs), w0, w1, w2, w3, sums_4);
        }
        if count > 5u {
            sums_5 = products(load_x(start + 5u * p.inputs, end + 5u * p.inputs), w0, w1, w2, w3, sums_5);
        }
        if count > 6u {
            sums_6 = products(load_x(start + 6u * p.inputs, end + 6u * p.inputs), w0, w1, w2, w3, sums_6);
        }
        if count > 7u {
            sums_7 = products(load_x(start + 7u * p.inputs, end + 7u * p.inputs), w0, w1, w2, w3, sums_7);
        }
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
