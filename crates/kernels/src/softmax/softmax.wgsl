// Softmax, a workgroup for each row.
struct Params {
    width: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<scalar>;
@group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let len = arrayLength(&out);
    if p.width == 0u {
        fail(0u, 0u);
        return;
    }
    if len % p.width != 0u || arrayLength(&x) != len {
        fail(1u, 0u);
        return;
    }
    let row = group.x + group.y * groups.x;
    if row >= len / p.width {
        return;
    }
    let start = row * p.width;
    var key = 0u;
    for (var i = lid; i < p.width; i += SIZE) {
        key = max(key, key_of(f32(x[start + i])));
    }
    let most = value_of(greatest(key, lid));
    // With NaN or +inf in the row, and with nothing but -inf, all of it is NaN.
    let undefined = is_nan(most) || is_infinite(most);
    var sum = 0.0;
    for (var i = lid; i < p.width; i += SIZE) {
        sum += exp_of(f32(x[start + i]) - most);
    }
    let powers = total(sum, lid);
    for (var i = lid; i < p.width; i += SIZE) {
        var result = exp_of(f32(x[start + i]) - most) / powers;
        if undefined {
            result = not_a_number();
        }
        out[start + i] = scalar(result);
    }
}
