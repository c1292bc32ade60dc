// Rows of a part of a table by their numbers, a workgroup for each row of the output.
struct Params {
    total: u32,
    first: u32,
    rows: u32,
    width: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> table: array<scalar>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<scalar>;
@group(0) @binding(3) var<storage, read_write> failure: array<atomic<u32>, 2>;

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let n = arrayLength(&ids);
    if p.width == 0u {
        fail(0u, 0u);
        return;
    }
    if !is_product(arrayLength(&table), p.rows, p.width) || !is_product(arrayLength(&out), n, p.width) {
        fail(1u, 0u);
        return;
    }
    let item = group.x + group.y * groups.x;
    if item >= n {
        return;
    }
    let id = ids[item];
    if id >= p.total {
        fail(2u, item);
        return;
    }
    // Below `first` it wraps, and is no row either.
    let row = id - p.first;
    for (var i = lid; i < p.width; i += 128u) {
        var value = scalar();
        if row < p.rows {
            value = table[row * p.width + i];
        }
        out[item * p.width + i] = value;
    }
}
