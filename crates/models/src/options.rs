//! How a model is to be loaded.

use crate::error::{Error, Result};
use thalweg_tensor::DType;

/// Settings of a load, for [`EmbeddingModel::load_with`](crate::EmbeddingModel::load_with).
///
/// ```
/// use thalweg_models::LoadOptions;
/// use thalweg_tensor::DType;
///
/// let options = LoadOptions::new().dtype(DType::F16);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct LoadOptions {
    dtype: DType,
    graph_bytes: Option<u64>,
    cut: bool,
    truncate_dim: Option<usize>,
    normalize: bool,
}

impl LoadOptions {
    /// The defaults: f32, graphs on GPUs, and long texts are cut.
    pub fn new() -> Self {
        Self { dtype: DType::F32, graph_bytes: None, cut: true, truncate_dim: None, normalize: false }
    }

    /// What the device computes in, f32 or f16. Weights are converted once, when they are loaded; embeddings are f32 in
    /// either case.
    ///
    /// In f16 weights and activations take half the memory, and a GPU is faster; values of an embedding of unit length
    /// are off by up to 2e-3. On the processor it is slower than f32: each value is widened before it is used.
    pub fn dtype(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    /// How many bytes of device memory the model may take for graphs: a pass of one text of up to 512 tokens is
    /// captured for its number of tokens, and from then on run with far less work for the host. 0 turns them off. The
    /// default is 256 MiB on a GPU, 0 on the processor and on software drivers, where kernels take longer than it takes
    /// to record them. When there is no room, passes are recorded one operation at a time. The embeddings are the same,
    /// to the bit.
    pub fn graphs(self, bytes: u64) -> Self {
        Self { graph_bytes: Some(bytes), ..self }
    }

    /// Whether a text with more tokens than the model takes is cut to as many, which is the default, or an error of its
    /// row ([`Error::TooManyTokens`]). What was cut, the embeddings [say](crate::Embeddings::cut).
    pub fn cut_long_texts(self, cut: bool) -> Self {
        Self { cut, ..self }
    }

    /// How many of the first elements of an embedding are kept, for models that were trained for shorter embeddings
    /// too: `truncate_dim` of sentence-transformers, and what a model's own `truncate_dim` says counts no more. As
    /// there, an embedding of unit length is not when it is cut; [`normalize`](Self::normalize) makes it so again. More
    /// elements than there are keep all.
    ///
    /// For an [`EmbeddingModel`](crate::EmbeddingModel) alone, and its embeddings: vectors of tokens are whole.
    pub fn truncate_dim(self, elements: usize) -> Self {
        Self { truncate_dim: Some(elements), ..self }
    }

    /// Whether embeddings are scaled to unit length at the end, which a model may do without being asked. The default
    /// is what the model does: false.
    ///
    /// For an [`EmbeddingModel`](crate::EmbeddingModel) alone.
    pub fn normalize(self, normalize: bool) -> Self {
        Self { normalize, ..self }
    }

    pub(crate) fn truncates(self) -> Option<usize> {
        self.truncate_dim
    }

    pub(crate) fn normalizes(self) -> bool {
        self.normalize
    }

    pub(crate) fn cuts_long_texts(self) -> bool {
        self.cut
    }

    pub(crate) fn graph_bytes(self) -> Option<u64> {
        self.graph_bytes
    }

    /// The type, if a model can be loaded in it.
    pub(crate) fn checked_dtype(self) -> Result<DType> {
        match self.dtype {
            DType::F32 | DType::F16 => Ok(self.dtype),
            given => Err(Error::LoadDtype { given }),
        }
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self::new()
    }
}
