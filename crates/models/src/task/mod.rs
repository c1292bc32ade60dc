//! What models are for: a file a task, and what tasks share.
//!
//! ```text
//! texts ─ Model: tokenizer, encoder ─ a vector for each token ─ Task: what is made of them ─ Table: a row for each text
//! ```
//!
//! A task is a small handle that knows its model. [`Run`] takes a call through the device, the same for all of them, and
//! [`Call`] is how a call begins.

mod embed;
mod embeddings;
mod pooling;
pub(crate) mod table;

pub use self::embed::EmbeddingModel;
pub use self::embeddings::Embeddings;

use self::table::{Items, Table};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::packed::PackedBatch;
use crate::run::Run;
use crate::tokenizer::Tokens;
use std::borrow::Cow;
use std::future::Future;
use thalweg_runtime::{Pending, yield_task};
use thalweg_tensor::{Result as TensorResult, Tensor};

/// What is made of token vectors.
pub(crate) trait Task: Clone + Send + Sync + 'static {
    /// What a trace says of a call.
    const NAME: &'static str;
    /// How values are kept on the host.
    type Items: Items;
    /// What a call gives; a handle.
    type Output: Clone + Send + Sync + 'static;

    /// The model that it is a task of.
    fn model(&self) -> &Model;

    /// How many rows a sequence of so many tokens gives.
    fn rows(&self, _tokens: usize) -> usize {
        1
    }

    /// The length of a row.
    fn width(&self) -> usize;

    /// Tasks of one model that record the same have the same number.
    fn kind(&self) -> usize {
        0
    }

    /// Records what comes after the encoder: vectors `[tokens, width of the model]` to `[rows, width]`, f32.
    fn record(&self, vectors: Tensor, batch: &PackedBatch) -> TensorResult<Tensor>;

    /// Keeps the values of a text, all of which are finite.
    fn keep(&self, values: &[f32], items: &mut Self::Items);

    /// The result of a call.
    fn output(&self, table: Table<Self::Items>) -> Self::Output;
}

/// What is tokenised for one row: a text, or two together.
pub(crate) struct Input<'a> {
    first: Cow<'a, str>,
}

impl<'a> Input<'a> {
    pub(crate) fn text(text: &'a (impl AsRef<str> + ?Sized)) -> Self {
        Self { first: Cow::Borrowed(text.as_ref()) }
    }

    /// The same, and its own.
    pub(crate) fn into_owned(self) -> Input<'static> {
        Input { first: Cow::Owned(self.first.into_owned()) }
    }

    fn tokenize(&self, model: &Model, index: usize) -> Result<Tokens> {
        model.tokenize(&self.first, index)
    }

    /// What it costs to tokenise it, in bytes of text.
    fn cost(&self) -> usize {
        /// What a text costs beside its bytes, in these.
        const BYTES_OF_A_TEXT: usize = 16;
        self.first.len() + BYTES_OF_A_TEXT
    }
}

/// How many bytes of text a task tokenises before it lets others run: a few hundred tokens, so that no poll is long.
const BYTES_PER_POLL: usize = 1024;

/// The ways to make a call.
pub(crate) trait Call: Task {
    /// The tokens of the texts.
    ///
    /// # Errors
    /// The first that a text meets; that the device is lost or closed, or the process a forked child.
    fn tokenize_all<'a>(&self, inputs: impl Iterator<Item = Input<'a>>) -> Result<Vec<Tokens>> {
        // First of all: in a forked child a lock of the tokenizer may be held for ever.
        self.model().device.check()?;
        let _range = thalweg_runtime::range("tokenize");
        inputs.enumerate().map(|(index, input)| input.tokenize(self.model(), index)).collect()
    }

    /// Starts on texts.
    fn submit_inputs<'a>(&self, inputs: impl Iterator<Item = Input<'a>>) -> Pending<Self::Output> {
        Run::submit(self, self.tokenize_each(inputs), false)
    }

    /// Starts on sequences.
    fn submit_tokens(&self, tokens: &[Tokens]) -> Pending<Self::Output> {
        Run::submit(self, tokens.iter().cloned().map(Ok).collect(), false)
    }

    /// Waits for what comes of texts.
    fn of_inputs<'a>(&self, inputs: impl Iterator<Item = Input<'a>>) -> Result<Self::Output> {
        let _range = thalweg_runtime::range(Self::NAME);
        let pending = Run::submit(self, self.tokenize_each(inputs), true);
        Ok(Self::Output::clone(&*pending.wait()?))
    }

    /// Waits for what comes of sequences.
    fn of_tokens(&self, tokens: &[Tokens]) -> Result<Self::Output> {
        let _range = thalweg_runtime::range(Self::NAME);
        let pending = Run::submit(self, tokens.iter().cloned().map(Ok).collect(), true);
        Ok(Self::Output::clone(&*pending.wait()?))
    }

    /// What comes of texts, as a task.
    fn of_inputs_async(
        self,
        inputs: Vec<Input<'static>>,
    ) -> impl Future<Output = Result<Self::Output>> + Send + 'static {
        async move {
            self.model().device.check().map_err(Error::Runtime)?;
            let mut run = Run::new(&self, inputs.len());
            let mut bytes = 0;
            for (index, input) in inputs.into_iter().enumerate() {
                if bytes > BYTES_PER_POLL {
                    yield_task().await;
                    bytes = 0;
                }
                bytes += input.cost();
                run.push(input.tokenize(self.model(), index));
            }
            Ok(Self::Output::clone(&*run.start().await?))
        }
    }

    /// What each text gives; nothing, where the device is closed.
    fn tokenize_each<'a>(&self, inputs: impl Iterator<Item = Input<'a>>) -> Vec<Result<Tokens>> {
        if self.model().device.check().is_err() {
            return Vec::new(); // which the submit says, and here a lock might be held for ever
        }
        let _range = thalweg_runtime::range("tokenize");
        inputs.enumerate().map(|(index, input)| input.tokenize(self.model(), index)).collect()
    }
}

impl<T: Task> Call for T {}
