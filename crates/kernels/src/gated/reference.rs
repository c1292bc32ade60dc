//! The gate in f64.

use crate::linear::{Activation, reference::activate};

/// `activation(first half) * second half` of each row of `2 * width` values.
pub fn gated(x: &[f32], width: usize, activation: Activation) -> Vec<f64> {
    let gated = |row: &[f32]| {
        let (gate, value) = row.split_at(width);
        let terms = gate.iter().zip(value);
        terms.map(|(gate, value)| activate(activation, f64::from(*gate)) * f64::from(*value)).collect::<Vec<_>>()
    };
    x.chunks_exact(2 * width).flat_map(gated).collect()
}
