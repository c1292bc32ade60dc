//! A model that turns texts into embeddings.

use crate::config::{Config, TextConfig};
use crate::embedding::Embedding;
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::graphs::Graphs;
use crate::layout::Layout;
use crate::options::LoadOptions;
use crate::packed::{PackedBatch, passes};
use crate::pooling;
use crate::tokenizer::{Tokenizer, Tokens};
use crate::weights::Weights;
use std::fmt;
use std::path::Path;
use thalweg_runtime::{CacheStats, Device, Pool};
use thalweg_tensor::{DType, Pooling, Tensor};

/// The most tokens that one pass computes. A call with more is run in several passes, one after the other.
///
/// It bounds the memory of a call: the activations of a pass take about `24 * width` bytes a token (with a
/// feed-forward block of `4 * width`; 75 MB a pass at width 384), whatever the number of texts. A single text that is
/// longer is a pass of its own. Larger passes gain nothing: the matrix products are long past the size from which they
/// run at full speed.
pub const TOKENS_PER_PASS: usize = 8192;

/// A sentence encoder: its tokenizer, and its weights on a device.
///
/// One model serves any number of threads: every method takes `&self`, and the weights are shared and never change.
/// Each call records its work on the calling thread's stream. A text's embedding has the same bits alone and in any
/// batch on the CPU.
pub struct EmbeddingModel {
    device: Device,
    tokenizer: Tokenizer,
    encoder: Encoder,
    /// `None` where they are not worth it, or turned off.
    graphs: Option<Graphs>,
    pooling: Pooling,
    normalize: bool,
    max_tokens: usize,
}

impl fmt::Debug for EmbeddingModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, width, dtype) = (self.encoder.layers(), self.width(), self.dtype());
        let (tokens, name) = (self.max_tokens, &self.device.info().name);
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
        let dtype = options.checked_dtype()?;
        let layout = Layout::read(directory.as_ref())?;
        let config = Config::read(&layout.transformer)?;
        let text = TextConfig::read(&layout.transformer, &config)?;
        let pooling = pooling::read(&layout.pooling, config.width)?;
        let tokenizer = Tokenizer::load(&layout.transformer, &text, config.vocabulary)?;
        let mut weights = Weights::open(&layout.transformer, dtype)?;
        // The weights hold the pool's memory; it goes back to the device with the last of them.
        let name = directory.as_ref().file_name().map_or("model".into(), |name| name.to_string_lossy());
        let pool = Pool::new(device, &name).map_err(thalweg_tensor::Error::from)?;
        let encoder = Encoder::load(&pool, &config, &mut weights, dtype)?;
        let max_tokens = tokenizer.max_tokens();
        Ok(Self {
            device: device.clone(),
            tokenizer,
            encoder,
            graphs: Graphs::new(device, options.graph_bytes())?,
            pooling,
            normalize: layout.normalize,
            max_tokens,
        })
    }

    /// The embeddings of the texts, in their order. An empty or blank text is valid: it embeds as its special tokens.
    /// No text at all gives no embedding.
    ///
    /// Blocks until the device is done. The cost grows with the real tokens: nothing is padded.
    ///
    /// # Errors
    /// If the tokenizer or the device fails, the device is lost or closed, or the process is a forked child; then no
    /// text of the call is embedded.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        self.embed_tokens(&self.tokenize(texts)?)
    }

    /// As [`embed`](Self::embed), for async tasks: the device keeps no thread waiting. Tokenising and recording are
    /// work of the task that polls: long texts are better tokenised where blocking is allowed, and handed to
    /// [`embed_tokens_async`](Self::embed_tokens_async).
    ///
    /// Records on the stream that is current at each poll; see [`Stream::attach`](thalweg_runtime::Stream::attach).
    ///
    /// # Errors
    /// As for [`embed`](Self::embed).
    pub async fn embed_async(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        self.embed_tokens_async(&self.tokenize(texts)?).await
    }

    /// The tokens of the texts, in their order, special ones included, cut to [`max_tokens`](Self::max_tokens).
    ///
    /// Runs on the calling thread alone. Time and memory grow with the whole text, also with the part that is cut off.
    ///
    /// # Errors
    /// If the tokenizer fails, the device is lost or closed, or the process is a forked child.
    pub fn tokenize(&self, texts: &[&str]) -> Result<Vec<Tokens>> {
        // First of all: in a forked child a lock of the tokenizer may be held for ever.
        self.check_device()?;
        let _range = thalweg_runtime::range("tokenize");
        texts.iter().enumerate().map(|(index, text)| self.tokenizer.tokenize(text, index)).collect()
    }

    /// The embeddings of the sequences, in their order.
    ///
    /// Blocks until the device is done. More than [`TOKENS_PER_PASS`] tokens are computed in several passes.
    ///
    /// # Errors
    /// If a sequence is empty or longer than [`max_tokens`](Self::max_tokens), if an id is not in the model's tables,
    /// or if the device fails, is lost or is closed, or the process is a forked child; then no sequence of the call is
    /// embedded.
    pub fn embed_tokens(&self, tokens: &[Tokens]) -> Result<Vec<Embedding>> {
        self.check(tokens)?;
        let _range = thalweg_runtime::range("embed");
        let mut embeddings = Vec::with_capacity(tokens.len());
        for pass in passes(tokens, TOKENS_PER_PASS) {
            let values = self.record(pass)?.to_vec()?;
            embeddings.extend(self.cut(pass, &values));
        }
        Ok(embeddings)
    }

    /// As [`embed_tokens`](Self::embed_tokens), for async tasks; see [`embed_async`](Self::embed_async).
    ///
    /// # Errors
    /// As for [`embed_tokens`](Self::embed_tokens).
    pub async fn embed_tokens_async(&self, tokens: &[Tokens]) -> Result<Vec<Embedding>> {
        self.check(tokens)?;
        let mut embeddings = Vec::with_capacity(tokens.len());
        for pass in passes(tokens, TOKENS_PER_PASS) {
            let values = self.record(pass)?.to_vec_async().await?;
            embeddings.extend(self.cut(pass, &values));
        }
        Ok(embeddings)
    }

    /// The most tokens of a text, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
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
        &self.device
    }

    /// What has been asked of the graphs of single short texts ([`LoadOptions::graphs`]), and how many there are.
    pub fn graph_cache(&self) -> CacheStats {
        self.graphs.as_ref().map_or_else(CacheStats::default, Graphs::stats)
    }

    /// Records one pass: `[sequences, width]`, f32.
    fn record(&self, sequences: &[Tokens]) -> Result<Tensor> {
        let batch = PackedBatch::new(&self.device, sequences)?;
        let forward = |batch: &PackedBatch| self.forward(batch);
        Ok(match &self.graphs {
            Some(graphs) => graphs.run(&batch, forward)?,
            None => forward(&batch)?,
        })
    }

    fn forward(&self, batch: &PackedBatch) -> thalweg_tensor::Result<Tensor> {
        let vectors = self.encoder.forward(batch)?;
        let pooled = vectors.pool(&batch.offsets, self.pooling)?.to_dtype(DType::F32)?;
        if self.normalize { pooled.normalize() } else { Ok(pooled) }
    }

    /// The embeddings in the values of a pass.
    fn cut<'a>(&self, sequences: &'a [Tokens], values: &'a [f32]) -> impl Iterator<Item = Embedding> + use<'a> {
        let rows = values.chunks_exact(self.width());
        debug_assert_eq!(rows.len(), sequences.len());
        sequences.iter().zip(rows).map(|(tokens, row)| Embedding { tokens: tokens.len(), values: row.to_vec() })
    }

    /// Whether the device takes work. Asked before anything else is done, or locked.
    fn check_device(&self) -> Result<()> {
        Ok(self.device.check().map_err(thalweg_tensor::Error::from)?)
    }

    /// The device, and everything that a kernel takes on trust about its ids.
    fn check(&self, tokens: &[Tokens]) -> Result<()> {
        self.check_device()?;
        for (sequence, tokens) in tokens.iter().enumerate() {
            if tokens.is_empty() || tokens.len() > self.max_tokens {
                return Err(Error::SequenceLength { sequence, tokens: tokens.len(), limit: self.max_tokens });
            }
            for (what, ids, count) in
                [("token", tokens.ids(), self.encoder.vocabulary()), ("type", tokens.type_ids(), self.encoder.types())]
            {
                if let Some(position) = ids.iter().position(|&id| id as usize >= count) {
                    return Err(Error::TokenId { sequence, position, what, given: ids[position], count });
                }
            }
        }
        Ok(())
    }
}
