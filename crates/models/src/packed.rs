//! Sequences packed one after the other, without padding.

use crate::error::Result;
use crate::tokenizer::Tokens;
use thalweg_runtime::Device;
use thalweg_tensor::Tensor;

/// The tokens of several sequences on the device. All tensors are u32.
#[derive(Debug)]
pub(crate) struct PackedBatch {
    /// Token ids of all sequences, `[tokens]`.
    pub(crate) ids: Tensor,
    /// Each token's place in its own sequence, `[tokens]`.
    pub(crate) positions: Tensor,
    /// Type ids, `[tokens]`.
    pub(crate) types: Tensor,
    /// Sequence `i` is the tokens `offsets[i]..offsets[i + 1]`; `[sequences + 1]`.
    pub(crate) offsets: Tensor,
}

impl PackedBatch {
    /// Packs at least one sequence; none is empty.
    pub(crate) fn new(device: &Device, sequences: &[Tokens]) -> Result<Self> {
        let total: usize = sequences.iter().map(Tokens::len).sum();
        let mut ids = Vec::with_capacity(total);
        let mut types = Vec::with_capacity(total);
        let mut positions = Vec::with_capacity(total);
        let mut offsets = Vec::with_capacity(sequences.len() + 1);
        offsets.push(0);
        for sequence in sequences {
            ids.extend_from_slice(sequence.ids());
            types.extend_from_slice(sequence.type_ids());
            // A pass is a few thousand tokens, or one sequence of at most 2^31 (a checked setting): all fit in u32.
            positions.extend(0..sequence.len() as u32);
            offsets.push(ids.len() as u32);
        }
        let upload = |values: &[u32]| Tensor::from_slice(device, values, &[values.len()]);
        Ok(Self {
            ids: upload(&ids)?,
            positions: upload(&positions)?,
            types: upload(&types)?,
            offsets: upload(&offsets)?,
        })
    }
}

/// Cuts the sequences, in order, into runs of at most `budget` tokens; a sequence longer than that is a run alone.
pub(crate) fn passes(mut sequences: &[Tokens], budget: usize) -> impl Iterator<Item = &[Tokens]> {
    std::iter::from_fn(move || {
        let first = sequences.first()?;
        let mut tokens = first.len();
        let more = sequences[1..].iter().take_while(|sequence| {
            tokens += sequence.len();
            tokens <= budget
        });
        let (pass, rest) = sequences.split_at(1 + more.count());
        sequences = rest;
        Some(pass)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(of: &[usize], budget: usize) -> Vec<Vec<usize>> {
        let sequences: Vec<Tokens> = of.iter().map(|&length| Tokens::from_ids(vec![0; length])).collect();
        passes(&sequences, budget).map(|pass| pass.iter().map(Tokens::len).collect()).collect()
    }

    #[test]
    fn passes_keep_order_and_budget() {
        assert_eq!(lengths(&[], 8), Vec::<Vec<usize>>::new());
        assert_eq!(lengths(&[8], 8), [[8]]);
        assert_eq!(lengths(&[4, 4, 1], 8), [vec![4, 4], vec![1]]);
        assert_eq!(lengths(&[5, 4, 4], 8), [vec![5], vec![4, 4]]);
        assert_eq!(lengths(&[1, 20, 1, 1], 8), [vec![1], vec![20], vec![1, 1]]);
    }
}
