//! A vector for each token.

use super::table::{Table, results};
use super::{EmbeddingModel, Task};
use crate::error::Result;
use crate::model::Model;
use crate::packed::PackedBatch;
use thalweg_tensor::{DType, Result as TensorResult, Tensor};

results! {
    /// The vectors of the tokens of each text of a call, special tokens included: what the encoder gives, before the
    /// pooling and all that follows it.
    ///
    /// A handle: a clone shares the values. [`tokens`](Self::tokens) says how many vectors a text has.
    TokenVectors(Vec<f32>)
}

impl TokenVectors {
    /// The number of elements of each vector.
    pub fn width(&self) -> usize {
        self.table.width
    }

    /// The vectors of text `row`, `[tokens, width]` in row-major order: one contiguous slice.
    ///
    /// # Errors
    /// Why this text has none: what is wrong with it, or how its pass failed on the device.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> Result<&[f32]> {
        Ok(&self.table.items[self.table.of(row)?])
    }

    /// All rows, in order; see [`row`](Self::row).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<&[f32]>> {
        (0..self.rows()).map(|row| self.row(row))
    }
}

/// The task that makes them.
#[derive(Clone)]
pub(super) struct EachToken(pub(super) EmbeddingModel);

impl Task for EachToken {
    const NAME: &'static str = "token vectors";
    type Items = Vec<f32>;
    type Output = TokenVectors;

    fn model(&self) -> &Model {
        self.0.model()
    }

    fn prompt(&self) -> &str {
        Task::prompt(&self.0)
    }

    fn rows(&self, tokens: usize) -> usize {
        tokens
    }

    fn width(&self) -> usize {
        self.model().width()
    }

    fn kind(&self) -> usize {
        usize::MAX
    }

    fn record(&self, vectors: Tensor, _: &PackedBatch) -> TensorResult<Tensor> {
        vectors.to_dtype(DType::F32)
    }

    fn keep(&self, values: &[f32], items: &mut Vec<f32>) {
        items.extend_from_slice(values);
    }

    fn output(&self, table: Table<Vec<f32>>) -> TokenVectors {
        TokenVectors::new(table)
    }
}
