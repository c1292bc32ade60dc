@group(0) @binding(0) var<storage, read> x: array<scalar>;
@group(0) @binding(1) var<storage, read> weight: array<scalar>;
@group(0) @binding(2) var<storage, read_write> out: array<scalar>;
@group(0) @binding(3) var<storage, read_write> failure: array<atomic<u32>, 2>;

fn operands_have(len: u32, width: u32) -> bool {
    return arrayLength(&x) == len && arrayLength(&weight) == width;
}

fn value(at: u32) -> f32 {
    return f32(x[at]);
}

fn bias_of(i: u32) -> f32 {
    return 0.0;
}
