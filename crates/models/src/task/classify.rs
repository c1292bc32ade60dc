//! Classifiers: which of its labels a model gives to a text.

use super::head::Function;
use super::rerank::load_head;
use super::table::{Table, results};
use super::{Call, Input, Task, handle};
use crate::arch::SequenceLayers;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::options::LoadOptions;
use crate::packed::PackedBatch;
use crate::tokenizer::Tokens;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use thalweg_runtime::{CacheStats, Device, Pending};
use thalweg_tensor::{DType, Result as TensorResult, Tensor};

results! {
    /// What a classifier makes of the texts of a call: a row for each, in the order in which they were given. A row has
    /// a score for each label, or the error that its text met; the others are as good as without it.
    ///
    /// A handle: a clone shares the values.
    Classes(Labelled)
}

/// The scores of texts, and the labels that they are of.
pub(crate) struct Labelled {
    scores: Vec<f32>,
    labels: Arc<[String]>,
}

impl Classes {
    /// The names of the labels, in the order of a row's scores.
    pub fn labels(&self) -> &[String] {
        &self.table.items.labels
    }

    /// The scores of text `row`, one for each label.
    ///
    /// # Errors
    /// Why this text has none: what is wrong with it, or how its pass failed on the device.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> Result<&[f32]> {
        Ok(&self.table.items.scores[self.table.of(row)?])
    }

    /// All rows, in order; see [`row`](Self::row).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<&[f32]>> {
        (0..self.rows()).map(|row| self.row(row))
    }

    /// The label with the greatest score of text `row`, and that score; of equal ones the first.
    ///
    /// # Errors
    /// As for [`row`](Self::row).
    ///
    /// # Panics
    /// If there is no such row.
    pub fn best(&self, row: usize) -> Result<(&str, f32)> {
        let scores = self.row(row)?.iter().zip(self.labels());
        let best = scores.reduce(|best, other| if other.0 > best.0 { other } else { best });
        Ok(best.map_or(("", 0.0), |(score, label)| (label.as_str(), *score))) // there is at least one label
    }

    /// The labels and scores of text `row`, the greatest score first.
    ///
    /// # Errors
    /// As for [`row`](Self::row).
    ///
    /// # Panics
    /// If there is no such row.
    pub fn ranked(&self, row: usize) -> Result<Vec<(&str, f32)>> {
        let scores = self.labels().iter().zip(self.row(row)?);
        let mut ranked: Vec<_> = scores.map(|(label, score)| (label.as_str(), *score)).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(ranked)
    }
}

/// A classifier of texts or of pairs of texts: its tokenizer, and its weights on a device.
///
/// A handle: a clone shares everything. One model serves any number of threads and tasks, as an
/// [`EmbeddingModel`](crate::EmbeddingModel) does, and what it says of its calls and of memory is true here:
///
/// | call | takes | waits |
/// |---|---|---|
/// | [`submit`](Self::submit) | tokens | not at all: gives a [`Pending`], for threads, tasks and deadlines |
/// | [`submit_texts`](Self::submit_texts), [`submit_pairs`](Self::submit_pairs) | texts, pairs | the same |
/// | [`classify`](Self::classify), [`classify_pairs`](Self::classify_pairs) | texts, pairs | as long as it takes |
/// | [`classify_async`](Self::classify_async) | texts | as a task |
/// | [`classify_pairs_async`](Self::classify_pairs_async) | pairs | the same |
///
/// ```no_run
/// # fn example(device: &thalweg_runtime::Device) -> thalweg_models::Result<()> {
/// let model = thalweg_models::Classifier::load(device, "models/distilbert-base-uncased-finetuned-sst-2-english")?;
/// let classes = model.classify(&["What a river!"])?;
/// let (label, score) = classes.best(0)?;
/// println!("{label}: {score}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Classifier {
    parts: Arc<Parts>,
}

/// What the handles share.
struct Parts {
    model: Model,
    head: SequenceLayers,
    function: Function,
    labels: Arc<[String]>,
}

impl Classifier {
    /// Loads a `*ForSequenceClassification` checkpoint of the transformers library, or a cross-encoder that
    /// sentence-transformers saved.
    ///
    /// Scores are what the library's pipeline for text classification gives, by `problem_type`: softmax over several
    /// labels, the logistic function of each where a text may have several or there is one label alone, and the scores
    /// themselves of a regression. (Unlike the pipeline, this cuts long texts, unless the [options](LoadOptions) say
    /// otherwise.)
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
        let (_, loading, config, head) = load_head(device, directory, options)?;
        let function = config.classification(head.labels())?;
        let labels = config.label_names(head.labels())?.into();
        Ok(Self { parts: Arc::new(Parts { model: loading.finish()?, head, function, labels }) })
    }

    /// The names of the labels, in the order of a row's scores.
    pub fn labels(&self) -> &[String] {
        &self.parts.labels
    }

    /// Starts on sequences such as [`tokenize`](Self::tokenize) gives, and returns at once. See
    /// [`EmbeddingModel::submit`](crate::EmbeddingModel::submit).
    pub fn submit(&self, tokens: &[Tokens]) -> Pending<Classes> {
        self.submit_tokens(tokens)
    }

    /// As [`submit`](Self::submit), of texts. Tokenises before it returns.
    pub fn submit_texts<S: AsRef<str>>(&self, texts: &[S]) -> Pending<Classes> {
        self.submit_inputs(texts.iter().map(Input::text))
    }

    /// As [`submit`](Self::submit), of pairs of texts. Tokenises before it returns.
    pub fn submit_pairs<A: AsRef<str>, B: AsRef<str>>(&self, pairs: &[(A, B)]) -> Pending<Classes> {
        self.submit_inputs(pairs.iter().map(|(a, b)| pair(a, b)))
    }

    /// The scores of the texts' labels, in the order of the texts.
    ///
    /// # Errors
    /// As for waiting for what [`submit`](Self::submit) gives: what is wrong with a text is the error of its row.
    pub fn classify<S: AsRef<str>>(&self, texts: &[S]) -> Result<Classes> {
        self.of_inputs(texts.iter().map(Input::text))
    }

    /// As [`classify`](Self::classify), of pairs of texts. One with an empty second text is the first alone, as in the
    /// library's pipeline.
    ///
    /// # Errors
    /// As for [`classify`](Self::classify).
    pub fn classify_pairs<A: AsRef<str>, B: AsRef<str>>(&self, pairs: &[(A, B)]) -> Result<Classes> {
        self.of_inputs(pairs.iter().map(|(a, b)| pair(a, b)))
    }

    /// As [`classify`](Self::classify), for async tasks; see
    /// [`EmbeddingModel::embed_async`](crate::EmbeddingModel::embed_async).
    ///
    /// # Errors
    /// As for [`classify`](Self::classify).
    pub fn classify_async<S: AsRef<str>>(
        &self,
        texts: &[S],
    ) -> impl Future<Output = Result<Classes>> + Send + 'static + use<S> {
        let inputs = texts.iter().map(|text| Input::text(text).into_owned()).collect();
        self.clone().of_inputs_async(inputs)
    }

    /// As [`classify_async`](Self::classify_async), of pairs of texts.
    ///
    /// # Errors
    /// As for [`classify`](Self::classify).
    pub fn classify_pairs_async<A: AsRef<str>, B: AsRef<str>>(
        &self,
        pairs: &[(A, B)],
    ) -> impl Future<Output = Result<Classes>> + Send + 'static + use<A, B> {
        let inputs = pairs.iter().map(|(a, b)| pair(a, b).into_owned()).collect();
        self.clone().of_inputs_async(inputs)
    }

    /// The tokens of the texts. See [`EmbeddingModel::tokenize`](crate::EmbeddingModel::tokenize).
    ///
    /// # Errors
    /// As there.
    pub fn tokenize<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Tokens>> {
        self.tokenize_all(texts.iter().map(Input::text))
    }

    /// The tokens of pairs of texts, one sequence for each.
    ///
    /// # Errors
    /// As for [`tokenize`](Self::tokenize).
    pub fn tokenize_pairs<A: AsRef<str>, B: AsRef<str>>(&self, pairs: &[(A, B)]) -> Result<Vec<Tokens>> {
        self.tokenize_all(pairs.iter().map(|(a, b)| pair(a, b)))
    }
}

/// An empty second text is none, as in the library's pipeline.
fn pair<'a>(first: &'a (impl AsRef<str> + ?Sized), second: &'a (impl AsRef<str> + ?Sized)) -> Input<'a> {
    if second.as_ref().is_empty() { Input::text(first) } else { Input::pair(first, second) }
}

handle!(Classifier);

impl Task for Classifier {
    const NAME: &'static str = "classify";
    type Items = Vec<f32>;
    type Output = Classes;

    fn model(&self) -> &Model {
        &self.parts.model
    }

    fn take(&self, sequence: usize, tokens: Tokens) -> Result<Tokens> {
        self.parts.model.check(sequence, &tokens)?;
        Ok(self.parts.head.without_padding(tokens))
    }

    fn width(&self) -> usize {
        self.parts.head.labels()
    }

    fn record(&self, vectors: Tensor, batch: &PackedBatch) -> TensorResult<Tensor> {
        self.parts.head.apply(&vectors, &batch.offsets)
    }

    fn keep(&self, values: &[f32], items: &mut Vec<f32>) {
        self.parts.function.extend(items, values);
    }

    fn output(&self, table: Table<Vec<f32>>) -> Classes {
        Classes::new(table.map(|scores| Labelled { scores, labels: self.parts.labels.clone() }))
    }
}
