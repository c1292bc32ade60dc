//! The result of an encoder.

/// One text's embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// How many tokens were computed, special ones included, after truncation.
    pub tokens: usize,
    /// The vector: [`width`](crate::EmbeddingModel::width) numbers, of unit length if the model normalises.
    pub values: Vec<f32>,
}
