//! Sentence encoders: texts to vectors.

use super::pooling;
use super::table::Table;
use super::{Call, Embeddings, Input, Task};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::model::{Loading, Model};
use crate::options::LoadOptions;
use crate::packed::PackedBatch;
use crate::tokenizer::Tokens;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use thalweg_runtime::{CacheStats, Device, Pending};
use thalweg_tensor::{DType, Pooling, Result as TensorResult, Tensor};

/// A sentence encoder: its tokenizer, and its weights on a device.
///
/// A handle: a clone shares everything. One model serves any number of threads and tasks: every method takes `&self`,
/// and the weights are shared and never change. Each call records its work on the calling thread's stream. A text's
/// embedding has the same bits alone and in any batch on the CPU, and from each of these calls:
///
/// | call | takes | waits |
/// |---|---|---|
/// | [`submit`](Self::submit) | tokens | not at all: gives a [`Pending`], for threads, tasks and deadlines |
/// | [`submit_texts`](Self::submit_texts) | texts | the same |
/// | [`embed`](Self::embed), [`embed_one`](Self::embed_one) | texts, one text | as long as it takes |
/// | [`embed_tokens`](Self::embed_tokens) | tokens | the same |
/// | [`embed_async`](Self::embed_async) | texts | as a task |
///
/// What is wrong with one text is the error of its row, and does not keep the others from their embeddings.
#[derive(Clone)]
pub struct EmbeddingModel {
    parts: Arc<Parts>,
}

/// What the handles share.
struct Parts {
    model: Model,
    pooling: Pooling,
    normalize: bool,
}

impl fmt::Debug for EmbeddingModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, width, dtype) = (self.parts.model.layers(), self.width(), self.dtype());
        let (tokens, name) = (self.max_tokens(), &self.device().info().name);
        write!(f, "EmbeddingModel({layers} layers of {dtype}[{width}], at most {tokens} tokens, on {name})")
    }
}

impl EmbeddingModel {
    /// Loads a model from a directory in the sentence-transformers layout: `modules.json`, and in the folders that it
    /// names `config.json`, `model.safetensors` (f32, f16 or bf16), `tokenizer.json` and the pooling's `config.json`;
    /// `sentence_bert_config.json` and `tokenizer_config.json` where there are any.
    ///
    /// The modules are a Transformer (`model_type` "bert"), a Pooling (mean, CLS or max) and perhaps a Normalize.
    ///
    /// The device computes in f32. Reads the whole weights file and packs its matrices for the device. The weights are
    /// then on the device once; on the way there, host memory holds at most one matrix besides.
    ///
    /// # Errors
    /// If the directory or a file is missing, unreadable, corrupt, contradicts another, or asks for something that is
    /// not supported; the error names the file. If the device has no room.
    pub fn load(device: &Device, directory: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(device, directory, LoadOptions::new())
    }

    /// As [`load`](Self::load), with settings of one's own: the type to compute in.
    ///
    /// # Errors
    /// As for [`load`](Self::load); [`Error::TensorRange`], which names the tensor, if a weight is beyond what that
    /// type holds.
    pub fn load_with(device: &Device, directory: impl AsRef<Path>, options: LoadOptions) -> Result<Self> {
        Self::read(device, directory.as_ref(), options).map_err(Error::with_what_is_missing)
    }

    fn read(device: &Device, directory: &Path, options: LoadOptions) -> Result<Self> {
        let layout = Layout::read(directory)?;
        let loading = Loading::open(device, directory, &layout.transformer, options)?;
        let pooling = pooling::read(&layout.pooling, loading.config.limits.width)?;
        let parts = Parts { model: loading.finish()?, pooling, normalize: layout.normalize };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Starts on the embeddings of the sequences, and returns at once.
    ///
    /// What it gives is waited for by any number of threads and tasks, with a deadline or without; dropped by all of
    /// them, it stops. Sequences of more than [`TOKENS_PER_PASS`](crate::TOKENS_PER_PASS) tokens together take several passes: two are recorded
    /// here, and each of the others by whoever waits or polls when one is over. Recording waits as any operation may;
    /// on a handle that [does not wait](thalweg_runtime::Stream::or_busy) what the device cannot take now is recorded
    /// later in the same way.
    ///
    /// Waiting for it fails only if the device is lost or closed, the deadline passes, or the process is a forked
    /// child. Everything else is the error of a [row](Embeddings::row): a sequence that is empty or longer than
    /// [`max_tokens`](Self::max_tokens), an id that is not in the model's tables, values that are not finite; and if a
    /// pass fails on the device, of all of its rows.
    pub fn submit(&self, tokens: &[Tokens]) -> Pending<Embeddings> {
        self.submit_tokens(tokens)
    }

    /// As [`submit`](Self::submit), of texts. An empty or blank text is valid: it embeds as its special tokens.
    ///
    /// Tokenises before it returns, on the calling thread, in time that grows with the tokens.
    pub fn submit_texts<S: AsRef<str>>(&self, texts: &[S]) -> Pending<Embeddings> {
        self.submit_inputs(texts.iter().map(Input::text))
    }

    /// The embeddings of the texts, in their order. No text at all gives none.
    ///
    /// Blocks until the device is done. The cost grows with the real tokens: nothing is padded.
    ///
    /// # Errors
    /// As for waiting for what [`submit`](Self::submit) gives: what is wrong with a text is the error of its row.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Embeddings> {
        self.of_inputs(texts.iter().map(Input::text))
    }

    /// The embedding of one text: [`width`](Self::width) numbers.
    ///
    /// # Errors
    /// What is wrong with the text, or as for [`embed`](Self::embed).
    pub fn embed_one(&self, text: &str) -> Result<Vec<f32>> {
        Ok(self.embed(&[text])?.row(0)?.to_vec())
    }

    /// As [`embed`](Self::embed), of sequences.
    ///
    /// # Errors
    /// As for [`embed`](Self::embed).
    pub fn embed_tokens(&self, tokens: &[Tokens]) -> Result<Embeddings> {
        self.of_tokens(tokens)
    }

    /// As [`embed`](Self::embed), for async tasks, on any executor: the device keeps no thread waiting. The future owns
    /// what it needs, so that it can be spawned.
    ///
    /// A poll is short: it tokenises a few hundred tokens (or one text: ten milliseconds a MiB of it), or takes the
    /// values of one pass and records another, and waits neither for the device nor for memory. (On a GPU the first of
    /// its kind also compiles what it needs: a call with texts of some lengths, before there are tasks, spares them
    /// that.) Dropping the future stops it. It records on the stream that is current at each poll; see
    /// [`Stream::attach`](thalweg_runtime::Stream::attach).
    ///
    /// # Errors
    /// As for [`embed`](Self::embed).
    pub fn embed_async<S: AsRef<str>>(
        &self,
        texts: &[S],
    ) -> impl Future<Output = Result<Embeddings>> + Send + 'static + use<S> {
        let inputs = texts.iter().map(|text| Input::text(text).into_owned()).collect();
        self.clone().of_inputs_async(inputs)
    }

    /// The tokens of the texts, in their order, special ones included, cut to [`max_tokens`](Self::max_tokens).
    ///
    /// Runs on the calling thread alone. Takes time for as much of a text as its tokens come from. Memory beside the
    /// tokens does not grow with the text: less than a megabyte where the tokenizer surely splits, else up to 40.
    ///
    /// # Errors
    /// If the tokenizer fails on a text, a long text has no place where the tokenizer surely splits
    /// ([`Error::TextTooLong`]), the device is lost or closed, or the process is a forked child.
    pub fn tokenize<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Tokens>> {
        self.tokenize_all(texts.iter().map(Input::text))
    }

    /// The most tokens of a text, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.parts.model.max_tokens
    }

    /// The number of elements of an embedding.
    pub fn width(&self) -> usize {
        self.parts.model.width()
    }

    /// What the device computes in. Embeddings are f32 whatever it is.
    pub fn dtype(&self) -> DType {
        self.parts.model.dtype()
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.parts.model.device
    }

    /// What has been asked of the graphs of single short texts ([`LoadOptions::graphs`]), and how many there are.
    pub fn graph_cache(&self) -> CacheStats {
        self.parts.model.graph_cache()
    }
}

impl Task for EmbeddingModel {
    const NAME: &'static str = "embed";
    type Items = Vec<f32>;
    type Output = Embeddings;

    fn model(&self) -> &Model {
        &self.parts.model
    }

    fn width(&self) -> usize {
        self.width()
    }

    fn record(&self, vectors: Tensor, batch: &PackedBatch) -> TensorResult<Tensor> {
        let pooled = vectors.pool(&batch.offsets, self.parts.pooling)?.to_dtype(DType::F32)?;
        if self.parts.normalize { pooled.normalize() } else { Ok(pooled) }
    }

    fn keep(&self, values: &[f32], items: &mut Vec<f32>) {
        items.extend_from_slice(values);
    }

    fn output(&self, table: Table<Vec<f32>>) -> Embeddings {
        Embeddings::new(table)
    }
}
