//! The tokenizer of a model alone.

use super::task;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::model::Texts;
use crate::task::{CROSS_ENCODER, Defaults, Head, Input, Prompt, Prompts, SENTENCE_TRANSFORMER, SPARSE_ENCODER};
use crate::tokenizer::{Tokenizer, Tokens};
use crate::{ModelTask, hub};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The tokenizer of a model, without its weights and without a device: what the model's own calls make of texts.
///
/// A handle: a clone shares everything, and any number of threads may use it. In a forked child it must not be used: a
/// lock of the tokenizer may be held for ever.
#[derive(Clone)]
pub struct TextTokenizer {
    parts: Arc<Parts>,
    /// What goes before every text.
    prompt: Prompt,
}

struct Parts {
    tokenizer: Tokenizer,
    max_tokens: usize,
    prompts: Prompts,
}

impl fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextTokenizer(at most {} tokens)", self.max_tokens())
    }
}

impl TextTokenizer {
    /// Loads the tokenizer of a model, whatever its task is.
    ///
    /// # Errors
    /// As for loading the model; the weights are not looked at.
    pub fn load(directory: impl AsRef<Path>) -> Result<Self> {
        Self::read(directory.as_ref()).map_err(Error::with_what_is_missing)
    }

    fn read(directory: &Path) -> Result<Self> {
        let layout = Layout::read(&hub::resolve(directory)?)?;
        let family = match task(&layout, &Head::read(&layout.transformer()?.folder)?)? {
            ModelTask::Embedding => SENTENCE_TRANSFORMER,
            ModelTask::Scores => CROSS_ENCODER,
            ModelTask::Sparse => SPARSE_ENCODER,
        };
        let prompts = Defaults::read(&layout, family)?.prompts;
        let Texts { tokenizer, max_tokens, .. } = Texts::read(&layout)?;
        let prompt = prompts.default.clone();
        Ok(Self { parts: Arc::new(Parts { tokenizer, max_tokens, prompts }), prompt })
    }

    /// The same with a prompt of the model before every text.
    ///
    /// # Errors
    /// [`Error::PromptName`] if it has none of this name.
    pub fn with_prompt(&self, name: &str) -> Result<Self> {
        Ok(Self { parts: self.parts.clone(), prompt: self.parts.prompts.get(name)? })
    }

    /// The tokens of a text, special ones included, cut to [`max_tokens`](Self::max_tokens).
    ///
    /// # Errors
    /// As for [`EmbeddingModel::tokenize`](crate::EmbeddingModel::tokenize).
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        Input::text(text).tokens(self.prompt.text(), &self.parts.tokenizer, 0)
    }

    /// The tokens of a pair of texts, in one sequence.
    ///
    /// # Errors
    /// As for [`tokenize`](Self::tokenize).
    pub fn tokenize_pair(&self, first: &str, second: &str) -> Result<Tokens> {
        Input::pair(first, second).tokens(self.prompt.text(), &self.parts.tokenizer, 0)
    }

    /// A token as the tokenizer writes it; `None` if it has no such id.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.parts.tokenizer.piece(id)
    }

    /// The most tokens of a text, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.parts.max_tokens
    }
}
