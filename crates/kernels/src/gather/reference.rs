//! The look-up, one element at a time.

use super::Params;
use crate::elementwise::reference::copy;

/// The elements of the output. Panics for an index outside of `x`.
pub fn gather<T: Copy>(params: &Params, x: &[T], index: &[u32]) -> Vec<T> {
    let positions: Vec<u32> = (0..x.len() as u32).collect();
    let from = copy(&positions, params.from, params.shape);
    let index = copy(index, params.index, params.shape);
    from.iter().zip(index).map(|(from, index)| x[(from + index * params.stride) as usize]).collect()
}
