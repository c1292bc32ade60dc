// The sum of three look-ups, a workgroup for each row of the output.
struct Params {
    words: u32,
    positions: u32,
    types: u32,
    width: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> words: array<scalar>;
@group(0) @binding(1) var<storage, read> positions: array<scalar>;
@group(0) @binding(2) var<storage, read> types: array<scalar>;
@group(0) @binding(3) var<storage, read> word_ids: array<u32>;
@group(0) @binding(4) var<storage, read> position_ids: array<u32>;
@group(0) @binding(5) var<storage, read> type_ids: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<scalar>;
@group(0) @binding(7) var<storage, read_write> failure: array<atomic<u32>, 2>;

fn contradiction() -> vec2<u32> {
    let n = arrayLength(&word_ids);
    if p.width == 0u {
        return vec2<u32>(1u, 0u);
    }
    if !is_product(arrayLength(&words), p.words, p.width) || !is_product(arrayLength(&positions), p.positions, p.width)
        || !is_product(arrayLength(&types), p.types, p.width) || !is_product(arrayLength(&out), n, p.width)
        || arrayLength(&position_ids) != n || arrayLength(&type_ids) != n {
        return vec2<u32>(2u, 0u);
    }
    return vec2<u32>();
}

fn items() -> u32 {
    return arrayLength(&word_ids);
}

fn compute(item: u32, lid: u32) {
    let word = word_ids[item];
    let position = position_ids[item];
    let kind = type_ids[item];
    if word >= p.words {
        fail(2u, item);
        return;
    }
    if position >= p.positions {
        fail(3u, item);
        return;
    }
    if kind >= p.types {
        fail(4u, item);
        return;
    }
    for (var i = lid; i < p.width; i += SIZE) {
        let sum = f32(words[word * p.width + i]) + f32(types[kind * p.width + i]);
        out[item * p.width + i] = scalar(sum + f32(positions[position * p.width + i]));
    }
}
