//! The embedding model as users see it.

use crate::{DType, Device, Embedding, LoadOptions, Result, Tokens};
use std::fmt;
use std::path::Path;

/// A sentence encoder on a device: texts in, vectors out.
///
/// One model serves any number of threads: every method takes `&self`, and nothing is copied a thread. A text's
/// embedding has the same bits alone and in any batch on the CPU.
pub struct EmbeddingModel {
    encoder: thalweg_models::EmbeddingModel,
}

impl fmt::Debug for EmbeddingModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.encoder.fmt(f)
    }
}

impl EmbeddingModel {
    /// Loads a BERT-family encoder from a directory in the sentence-transformers layout; see
    /// [`thalweg_models::EmbeddingModel::load`].
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model), which names the file that is missing, corrupt or not supported.
    pub fn load(device: &Device, directory: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { encoder: thalweg_models::EmbeddingModel::load(device, directory)? })
    }

    /// As [`load`](Self::load), with settings of one's own: computing in f16.
    ///
    /// # Errors
    /// As for [`load`](Self::load), or if a weight is beyond the type's range.
    pub fn load_with(device: &Device, directory: impl AsRef<Path>, options: LoadOptions) -> Result<Self> {
        Ok(Self { encoder: thalweg_models::EmbeddingModel::load_with(device, directory, options)? })
    }

    /// The embeddings of the texts, in their order. Texts may be empty, and there may be none. Blocks until the device
    /// is done; its cost grows with the real tokens, because nothing is padded.
    ///
    /// # Errors
    /// If the tokenizer or the device fails, the device is lost or closed, or the process is a forked child; then no
    /// text of the call is embedded.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        Ok(self.encoder.embed(texts)?)
    }

    /// As [`embed`](Self::embed), for async tasks on any executor: the device keeps no thread waiting. Tokenising and
    /// recording are work of the task that polls: where that is too much, call [`tokenize`](Self::tokenize) where
    /// blocking is allowed, and then [`embed_tokens_async`](Self::embed_tokens_async).
    ///
    /// # Errors
    /// As for [`embed`](Self::embed).
    pub async fn embed_async(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        Ok(self.encoder.embed_async(texts).await?)
    }

    /// The first half of [`embed`](Self::embed): the tokens of the texts, cut to [`max_tokens`](Self::max_tokens).
    ///
    /// # Errors
    /// If the tokenizer fails, the device is lost or closed, or the process is a forked child.
    pub fn tokenize(&self, texts: &[&str]) -> Result<Vec<Tokens>> {
        Ok(self.encoder.tokenize(texts)?)
    }

    /// The second half of [`embed`](Self::embed): the embeddings of the sequences, in their order.
    ///
    /// # Errors
    /// If a sequence is empty or too long, an id is not in the model's tables, or the device fails, is lost or is
    /// closed, or the process is a forked child; then no sequence of the call is embedded.
    pub fn embed_tokens(&self, tokens: &[Tokens]) -> Result<Vec<Embedding>> {
        Ok(self.encoder.embed_tokens(tokens)?)
    }

    /// As [`embed_tokens`](Self::embed_tokens), for async tasks; see [`embed_async`](Self::embed_async).
    ///
    /// # Errors
    /// As for [`embed_tokens`](Self::embed_tokens).
    pub async fn embed_tokens_async(&self, tokens: &[Tokens]) -> Result<Vec<Embedding>> {
        Ok(self.encoder.embed_tokens_async(tokens).await?)
    }

    /// The most tokens of a text, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.encoder.max_tokens()
    }

    /// The number of elements of an embedding.
    pub fn width(&self) -> usize {
        self.encoder.width()
    }

    /// What the device computes in. Embeddings are f32 whatever it is.
    pub fn dtype(&self) -> DType {
        self.encoder.dtype()
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        self.encoder.device()
    }
}
