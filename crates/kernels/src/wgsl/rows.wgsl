// What kernels with a workgroup for each row share. To be called by all invocations together.

var<workgroup> partials: array<u32, 128>;
var<workgroup> columns: array<u32, 8>;

// The sum of every invocation's value, in an order that does not change.
fn total(value: f32, lid: u32) -> f32 {
    return folded(value, lid, false);
}

// The sum or the product of every invocation's value.
fn folded(value: f32, lid: u32, multiply: bool) -> f32 {
    partials[lid] = bitcast<u32>(value);
    workgroupBarrier();
    if lid < 8u {
        var result = select(0.0, 1.0, multiply);
        for (var i = 0u; i < 16u; i++) {
            let next = bitcast<f32>(partials[i * 8u + lid]);
            result = select(result + next, result * next, multiply);
        }
        columns[lid] = bitcast<u32>(result);
    }
    workgroupBarrier();
    var result = select(0.0, 1.0, multiply);
    for (var i = 0u; i < 8u; i++) {
        let next = bitcast<f32>(columns[i]);
        result = select(result + next, result * next, multiply);
    }
    return result;
}

// The greatest of every invocation's keys.
fn greatest(key: u32, lid: u32) -> u32 {
    partials[lid] = key;
    workgroupBarrier();
    if lid < 8u {
        var most = 0u;
        for (var i = 0u; i < 16u; i++) {
            most = max(most, partials[i * 8u + lid]);
        }
        columns[lid] = most;
    }
    workgroupBarrier();
    var most = 0u;
    for (var i = 0u; i < 8u; i++) {
        most = max(most, columns[i]);
    }
    return most;
}

// A number that rises with the value; greatest of all for NaN.
fn key_of(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    if is_nan(value) {
        return 0xffffffffu;
    }
    return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

// The key, or one that falls where it rises. That of NaN stays the greatest.
fn turned_key(key: u32, least: bool) -> u32 {
    return select(key, ~key, least && key != 0xffffffffu);
}

// The value of a key; the key 0 is that of no value, less than -inf.
fn value_of(key: u32) -> f32 {
    if key == 0xffffffffu {
        return not_a_number();
    }
    return bitcast<f32>(select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u));
}
