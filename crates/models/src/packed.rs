//! Sequences packed one after the other, without padding.

use crate::tokenizer::Tokens;
use std::ops::Range;
use std::sync::Arc;
use thalweg_runtime::Device;
use thalweg_tensor::{Result, Tensor};

/// Where one of the tensors may start in the one that they all lie in, in elements: where a binding may.
const ALIGNMENT: usize = thalweg_hal::BINDING_ALIGNMENT as usize / size_of::<u32>();

/// The tokens of several sequences on the device. All tensors are u32, and views of one that is copied there as a
/// whole.
#[derive(Debug)]
pub(crate) struct PackedBatch {
    packed: Tensor,
    /// The tokens of each sequence.
    lengths: Arc<[usize]>,
    /// Token ids of all sequences, `[tokens]`.
    pub(crate) ids: Tensor,
    /// Each token's position in its own sequence, `[tokens]`.
    pub(crate) positions: Tensor,
    /// Type ids, `[tokens]`.
    pub(crate) types: Tensor,
    /// Sequence `i` is the tokens `offsets[i]..offsets[i + 1]`; `[sequences + 1]`.
    pub(crate) offsets: Tensor,
}

/// Which positions the tokens of a sequence have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    /// That of the first token.
    pub(crate) first: u32,
    /// A token that is not counted, and has its id for its position.
    pub(crate) padding: Option<u32>,
}

impl Places {
    /// The positions of a sequence of these tokens.
    fn of(self, ids: &[u32]) -> impl Iterator<Item = u32> {
        let mut next = self.first;
        ids.iter().map(move |&id| match self.padding {
            Some(padding) if padding == id => padding,
            _ => {
                next += 1;
                next - 1
            }
        })
    }
}

impl PackedBatch {
    /// Packs at least one sequence; none is empty.
    pub(crate) fn new(device: &Device, sequences: &[&Tokens], places: Places) -> Result<Self> {
        let total: usize = sequences.iter().map(|sequence| sequence.len()).sum();
        let mut values = Vec::with_capacity(4 * (total + ALIGNMENT) + sequences.len());
        let align = |values: &mut Vec<u32>| values.resize(values.len().next_multiple_of(ALIGNMENT), 0);
        sequences.iter().for_each(|sequence| values.extend_from_slice(sequence.ids()));
        align(&mut values);
        // A pass is a few thousand tokens, or one sequence of at most 2^31 (a checked setting): all fit in u32.
        sequences.iter().for_each(|sequence| values.extend(places.of(sequence.ids())));
        align(&mut values);
        sequences.iter().for_each(|sequence| values.extend_from_slice(sequence.type_ids()));
        align(&mut values);
        let mut end = 0;
        values.push(end);
        values.extend(sequences.iter().map(|sequence| {
            end += sequence.len() as u32;
            end
        }));
        let lengths = sequences.iter().map(|sequence| sequence.len()).collect();
        Self::of(Tensor::from_slice(device, &values, &[values.len()])?, lengths, total)
    }

    fn of(packed: Tensor, lengths: Arc<[usize]>, tokens: usize) -> Result<Self> {
        let stride = tokens.next_multiple_of(ALIGNMENT);
        Ok(Self {
            ids: packed.narrow(0, 0, tokens)?,
            positions: packed.narrow(0, stride, tokens)?,
            types: packed.narrow(0, 2 * stride, tokens)?,
            offsets: packed.narrow(0, 3 * stride, lengths.len() + 1)?,
            lengths,
            packed,
        })
    }

    /// The same with other numbers of the same lengths.
    pub(crate) fn with_packed(&self, packed: Tensor) -> Result<Self> {
        Self::of(packed, Arc::clone(&self.lengths), self.tokens())
    }

    /// The tensor that all others lie in.
    pub(crate) fn packed(&self) -> &Tensor {
        &self.packed
    }

    pub(crate) fn tokens(&self) -> usize {
        self.ids.elements()
    }

    pub(crate) fn sequences(&self) -> usize {
        self.lengths.len()
    }

    /// The tokens of each sequence.
    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }
}

/// Cuts sequences of these costs, in order, into ranges that cost at most `budgets` together; a sequence that costs
/// more is alone.
pub(crate) fn passes(
    costs: impl IntoIterator<Item = [usize; 2]>,
    budgets: [usize; 2],
) -> impl Iterator<Item = Range<usize>> {
    let mut costs = costs.into_iter().peekable();
    let mut begin = 0;
    std::iter::from_fn(move || {
        let mut sum = costs.next()?;
        let mut end = begin + 1;
        while let Some(cost) = costs.next_if(|cost| (0..2).all(|at| sum[at] + cost[at] <= budgets[at])) {
            (0..2).for_each(|at| sum[at] += cost[at]);
            end += 1;
        }
        Some(std::mem::replace(&mut begin, end)..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(of: &[usize], budget: usize) -> Vec<Vec<usize>> {
        let tokens = passes(of.iter().map(|tokens| [*tokens, 1]), [budget, usize::MAX]);
        let values = passes(of.iter().map(|values| [1, *values]), [usize::MAX, budget]);
        let [tokens, values] = [tokens.collect::<Vec<_>>(), values.collect()];
        assert_eq!(tokens, values);
        tokens.into_iter().map(|pass| of[pass].to_vec()).collect()
    }

    #[test]
    fn a_padding_token_in_a_text_is_not_counted() {
        let ids = [0, 7, 1, 8, 1, 1, 2];
        let places = |places: Places| places.of(&ids).collect::<Vec<_>>();
        assert_eq!(places(Places::default()), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(places(Places { first: 2, padding: Some(1) }), [2, 3, 1, 4, 1, 1, 5]);
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
