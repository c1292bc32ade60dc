//! Sparse encoders (SPLADE): texts to weights of the words of a vocabulary.

use super::defaults::{Defaults, Prompt, SPARSE_ENCODER};
use super::head::Head;
use super::table::{Items, Table, results};
use super::{Call, Input, Similarity, Task, handle, prompted};
use crate::arch::WordLayers;
use crate::error::{Error, Result};
use crate::json::{JsonFile, Keys, Others};
use crate::layout::{Kind, Layout};
use crate::model::{Loading, Model, TOKENS_PER_PASS};
use crate::options::LoadOptions;
use crate::packed::PackedBatch;
use crate::run::VALUES_PER_PASS;
use crate::sentence::Gives;
use crate::tokenizer::Tokens;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use thalweg_runtime::{CacheStats, Device, Pending};
use thalweg_tensor::{Binary, DType, Pooling, Result as TensorResult, Tensor, Unary};

results! {
    /// The sparse embeddings of a call: a row for each text, in the order in which they were given. A row has the
    /// elements that are not 0, or the error that its text met; the others are as good as without it.
    ///
    /// A handle: a clone shares the values.
    SparseEmbeddings(Sparse)
}

/// Elements that are not 0.
#[derive(Default)]
pub(crate) struct Sparse {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl Items for Sparse {
    fn len(&self) -> usize {
        self.indices.len()
    }

    /// How many are not 0 is not known.
    fn reserve(&mut self, _: usize) {}
}

impl SparseEmbeddings {
    /// The number of elements of each, most of which are 0: one for each word of the vocabulary.
    pub fn width(&self) -> usize {
        self.table.width
    }

    /// The sparse embedding of text `row`.
    ///
    /// # Errors
    /// Why this text has none: what is wrong with it, or how its pass failed on the device.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> Result<SparseVector<'_>> {
        let range = self.table.of(row)?;
        let Sparse { indices, values } = &self.table.items;
        Ok(SparseVector { indices: &indices[range.clone()], values: &values[range] })
    }

    /// All rows, in order; see [`row`](Self::row).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<SparseVector<'_>>> {
        (0..self.rows()).map(|row| self.row(row))
    }
}

/// The elements of a vector that are not 0.
#[derive(Clone, Copy, PartialEq)]
pub struct SparseVector<'a> {
    /// Where they are, rising: for a SPLADE model the ids of tokens.
    pub indices: &'a [u32],
    /// What they are: greater than 0.
    pub values: &'a [f32],
}

impl fmt::Debug for SparseVector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SparseVector({} elements)", self.indices.len())
    }
}

impl SparseVector<'_> {
    /// The inner product with another, which is how sparse embeddings are compared, unless the model
    /// [says otherwise](SparseEncoder::similarity).
    pub fn dot(&self, other: &SparseVector<'_>) -> f32 {
        let (mut sum, mut at) = (0.0, 0);
        for (index, value) in self.indices.iter().zip(self.values) {
            at += other.indices[at..].partition_point(|other| other < index);
            if other.indices.get(at) == Some(index) {
                sum += f64::from(*value) * f64::from(other.values[at]);
            }
        }
        sum as f32
    }
}

/// A sparse encoder: its tokenizer, and its weights on a device.
///
/// A handle: a clone shares everything. One model serves any number of threads and tasks, as an
/// [`EmbeddingModel`](crate::EmbeddingModel) does, and what it says of its calls is true here:
///
/// | call | takes | waits |
/// |---|---|---|
/// | [`submit`](Self::submit) | tokens | not at all: gives a [`Pending`], for threads, tasks and deadlines |
/// | [`submit_texts`](Self::submit_texts) | texts | the same |
/// | [`embed`](Self::embed) | texts | as long as it takes |
/// | [`embed_async`](Self::embed_async) | texts | as a task |
///
/// # Memory
/// Scores of the whole vocabulary at each token would be most of a call's memory. They are made for a part of the
/// vocabulary at a time, of 32 MiB in f32 at most, and a pass is short: 1,024 tokens, or those of one longer text, and
/// as many texts as have 32 MiB of embeddings before the zeros are left out. The vocabulary's vectors are on the device
/// twice: as the table that the encoder looks up, and packed for the products.
///
/// ```no_run
/// # fn example(device: &thalweg_runtime::Device) -> thalweg_models::Result<()> {
/// let model = thalweg_models::SparseEncoder::load(device, "models/splade-cocondenser-ensembledistil")?;
/// let embeddings = model.embed(&["The river joins the sea.", "Streams become one."])?;
/// let (river, streams) = (embeddings.row(0)?, embeddings.row(1)?);
/// println!("{} elements; {}", river.indices.len(), river.dot(&streams));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SparseEncoder {
    parts: Arc<Parts>,
    /// What goes before every text.
    prompt: Prompt,
}

/// What the handles share.
struct Parts {
    model: Model,
    head: WordLayers,
    splade: Splade,
    /// How many words there are.
    width: usize,
    /// The most elements of an embedding, the greatest.
    most: Option<usize>,
    tokens_per_pass: usize,
    defaults: Defaults,
}

/// What becomes of a text's scores of a word, one for each token.
#[derive(Clone, Copy, Debug)]
struct Splade {
    /// Their sum, not the greatest.
    sums: bool,
    /// How often `log(1 + x)` is taken of each; those below 0 are 0.
    logs: usize,
}

/// The tokens of a pass.
const TOKENS: usize = 1024;

impl SparseEncoder {
    /// Loads a sparse encoder from a directory: as sentence-transformers saves it, a Transformer with a masked-LM head
    /// and a SpladePooling, or a `*ForMaskedLM` checkpoint of the transformers library, of which the pooling is the
    /// greatest of `log(1 + max(x, 0))`.
    ///
    /// # Errors
    /// As for [`EmbeddingModel::load`](crate::EmbeddingModel::load).
    pub fn load(device: &Device, directory: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(device, directory, LoadOptions::new())
    }

    /// As [`load`](Self::load), with settings of one's own.
    ///
    /// # Errors
    /// As for [`EmbeddingModel::load_with`](crate::EmbeddingModel::load_with).
    pub fn load_with(device: &Device, directory: impl AsRef<Path>, options: LoadOptions) -> Result<Self> {
        Self::read(device, directory.as_ref(), options).map_err(Error::with_what_is_missing)
    }

    fn read(device: &Device, directory: &Path, options: LoadOptions) -> Result<Self> {
        let layout = Layout::read(directory)?;
        let splade = match &layout.modules[..] {
            [transformer] if layout.is_bare => {
                let config = Head::read(&transformer.folder)?;
                config.expect("ForMaskedLM", "a checkpoint with a head that scores words")?;
                Splade { sums: false, logs: 1 }
            }
            [transformer, pooling]
                if matches!(transformer.kind, Kind::Transformer | Kind::MLMTransformer)
                    && pooling.kind == Kind::SpladePooling =>
            {
                Splade::read(&pooling.folder)?
            }
            _ => return Err(layout.wrong("[Transformer, SpladePooling] or [MLMTransformer, SpladePooling]")),
        };
        let defaults = Defaults::read(&layout, SPARSE_ENCODER)?;
        let most = match &defaults.file {
            Some(file) => file.get("max_active_dims").size()?,
            None => None,
        };
        let loading = Loading::open(device, &layout, Gives::Words, options)?;
        let head = loading.config.word_head()?;
        let limits = &loading.config.limits;
        let (width, vectors) = (limits.vocabulary, limits.width);
        let tokens_per_pass = loading.max_tokens().clamp(TOKENS, TOKENS_PER_PASS);
        let head = head.load(&loading.weights(), vectors, width, (VALUES_PER_PASS / tokens_per_pass).max(1))?;
        let prompt = defaults.prompts.default.clone();
        let model = loading.finish()?;
        let parts = Parts { model, head, splade, width, most, tokens_per_pass, defaults };
        Ok(Self { parts: Arc::new(parts), prompt })
    }

    fn with(&self, prompt: Prompt) -> Result<Self> {
        Ok(Self { parts: self.parts.clone(), prompt })
    }

    /// The number of elements of an embedding, zeros included.
    pub fn width(&self) -> usize {
        self.parts.width
    }

    /// How the model's embeddings are to be compared: its `similarity_fn_name`, or the inner product.
    pub fn similarity(&self) -> Similarity {
        self.parts.defaults.similarity.unwrap_or(Similarity::Dot)
    }

    /// Starts on the sparse embeddings of sequences such as [`tokenize`](Self::tokenize) gives, and returns at once.
    /// See [`EmbeddingModel::submit`](crate::EmbeddingModel::submit).
    pub fn submit(&self, tokens: &[Tokens]) -> Pending<SparseEmbeddings> {
        self.submit_tokens(tokens)
    }

    /// As [`submit`](Self::submit), of texts. Tokenises before it returns.
    pub fn submit_texts<S: AsRef<str>>(&self, texts: &[S]) -> Pending<SparseEmbeddings> {
        self.submit_inputs(texts.iter().map(Input::text))
    }

    /// The sparse embeddings of the texts, in their order.
    ///
    /// # Errors
    /// As for waiting for what [`submit`](Self::submit) gives: what is wrong with a text is the error of its row.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<SparseEmbeddings> {
        self.of_inputs(texts.iter().map(Input::text))
    }

    /// As [`embed`](Self::embed), for async tasks; see
    /// [`EmbeddingModel::embed_async`](crate::EmbeddingModel::embed_async).
    ///
    /// # Errors
    /// As for [`embed`](Self::embed).
    pub fn embed_async<S: AsRef<str>>(
        &self,
        texts: &[S],
    ) -> impl Future<Output = Result<SparseEmbeddings>> + Send + 'static + use<S> {
        let inputs = texts.iter().map(|text| Input::text(text).into_owned()).collect();
        self.clone().of_inputs_async(inputs)
    }

    /// The tokens of the texts, the prompt's included. See
    /// [`EmbeddingModel::tokenize`](crate::EmbeddingModel::tokenize).
    ///
    /// # Errors
    /// As there.
    pub fn tokenize<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Tokens>> {
        self.tokenize_all(texts.iter().map(Input::text))
    }
}

/// The keys of the SpladePooling module's `config.json`.
static KEYS: Keys = Keys {
    read: &["pooling_strategy", "activation_function"],
    read_ending: None,
    harmless: &[
        (&["embedding_dimension", "word_embedding_dimension"], "it is the size of the vocabulary, whatever is said"),
        (&["chunk_size"], "it says how many tokens are looked at at a time"),
    ],
    others: Others::Refused,
};

impl Splade {
    fn read(folder: &Path) -> Result<Self> {
        let file = JsonFile::read(folder.join("config.json"), &KEYS)?;
        let strategy = file.get("pooling_strategy");
        let sums = match strategy.string()?.unwrap_or("max") {
            "max" => false,
            "sum" => true,
            _ => return Err(strategy.wrong("\"max\" or \"sum\"")),
        };
        let activation = file.get("activation_function");
        let logs = match activation.string()?.unwrap_or("relu") {
            "relu" => 1,
            "log1p_relu" => 2,
            _ => return Err(activation.wrong("\"relu\" or \"log1p_relu\"")),
        };
        Ok(Self { sums, logs })
    }

    /// What becomes of scores `[tokens, words]`: `[texts, words]`, f32.
    fn pool(self, scores: Tensor, offsets: &Tensor) -> TensorResult<Tensor> {
        if !self.sums {
            // The greatest comes first: no logarithm changes which one it is.
            return scores.pool(offsets, Pooling::Max)?.to_dtype(DType::F32);
        }
        let mut scores = scores.to_dtype(DType::F32)?.unary(Unary::Relu)?;
        for _ in 0..self.logs {
            scores = scores.binary_scalar(Binary::Add, 1.0f32)?.unary(Unary::Ln)?;
        }
        scores.pool(offsets, Pooling::Sum)
    }

    /// What becomes of what [`pool`](Self::pool) gives.
    fn finish(self, value: f32) -> f32 {
        let logs = if self.sums { 0 } else { self.logs };
        (0..logs).fold(f64::from(value.max(0.0)), |value, _| value.ln_1p()) as f32
    }
}

handle!(SparseEncoder);
prompted!(SparseEncoder);

impl Task for SparseEncoder {
    const NAME: &'static str = "embed";
    type Items = Sparse;
    type Output = SparseEmbeddings;

    fn model(&self) -> &Model {
        &self.parts.model
    }

    fn prompt(&self) -> &str {
        self.prompt.text()
    }

    fn tokens_per_pass(&self) -> usize {
        self.parts.tokens_per_pass
    }

    fn width(&self) -> usize {
        self.parts.width
    }

    fn record(&self, vectors: Tensor, batch: &PackedBatch) -> TensorResult<Tensor> {
        let Parts { head, splade, .. } = &*self.parts;
        head.apply(vectors, |scores| splade.pool(scores, &batch.offsets))
    }

    fn keep(&self, values: &[f32], items: &mut Sparse) {
        let finished = values.iter().map(|value| self.parts.splade.finish(*value));
        let mut kept: Vec<(u32, f32)> = (0..).zip(finished).filter(|(_, value)| *value > 0.0).collect();
        if let Some(most) = self.parts.most.filter(|most| *most < kept.len()) {
            kept.select_nth_unstable_by(most - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            kept.truncate(most);
            kept.sort_unstable_by_key(|(index, _)| *index);
        }
        items.indices.extend(kept.iter().map(|(index, _)| *index));
        items.values.extend(kept.iter().map(|(_, value)| *value));
    }

    fn output(&self, table: Table<Sparse>) -> SparseEmbeddings {
        SparseEmbeddings::new(table)
    }
}
