//! Cross-encoders: how well two texts go together.

use super::defaults::{CROSS_ENCODER, Defaults, Prompt};
use super::head::{Function, Head};
use super::table::{Table, results};
use super::{Call, Input, Task, handle, prompted};
use crate::arch::SequenceLayers;
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

results! {
    /// The scores of a call: a row for each pair of texts, in the order in which they were given. A row has a score for
    /// each of the model's labels, mostly one, or the error that its texts met; the others are as good as without it.
    ///
    /// A handle: a clone shares the values.
    Scores(Vec<f32>)
}

impl Scores {
    /// The number of scores of each pair.
    pub fn labels(&self) -> usize {
        self.table.width
    }

    /// The scores of pair `row`, one for each label.
    ///
    /// # Errors
    /// Why this pair has none: what is wrong with its texts, or how their pass failed on the device.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> Result<&[f32]> {
        Ok(&self.table.items[self.table.of(row)?])
    }

    /// The score of pair `row`.
    ///
    /// # Errors
    /// As for [`row`](Self::row); [`Error::NotOneLabel`] of a model with several labels.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn score(&self, row: usize) -> Result<f32> {
        match self.row(row)? {
            [score] => Ok(*score),
            scores => Err(Error::NotOneLabel { labels: scores.len() }),
        }
    }

    /// The softmax of the scores of pair `row`: from 0 to 1, and their sum is 1. For models with several labels.
    ///
    /// # Errors
    /// As for [`row`](Self::row).
    ///
    /// # Panics
    /// If there is no such row.
    pub fn softmax(&self, row: usize) -> Result<Vec<f32>> {
        let mut parts = Vec::with_capacity(self.labels());
        Function::Softmax.extend(&mut parts, self.row(row)?);
        Ok(parts)
    }

    /// The score of each pair, in order; see [`score`](Self::score).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<f32>> {
        (0..self.rows()).map(|row| self.score(row))
    }

    /// The best `most` pairs, the best first: greater scores, and of equal ones those that were given earlier.
    ///
    /// # Errors
    /// That of the first pair that has no score: it has no place among the others.
    pub fn ranked(&self, most: usize) -> Result<Vec<Ranked>> {
        let rank = |(index, score): (usize, Result<f32>)| score.map(|score| Ranked { index, score });
        let mut ranked = self.iter().enumerate().map(rank).collect::<Result<Vec<_>>>()?;
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        ranked.truncate(most);
        Ok(ranked)
    }
}

/// A text and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Its place among those that were given.
    pub index: usize,
    /// Its score.
    pub score: f32,
}

/// A cross-encoder, which reads a query and a document together and scores how well they go together: its tokenizer,
/// and its weights on a device.
///
/// A handle: a clone shares everything. One model serves any number of threads and tasks, as an
/// [`EmbeddingModel`](crate::EmbeddingModel) does, and what it says of its calls and of memory is true here:
///
/// | call | takes | waits |
/// |---|---|---|
/// | [`submit`](Self::submit) | tokens of pairs | not at all: gives a [`Pending`], for threads, tasks and deadlines |
/// | [`submit_pairs`](Self::submit_pairs) | pairs of texts | the same |
/// | [`submit_documents`](Self::submit_documents) | a query and documents | the same |
/// | [`score`](Self::score) | pairs of texts | as long as it takes |
/// | [`rerank`](Self::rerank), [`rank`](Self::rank) | a query and documents | the same |
/// | [`score_async`](Self::score_async), [`rerank_async`](Self::rerank_async) | the same | as a task |
///
/// ```no_run
/// # fn example(device: &thalweg_runtime::Device) -> thalweg_models::Result<()> {
/// let model = thalweg_models::Reranker::load(device, "models/ms-marco-MiniLM-L6-v2")?;
/// let documents = ["Rivers end in the sea.", "Taxes are due in May."];
/// for best in model.rank("Where do rivers end?", &documents, 10)? {
///     println!("{}: {}", best.score, documents[best.index]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Reranker {
    parts: Arc<Parts>,
    /// What goes before every query.
    prompt: Prompt,
}

/// What the handles share.
struct Parts {
    model: Model,
    head: SequenceLayers,
    function: Function,
    defaults: Defaults,
}

impl Reranker {
    /// Loads a cross-encoder from a directory: as sentence-transformers 6 saves it, with `modules.json`, or a
    /// `*ForSequenceClassification` checkpoint of the transformers library, which is how older releases saved it.
    ///
    /// Scores go through the model's activation function: the one in `config_sentence_transformers.json` or
    /// `config.json`, or the logistic function if there is one label and no file says anything.
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
        let (layout, loading, config, head) = load_head(device, directory, options)?;
        let defaults = Defaults::read(&layout, CROSS_ENCODER)?;
        let saved = defaults.file.as_ref().map(|file| file.get("activation_fn"));
        let function = config.activation(saved, head.labels())?;
        let prompt = defaults.prompts.default.clone();
        Ok(Self { parts: Arc::new(Parts { model: loading.finish()?, head, function, defaults }), prompt })
    }

    fn with(&self, prompt: Prompt) -> Result<Self> {
        Ok(Self { parts: self.parts.clone(), prompt })
    }

    /// The number of scores of a pair.
    pub fn labels(&self) -> usize {
        self.parts.head.labels()
    }

    /// Starts on the scores of sequences such as [`tokenize`](Self::tokenize) gives, and returns at once. See
    /// [`EmbeddingModel::submit`](crate::EmbeddingModel::submit).
    pub fn submit(&self, tokens: &[Tokens]) -> Pending<Scores> {
        self.submit_tokens(tokens)
    }

    /// As [`submit`](Self::submit), of pairs: a query and a document, mostly. Tokenises before it returns.
    pub fn submit_pairs<A: AsRef<str>, B: AsRef<str>>(&self, pairs: &[(A, B)]) -> Pending<Scores> {
        self.submit_inputs(pairs.iter().map(|(a, b)| Input::pair(a, b)))
    }

    /// As [`submit`](Self::submit), of a query with each of the documents. Tokenises before it returns.
    pub fn submit_documents<S: AsRef<str>>(&self, query: &str, documents: &[S]) -> Pending<Scores> {
        self.submit_inputs(documents.iter().map(|document| Input::pair(query, document)))
    }

    /// The scores of the pairs, in their order.
    ///
    /// # Errors
    /// As for waiting for what [`submit`](Self::submit) gives: what is wrong with a pair is the error of its row.
    pub fn score<A: AsRef<str>, B: AsRef<str>>(&self, pairs: &[(A, B)]) -> Result<Scores> {
        self.of_inputs(pairs.iter().map(|(a, b)| Input::pair(a, b)))
    }

    /// The scores of a query with each of the documents, in their order.
    ///
    /// # Errors
    /// As for [`score`](Self::score).
    pub fn rerank<S: AsRef<str>>(&self, query: &str, documents: &[S]) -> Result<Scores> {
        self.of_inputs(documents.iter().map(|document| Input::pair(query, document)))
    }

    /// The documents that go best with the query, at most `most` of them, the best first.
    ///
    /// # Errors
    /// As for [`score`](Self::score), and what is wrong with a document, which has no place among the others then;
    /// [`Error::NotOneLabel`] of a model with several labels.
    pub fn rank<S: AsRef<str>>(&self, query: &str, documents: &[S], most: usize) -> Result<Vec<Ranked>> {
        self.rerank(query, documents)?.ranked(most)
    }

    /// As [`score`](Self::score), for async tasks; see
    /// [`EmbeddingModel::embed_async`](crate::EmbeddingModel::embed_async).
    ///
    /// # Errors
    /// As for [`score`](Self::score).
    pub fn score_async<A: AsRef<str>, B: AsRef<str>>(
        &self,
        pairs: &[(A, B)],
    ) -> impl Future<Output = Result<Scores>> + Send + 'static + use<A, B> {
        let inputs = pairs.iter().map(|(a, b)| Input::pair(a, b).into_owned()).collect();
        self.clone().of_inputs_async(inputs)
    }

    /// As [`rerank`](Self::rerank), for async tasks; see [`score_async`](Self::score_async).
    ///
    /// # Errors
    /// As for [`score`](Self::score).
    pub fn rerank_async<S: AsRef<str>>(
        &self,
        query: &str,
        documents: &[S],
    ) -> impl Future<Output = Result<Scores>> + Send + 'static + use<S> {
        let inputs = documents.iter().map(|document| Input::pair(query, document).into_owned()).collect();
        self.clone().of_inputs_async(inputs)
    }

    /// The tokens of the pairs, one sequence for each, the prompt's included. See
    /// [`EmbeddingModel::tokenize`](crate::EmbeddingModel::tokenize).
    ///
    /// # Errors
    /// As there.
    pub fn tokenize<A: AsRef<str>, B: AsRef<str>>(&self, pairs: &[(A, B)]) -> Result<Vec<Tokens>> {
        self.tokenize_all(pairs.iter().map(|(a, b)| Input::pair(a, b)))
    }
}

/// What a model begins with that scores texts by a head.
pub(super) fn load_head(
    device: &Device,
    directory: &Path,
    options: LoadOptions,
) -> Result<(Layout, Loading, Head, SequenceLayers)> {
    let layout = Layout::read(directory)?;
    let [transformer] = &layout.modules[..] else { return Err(layout.wrong("[Transformer]")) };
    if transformer.kind != Kind::Transformer {
        return Err(layout.wrong("[Transformer]"));
    }
    let config = Head::read(&transformer.folder)?;
    config.expect("ForSequenceClassification", "a checkpoint with a head that scores texts")?;
    let loading = Loading::open(device, &layout, Gives::Scores, options)?;
    let head = loading.config.sequence_head()?;
    let head = head.load(&loading.weights(), loading.config.limits.width, config.labels()?)?;
    Ok((layout, loading, config, head))
}

handle!(Reranker);
prompted!(Reranker);

impl Task for Reranker {
    const NAME: &'static str = "rerank";
    type Items = Vec<f32>;
    type Output = Scores;

    fn model(&self) -> &Model {
        &self.parts.model
    }

    fn prompt(&self) -> &str {
        self.prompt.text()
    }

    fn take(&self, sequence: usize, tokens: Tokens) -> Result<Tokens> {
        self.parts.model.check(sequence, &tokens)?;
        Ok(self.parts.head.without_padding(tokens))
    }

    fn width(&self) -> usize {
        self.labels()
    }

    fn record(&self, vectors: Tensor, batch: &PackedBatch) -> TensorResult<Tensor> {
        self.parts.head.apply(&vectors, &batch.offsets)
    }

    fn keep(&self, values: &[f32], items: &mut Vec<f32>) {
        self.parts.function.extend(items, values);
    }

    fn output(&self, table: Table<Vec<f32>>) -> Scores {
        Scores::new(table)
    }
}
