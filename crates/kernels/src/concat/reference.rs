//! The operands' rows, in turn.

use super::Params;

/// The output of `rows` rows. Panics if the parameters reach outside of an operand.
pub fn concat<T: Copy>(params: &Params, pieces: &[&[T]], rows: u32) -> Vec<T> {
    let mut out = Vec::new();
    for row in 0..rows {
        for (at, piece) in pieces.iter().enumerate() {
            let first = params.offsets[at] + row * params.row_strides[at];
            out.extend((first..first + params.widths[at]).map(|element| piece[element as usize]));
        }
    }
    out
}
