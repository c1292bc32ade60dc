//! Sentence encoders: texts to vectors.

use super::defaults::{Defaults, Prompt, SENTENCE_TRANSFORMER};
use super::modules::Step;
use super::pooling::PoolingConfig;
use super::table::Table;
use super::token_vectors::{EachToken, TokenVectors};
use super::{Call, Embeddings, Input, Similarity, Task, handle, prompted};
use crate::error::{Error, Result};
use crate::layout::{Kind, Layout};
use crate::model::{Loading, Model};
use crate::options::LoadOptions;
use crate::packed::PackedBatch;
use crate::sentence::Gives;
use crate::tokenizer::Tokens;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use thalweg_runtime::{CacheStats, Device, Pending};
use thalweg_tensor::{DType, Result as TensorResult, Tensor};

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
    /// What goes before every text.
    prompt: Prompt,
    /// How many tokens at the beginning of a text are the prompt's, and left out of the pooling.
    skip: u32,
}

/// What the handles share.
struct Parts {
    model: Model,
    pooling: PoolingConfig,
    /// What follows the pooling.
    steps: Vec<Step>,
    /// The length of an embedding: so many elements are kept of what the last step gives.
    width: usize,
    /// Whether that is scaled to unit length.
    normalize: bool,
    defaults: Defaults,
    /// Whether no file says how it pools.
    is_bare: bool,
}

impl EmbeddingModel {
    /// Loads a model from a directory in the sentence-transformers layout: `modules.json`, and in the folders that it
    /// names `config.json`, `model.safetensors` (f32, f16 or bf16), `tokenizer.json` and the pooling's `config.json`;
    /// `sentence_bert_config.json` and `tokenizer_config.json` where there are any.
    ///
    /// The modules are a Transformer, a Pooling (of any modes), and after it any of Dense, LayerNorm, Normalize and
    /// Dropout (which does nothing here). A directory without `modules.json` is a checkpoint of the transformers
    /// library: its pooling is [assumed](Self::pooling_is_assumed).
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
        let expected = "[Transformer, Pooling], then Dense, LayerNorm, Normalize and Dropout in any order, or nothing";
        let (transformer, pooling, others) = match &layout.modules[..] {
            [transformer] if layout.is_bare => (transformer, None, &[][..]),
            [transformer, pooling, others @ ..] if pooling.kind == Kind::Pooling => {
                (transformer, Some(pooling), others)
            }
            _ => return Err(layout.wrong(expected)),
        };
        if transformer.kind != Kind::Transformer {
            return Err(layout.wrong(expected));
        }
        let defaults = Defaults::read(&layout, SENTENCE_TRANSFORMER)?;
        let loading = Loading::open(device, &layout, Gives::Vectors, options)?;
        let width = loading.config.limits.width;
        let pooling = match pooling {
            Some(module) => PoolingConfig::read(&module.folder, width)?,
            None => PoolingConfig::of_checkpoint(&transformer.folder)?,
        };
        let pooled = pooling.modes.len() * width;
        let (steps, width) = Step::read_all(others, pooled, &loading.pool)?.ok_or_else(|| layout.wrong(expected))?;
        let width = options.truncates().or(defaults.dimensions).map_or(width, |dimensions| dimensions.min(width));
        let prompt = defaults.prompts.default.clone();
        let (normalize, is_bare) = (options.normalizes(), layout.is_bare);
        let parts = Parts { model: loading.finish()?, pooling, steps, width, normalize, defaults, is_bare };
        Self { parts: Arc::new(parts), prompt: Prompt::default(), skip: 0 }.with(prompt)
    }

    fn with(&self, prompt: Prompt) -> Result<Self> {
        let leaves_out = !self.parts.pooling.include_prompt && !prompt.text().is_empty();
        let skip = if leaves_out { self.parts.model.tokenizer().prompt_tokens(prompt.text())? as u32 } else { 0 };
        Ok(Self { parts: self.parts.clone(), prompt, skip })
    }

    /// Starts on the embeddings of the sequences, and returns at once.
    ///
    /// What it gives is waited for by any number of threads and tasks, with a deadline or without; dropped by all of
    /// them, it stops. Sequences of more than [`TOKENS_PER_PASS`](crate::TOKENS_PER_PASS) tokens together take several
    /// passes: two are recorded here, and each of the others by whoever waits or polls when one is over. Recording
    /// waits as any operation may; on a handle that [does not wait](thalweg_runtime::Stream::or_busy) what the device
    /// cannot take now is recorded later in the same way.
    ///
    /// Waiting for it fails only if the device is lost or closed, the deadline passes, or the process is a forked
    /// child. Everything else is the error of a [row](Embeddings::row): a sequence that is empty or longer than
    /// [`max_tokens`](Self::max_tokens), an id that is not in the model's tables, values that are not finite; and if a
    /// pass fails on the device, of all of its rows.
    ///
    /// The sequences are such as [`tokenize`](Self::tokenize) gives, the prompt's tokens included. A model that leaves
    /// these out of its pooling leaves as many out of each sequence.
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

    /// The vectors of each text's tokens, before they are pooled.
    ///
    /// # Errors
    /// As for [`embed`](Self::embed).
    pub fn token_vectors<S: AsRef<str>>(&self, texts: &[S]) -> Result<TokenVectors> {
        EachToken(self.clone()).of_inputs(texts.iter().map(Input::text))
    }

    /// As [`token_vectors`](Self::token_vectors), of sequences, and returns at once; see [`submit`](Self::submit).
    pub fn submit_token_vectors(&self, tokens: &[Tokens]) -> Pending<TokenVectors> {
        EachToken(self.clone()).submit_tokens(tokens)
    }

    /// As [`token_vectors`](Self::token_vectors), for async tasks; see [`embed_async`](Self::embed_async).
    ///
    /// # Errors
    /// As for [`embed`](Self::embed).
    pub fn token_vectors_async<S: AsRef<str>>(
        &self,
        texts: &[S],
    ) -> impl Future<Output = Result<TokenVectors>> + Send + 'static + use<S> {
        let inputs = texts.iter().map(|text| Input::text(text).into_owned()).collect();
        EachToken(self.clone()).of_inputs_async(inputs)
    }

    /// The tokens of the texts, in their order, special ones and the prompt's
    /// included, cut to [`max_tokens`](Self::max_tokens).
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

    /// The number of elements of an embedding.
    pub fn width(&self) -> usize {
        self.parts.width
    }

    /// Whether no file says how the model pools, so that it is the mean, as in sentence-transformers: the directory is
    /// a checkpoint of the transformers library, without `modules.json`.
    pub fn pooling_is_assumed(&self) -> bool {
        self.parts.is_bare
    }

    /// How the model's embeddings are to be compared: its `similarity_fn_name`, or the cosine.
    pub fn similarity(&self) -> Similarity {
        self.parts.defaults.similarity.unwrap_or_default()
    }
}

handle!(EmbeddingModel);
prompted!(EmbeddingModel);

impl Task for EmbeddingModel {
    const NAME: &'static str = "embed";
    type Items = Vec<f32>;
    type Output = Embeddings;

    fn model(&self) -> &Model {
        &self.parts.model
    }

    fn prompt(&self) -> &str {
        self.prompt.text()
    }

    fn take(&self, sequence: usize, tokens: Tokens) -> Result<Tokens> {
        self.parts.model.check(sequence, &tokens)?;
        match self.skip as usize {
            prompt if prompt < tokens.len() => Ok(tokens),
            prompt => Err(Error::NoTokenAfterPrompt { sequence, tokens: tokens.len(), prompt }),
        }
    }

    fn width(&self) -> usize {
        self.width()
    }

    fn kind(&self) -> usize {
        self.skip as usize
    }

    fn record(&self, vectors: Tensor, batch: &PackedBatch) -> TensorResult<Tensor> {
        let Parts { pooling, steps, width, normalize, .. } = &*self.parts;
        let mut output = pooling.apply(&vectors, &batch.offsets, self.skip)?.to_dtype(DType::F32)?;
        drop(vectors);
        for step in steps {
            output = step.apply(&output)?;
        }
        if *width < output.shape()[1] {
            output = output.narrow(1, 0, *width)?.contiguous()?;
        }
        if *normalize { output.normalize() } else { Ok(output) }
    }

    fn keep(&self, values: &[f32], items: &mut Vec<f32>) {
        items.extend_from_slice(values);
    }

    fn output(&self, table: Table<Vec<f32>>) -> Embeddings {
        Embeddings::new(table)
    }
}
