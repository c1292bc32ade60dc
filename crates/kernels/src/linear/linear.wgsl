// A dense layer: what its forms for many rows and for few share.
struct Params {
    inputs: u32,
    outputs: u32,
    activation: u32,
}
var<immediate> p: Params;
@group(0) @binding(4) var<storage, read_write> failure: array<atomic<u32>, 2>;

// The failure's number plus 1 if the parameters contradict the bindings, else 0.
fn contradiction() -> u32 {
    if p.inputs == 0u || p.outputs == 0u {
        return 1u;
    }
    if p.activation >= ACTIVATIONS {
        return 2u;
    }
    if WIDE && (p.inputs % 4u != 0u || p.outputs % 4u != 0u) {
        return 3u;
    }
    let packed = arrayLength(&weight);
    let panels = (p.outputs - 1u) / 32u + 1u;
    if out_len() % p.outputs != 0u || !is_product(x_len(), out_len() / p.outputs, p.inputs) || bias_len() != p.outputs
        || packed % 8u != 0u || !is_product(packed / 8u, panels, p.inputs) {
        return 4u;
    }
    return 0u;
}

// Four outputs of a panel's row k, 0 where there are none.
fn load_weight(panel: u32, k: u32, four: u32) -> vec4<f32> {
    if k < p.inputs && panel * 32u < p.outputs {
        return vec4<f32>(weight[(panel * p.inputs + k) * 8u + four]);
    }
    return vec4<f32>();
}

// The same for a panel that there is; without a branch where the number of inputs is a multiple of 4, if k is that of
// the first of four: past the end it then gives some other row.
fn weight_at(panel: u32, k: u32, four: u32) -> vec4<f32> {
    if WIDE {
        return vec4<f32>(weight[(panel * p.inputs + min(k, p.inputs - 1u)) * 8u + four]);
    }
    return load_weight(panel, k, four);
}

fn activate(v: f32) -> f32 {
    return activation_of(p.activation, v);
}

// Adds the products of four values of a row with four rows of the weight.
fn products(x: vec4<f32>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>, sums: vec4<f32>) -> vec4<f32> {
    let low = fma(vec4<f32>(x.y), w1, fma(vec4<f32>(x.x), w0, sums));
    return fma(vec4<f32>(x.w), w3, fma(vec4<f32>(x.z), w2, low));
}
