//! The result of an encoder.

use std::fmt;

/// One text's embedding.
#[derive(Clone, PartialEq)]
pub struct Embedding {
    /// How many tokens were computed, special ones included, after truncation.
    pub tokens: usize,
    /// The vector: [`width`](crate::EmbeddingModel::width) numbers, of unit length if the model normalises.
    pub values: Vec<f32>,
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedding({} numbers of {} tokens)", self.values.len(), self.tokens)
    }
}
