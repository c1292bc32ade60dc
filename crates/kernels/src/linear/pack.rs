//! The order in which a weight is kept.

use crate::gemm::PANEL;
use bytemuck::Pod;

/// Elements of a packed weight of `outputs` rows and `inputs` columns: the rows rounded up to a multiple of 32.
///
/// # Panics
/// If the number does not fit a `usize`.
pub fn packed_len(outputs: usize, inputs: usize) -> usize {
    outputs
        .checked_next_multiple_of(PANEL)
        .and_then(|columns| columns.checked_mul(inputs))
        .unwrap_or_else(|| panic!("a packed weight of {outputs} x {inputs} does not fit the address space"))
}

/// Reorders a weight, row-major `[outputs, inputs]`, into panels of 32 outputs: `[ceil(outputs / 32)][inputs][32]`,
/// with zeros where the last panel has no output. For elements of any type. The same on every machine.
///
/// # Panics
/// If `weight` does not have `outputs * inputs` elements.
pub fn pack<T: Pod>(weight: &[T], outputs: usize, inputs: usize) -> Vec<T> {
    let mut packed = vec![T::zeroed(); packed_len(outputs, inputs)];
    assert_eq!(Some(weight.len()), outputs.checked_mul(inputs), "a weight is row-major [outputs, inputs]");
    if inputs == 0 {
        return packed;
    }
    let panels = packed.chunks_exact_mut(inputs * PANEL);
    for (rows, panel) in weight.chunks(inputs * PANEL).zip(panels) {
        for (column, row) in rows.chunks_exact(inputs).enumerate() {
            for (to, value) in panel[column..].iter_mut().step_by(PANEL).zip(row) {
                *to = *value;
            }
        }
    }
    packed
}
