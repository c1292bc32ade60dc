//! A model that turns texts into embeddings.

use crate::config::{Config, TextConfig};
use crate::embeddings::Embeddings;
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::graphs::Graphs;
use crate::layout::Layout;
use crate::options::LoadOptions;
use crate::packed::PackedBatch;
use crate::pooling;
use crate::run::Run;
use crate::tokenizer::{Tokenizer, Tokens};
use crate::weights::Weights;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use thalweg_runtime::{CacheStats, Device, Pending, Pool, yield_task};
use thalweg_tensor::{DType, Pooling, Tensor};

/// The most tokens that one pass computes. A call with more is run in several passes, one after the other.
///
/// It bounds the memory of a call: the activations of a pass take about `24 * width` bytes a token (with a
/// feed-forward block of `4 * width`; 75 MB a pass at width 384), whatever the number of texts. A single text that is
/// longer is a pass of its own. Larger passes gain nothing: the matrix products are long past the size from which they
/// run at full speed.
pub const TOKENS_PER_PASS: usize = 8192;

/// How many bytes of text a task tokenises before it lets others run: a few hundred tokens, so that no poll is long.
const BYTES_PER_POLL: usize = 1024;
/// What a text costs beside its bytes, in these.
const BYTES_OF_A_TEXT: usize = 16;

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
    device: Device,
    tokenizer: Tokenizer,
    encoder: Encoder,
    /// `None` where they are not worth it, or turned off.
    graphs: Option<Graphs>,
    pooling: Pooling,
    normalize: bool,
    max_tokens: usize,
    /// Whether a text with more tokens is cut, or an error.
    cut: bool,
}

impl fmt::Debug for EmbeddingModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, width, dtype) = (self.parts.encoder.layers(), self.width(), self.dtype());
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
        let dtype = options.checked_dtype()?;
        let layout = Layout::read(directory)?;
        let config = Config::read(&layout.transformer)?;
        let text = TextConfig::read(&layout.transformer, config.positions)?;
        let pooling = pooling::read(&layout.pooling, config.width)?;
        let (tokenizer, max_tokens) = Tokenizer::load(&layout.transformer, &text, config.vocabulary)?;
        let mut weights = Weights::open(&layout.transformer, dtype)?;
        // The weights hold the pool's memory; it goes back to the device with the last of them.
        let name = directory.file_name().map_or("model".into(), |name| name.to_string_lossy());
        let pool = Pool::new(device, &name)?;
        let encoder = Encoder::load(&pool, &config, &mut weights, dtype)?;
        let parts = Parts {
            device: device.clone(),
            tokenizer,
            encoder,
            graphs: Graphs::new(device, options.graph_bytes())?,
            pooling,
            normalize: layout.normalize,
            max_tokens,
            cut: options.cuts_long_texts(),
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Starts on the embeddings of the sequences, and returns at once.
    ///
    /// What it gives is waited for by any number of threads and tasks, with a deadline or without; dropped by all of
    /// them, it stops. Sequences of more than [`TOKENS_PER_PASS`] tokens together take several passes: two are recorded
    /// here, and each of the others by whoever waits or polls when one is over. Recording waits as any operation may;
    /// on a handle that [does not wait](thalweg_runtime::Stream::or_busy) what the device cannot take now is recorded
    /// later in the same way.
    ///
    /// Waiting for it fails only if the device is lost or closed, the deadline passes, or the process is a forked
    /// child. Everything else is the error of a [row](Embeddings::row): a sequence that is empty or longer than
    /// [`max_tokens`](Self::max_tokens), an id that is not in the model's tables, values that are not finite; and if a
    /// pass fails on the device, of all of its rows.
    pub fn submit(&self, tokens: &[Tokens]) -> Pending<Embeddings> {
        Run::submit(self, tokens.iter().cloned().map(Ok).collect(), false)
    }

    /// As [`submit`](Self::submit), of texts. An empty or blank text is valid: it embeds as its special tokens.
    ///
    /// Tokenises before it returns, on the calling thread, in time that grows with the tokens.
    pub fn submit_texts<S: AsRef<str>>(&self, texts: &[S]) -> Pending<Embeddings> {
        Run::submit(self, self.tokenize_each(texts), false)
    }

    /// The embeddings of the texts, in their order. No text at all gives none.
    ///
    /// Blocks until the device is done. The cost grows with the real tokens: nothing is padded.
    ///
    /// # Errors
    /// As for waiting for what [`submit`](Self::submit) gives: what is wrong with a text is the error of its row.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Embeddings> {
        let _range = thalweg_runtime::range("embed");
        let pending = Run::submit(self, self.tokenize_each(texts), true);
        Ok(Embeddings::clone(&*pending.wait()?))
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
        let _range = thalweg_runtime::range("embed");
        let pending = Run::submit(self, tokens.iter().cloned().map(Ok).collect(), true);
        Ok(Embeddings::clone(&*pending.wait()?))
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
        let (model, texts) = (self.clone(), texts.iter().map(|text| text.as_ref().to_owned()).collect::<Vec<_>>());
        async move {
            model.device().check().map_err(Error::Runtime)?;
            let mut run = Run::new(&model, texts.len());
            let mut bytes = 0;
            for (index, text) in texts.into_iter().enumerate() {
                if bytes > BYTES_PER_POLL {
                    yield_task().await;
                    bytes = 0;
                }
                bytes += text.len() + BYTES_OF_A_TEXT;
                run.push(model.parts.tokenizer.tokenize(&text, index));
            }
            Ok(Embeddings::clone(&*run.start().await?))
        }
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
        // First of all: in a forked child a lock of the tokenizer may be held for ever.
        self.device().check()?;
        let _range = thalweg_runtime::range("tokenize");
        let tokenize = |(index, text): (usize, &S)| self.parts.tokenizer.tokenize(text.as_ref(), index);
        texts.iter().enumerate().map(tokenize).collect()
    }

    /// What each text gives; nothing, where the device is closed.
    fn tokenize_each<S: AsRef<str>>(&self, texts: &[S]) -> Vec<Result<Tokens>> {
        if self.device().check().is_err() {
            return Vec::new(); // which the submit says, and here a lock might be held for ever
        }
        let _range = thalweg_runtime::range("tokenize");
        let tokenize = |(index, text): (usize, &S)| self.parts.tokenizer.tokenize(text.as_ref(), index);
        texts.iter().enumerate().map(tokenize).collect()
    }

    /// The most tokens of a text, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.parts.max_tokens
    }

    /// The number of elements of an embedding.
    pub fn width(&self) -> usize {
        self.parts.encoder.width()
    }

    /// What the device computes in. Embeddings are f32 whatever it is.
    pub fn dtype(&self) -> DType {
        self.parts.encoder.dtype()
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.parts.device
    }

    /// What has been asked of the graphs of single short texts ([`LoadOptions::graphs`]), and how many there are.
    pub fn graph_cache(&self) -> CacheStats {
        self.parts.graphs.as_ref().map_or_else(CacheStats::default, Graphs::stats)
    }

    /// Records one pass of at least one sequence: `[sequences, width]`, f32.
    pub(crate) fn record(&self, sequences: &[&Tokens]) -> Result<Tensor> {
        let batch = PackedBatch::new(self.device(), sequences)?;
        let forward = |batch: &PackedBatch| self.parts.forward(batch);
        Ok(match &self.parts.graphs {
            Some(graphs) => graphs.run(&batch, forward)?,
            None => forward(&batch)?,
        })
    }

    /// Everything that a kernel takes on trust about the ids of sequence `sequence`.
    pub(crate) fn check(&self, sequence: usize, tokens: &Tokens) -> Result<()> {
        let (limit, encoder) = (self.max_tokens(), &self.parts.encoder);
        if tokens.is_cut() && !self.parts.cut {
            return Err(Error::TooManyTokens { text: sequence, limit });
        }
        if tokens.is_empty() || tokens.len() > limit {
            return Err(Error::SequenceLength { sequence, tokens: tokens.len(), limit });
        }
        for (what, ids, count) in
            [("token", tokens.ids(), encoder.vocabulary()), ("type", tokens.type_ids(), encoder.types())]
        {
            if let Some(position) = ids.iter().position(|&id| id as usize >= count) {
                return Err(Error::TokenId { sequence, position, what, given: ids[position], count });
            }
        }
        Ok(())
    }
}

impl Parts {
    fn forward(&self, batch: &PackedBatch) -> thalweg_tensor::Result<Tensor> {
        let vectors = self.encoder.forward(batch)?;
        let pooled = vectors.pool(&batch.offsets, self.pooling)?.to_dtype(DType::F32)?;
        if self.normalize { pooled.normalize() } else { Ok(pooled) }
    }
}
