//! The layer and its activations in f64.

use super::Activation;

/// `activation(x * weight^T + bias)` with x `[n, inputs]`, weight row-major `[outputs, inputs]`, bias `[outputs]`; the
/// result `[n, outputs]`. Panics if the lengths disagree.
pub fn linear(x: &[f32], weight: &[f32], bias: &[f32], inputs: usize, activation: Activation) -> Vec<f64> {
    assert_eq!(weight.len(), bias.len() * inputs);
    assert_eq!(x.len() % inputs, 0);
    let mut out = Vec::new();
    for row in x.chunks_exact(inputs) {
        for (weight, bias) in weight.chunks_exact(inputs).zip(bias) {
            let products = row.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w));
            out.push(activate(activation, products.sum::<f64>() + f64::from(*bias)));
        }
    }
    out
}

/// The activation of one value.
pub fn activate(activation: Activation, v: f64) -> f64 {
    match activation {
        Activation::None => v,
        Activation::Gelu => v / 2.0 * (1.0 + erf(v / 2f64.sqrt())),
        Activation::GeluTanh => {
            v / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v)).tanh())
        }
        Activation::Relu => v.max(0.0),
        Activation::Silu => v / (1.0 + (-v).exp()),
        Activation::Tanh => v.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-v).exp()),
    }
}

/// The error function, to about 1e-15: its Maclaurin series below 3, and the continued fraction of the complement
/// (Abramowitz & Stegun 7.1.14) above.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    let scale = 2.0 / std::f64::consts::PI.sqrt();
    if x.is_nan() {
        x
    } else if a < 3.0 {
        // sum of (-1)^k x^(2k+1) / (k! (2k+1)), as x exp(-x^2) sum of (2 x^2)^k / (1*3*..*(2k+1)): no cancellation
        let mut term = x;
        let mut sum = x;
        let mut k = 0.0;
        while term.abs() > sum.abs() * 1e-18 {
            k += 1.0;
            term *= 2.0 * x * x / (2.0 * k + 1.0);
            sum += term;
        }
        scale * (-x * x).exp() * sum
    } else if a < 7.0 {
        let mut fraction = a;
        for k in (1..=200).rev() {
            fraction = a + f64::from(k) / 2.0 / fraction;
        }
        x.signum() * (1.0 - (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt()))
    } else {
        x.signum()
    }
}
