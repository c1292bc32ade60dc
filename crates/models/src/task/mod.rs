//! What models are for: a file a task, and what tasks share.
//!
//! ```text
//! texts ─ Model: tokenizer, encoder ─ a vector for each token ─ Task: what is made of them ─ Table: a row for each
//! text
//! ```
//!
//! A task is a small handle that knows its model. [`Run`] takes a call through the device, the same for all of them,
//! and [`Call`] is how a call begins.

mod class;
mod classify;
mod defaults;
mod embed;
mod embeddings;
mod head;
mod modules;
mod pooling;
mod rerank;
mod similarity;
mod sparse;
pub(crate) mod table;
mod token_vectors;

pub use self::classify::{Classes, Classifier};
pub use self::embed::EmbeddingModel;
pub use self::embeddings::Embeddings;
pub use self::rerank::{Ranked, Reranker, Scores};
pub use self::similarity::Similarity;
pub use self::sparse::{SparseEmbeddings, SparseEncoder, SparseVector};
pub use self::token_vectors::TokenVectors;

/// What every task's model says of itself: what its parts have.
macro_rules! handle {
    ($name:ident) => {
        impl $name {
            /// The most tokens of a text, special ones included.
            pub fn max_tokens(&self) -> usize {
                self.parts.model.max_tokens
            }

            /// What the device computes in. Results are f32 whatever it is.
            pub fn dtype(&self) -> DType {
                self.parts.model.dtype()
            }

            /// The device that holds the weights.
            pub fn device(&self) -> &Device {
                &self.parts.model.device
            }

            /// What has been asked of the graphs of single short texts
            /// ([`LoadOptions::graphs`](crate::LoadOptions::graphs)), and how many there are.
            pub fn graph_cache(&self) -> CacheStats {
                self.parts.model.graph_cache()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.parts.model)
            }
        }
    };
}
use handle;

/// The prompts of a task's model.
macro_rules! prompted {
    ($name:ident) => {
        impl $name {
            /// The model with one of its prompts before every text: of all that is given to it from there on, by any of
            /// its methods that take texts. It shares everything with this one, and is as cheap as a clone.
            ///
            /// A model without any has "query" and "document", which are empty. What a loaded model begins with is the
            /// prompt that its `default_prompt_name` names, or none.
            ///
            /// ```no_run
            /// # fn example(model: &thalweg_models::EmbeddingModel, documents: &[String]) -> thalweg_models::Result<()>
            /// { let query = model.with_prompt("query")?.embed_one("Where do rivers end?")?;
            /// let documents = model.with_prompt("document")?.embed(documents)?;
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            /// [`Error::PromptName`] if there is no such prompt; if it cannot be tokenised.
            pub fn with_prompt(&self, name: &str) -> Result<Self> {
                self.with(self.parts.defaults.prompts.get(name)?)
            }

            /// As [`with_prompt`](Self::with_prompt), with a prompt of one's own; an empty one is none.
            ///
            /// # Errors
            /// If it cannot be tokenised.
            pub fn with_prompt_text(&self, prompt: &str) -> Result<Self> {
                self.with(Prompt::new(prompt))
            }

            /// The names and the texts of the model's prompts.
            pub fn prompts(&self) -> impl Iterator<Item = (&str, &str)> {
                self.parts.defaults.prompts.iter()
            }

            /// What goes before every text; empty, if nothing does.
            pub fn prompt(&self) -> &str {
                self.prompt.text()
            }
        }
    };
}
use prompted;

pub(crate) use self::defaults::{CROSS_ENCODER, Defaults, Prompt, Prompts, SENTENCE_TRANSFORMER, SPARSE_ENCODER};
pub(crate) use self::head::Head;
pub(crate) use self::pooling::PoolingConfig;

use self::table::{Items, Table};
use crate::error::{Error, Result};
use crate::model::{Model, TOKENS_PER_PASS};
use crate::packed::PackedBatch;
use crate::run::Run;
use crate::tokenizer::{Tokenizer, Tokens};
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

    /// What goes before every text, and before the first of two; empty, if nothing does.
    fn prompt(&self) -> &str {
        ""
    }

    /// Sequence `sequence` as it is computed, once everything is checked that is taken on trust later.
    fn take(&self, sequence: usize, tokens: Tokens) -> Result<Tokens> {
        self.model().check(sequence, &tokens).map(|()| tokens)
    }

    /// The most tokens of a pass of several sequences.
    fn tokens_per_pass(&self) -> usize {
        TOKENS_PER_PASS
    }

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
    second: Option<Cow<'a, str>>,
}

impl<'a> Input<'a> {
    pub(crate) fn text(text: &'a (impl AsRef<str> + ?Sized)) -> Self {
        Self { first: Cow::Borrowed(text.as_ref()), second: None }
    }

    pub(crate) fn pair(first: &'a (impl AsRef<str> + ?Sized), second: &'a (impl AsRef<str> + ?Sized)) -> Self {
        Self { second: Some(Cow::Borrowed(second.as_ref())), ..Self::text(first) }
    }

    /// The same, and its own.
    pub(crate) fn into_owned(self) -> Input<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Input { first: own(self.first), second: self.second.map(own) }
    }

    fn tokenize(&self, task: &impl Task, index: usize) -> Result<Tokens> {
        self.tokens(task.prompt(), task.model().tokenizer(), index)
    }

    /// Its tokens with a prompt before it. `index` is its place in the call, for errors.
    pub(crate) fn tokens(&self, prompt: &str, tokenizer: &Tokenizer, index: usize) -> Result<Tokens> {
        let first = match prompt {
            "" => Cow::Borrowed(&*self.first),
            prompt => Cow::Owned([prompt, &self.first].concat()),
        };
        match &self.second {
            None => tokenizer.tokenize(&first, index),
            Some(second) => tokenizer.tokenize_pair(&first, second, index),
        }
    }

    /// What it costs to tokenise it, in bytes of text.
    fn cost(&self) -> usize {
        /// What a text costs beside its bytes, in these.
        const BYTES_OF_A_TEXT: usize = 16;
        self.first.len() + self.second.as_ref().map_or(0, |second| second.len()) + BYTES_OF_A_TEXT
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
        inputs.enumerate().map(|(index, input)| input.tokenize(self, index)).collect()
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
                run.push(input.tokenize(&self, index));
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
        inputs.enumerate().map(|(index, input)| input.tokenize(self, index)).collect()
    }
}

impl<T: Task> Call for T {}
