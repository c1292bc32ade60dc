//! Texts to token ids.

mod added;
mod class;
pub(crate) mod settings;

use crate::config::TextConfig;
use crate::error::{Error, Panicked, Result};
use settings::{Configured, configure};
use std::fmt;
use std::path::{Path, PathBuf};

/// One text as the encoder takes it: its token ids and type ids.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.len())
    }
}

impl Tokens {
    /// A sequence of ids as they are, special tokens included, all of type 0.
    ///
    /// The ids are checked against the model when they are [embedded](crate::EmbeddingModel::embed_tokens).
    pub fn from_ids(ids: impl Into<Vec<u32>>) -> Self {
        let ids = ids.into();
        Self { type_ids: vec![0; ids.len()], ids }
    }

    /// How many tokens there are, special ones included.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token. Such a sequence cannot be embedded.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The token ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The type id of each token.
    pub fn type_ids(&self) -> &[u32] {
        &self.type_ids
    }
}

/// What [`configure`] makes of the model's files.
///
/// The library is given untrusted files and texts, so its panics are caught and become errors. It is only read after
/// loading, so nothing is left half-changed by one.
pub(crate) struct Tokenizer {
    tokenizer: tokenizers::Tokenizer,
    path: PathBuf,
    max_tokens: usize,
}

impl Tokenizer {
    /// Makes the tokenizer of the files in the transformer's folder, for an encoder with `vocabulary` token ids.
    pub(crate) fn load(folder: &Path, text: &TextConfig, vocabulary: usize) -> Result<Self> {
        match Panicked::catch(|| configure(folder, text, vocabulary)) {
            Ok(configured) => {
                let Configured { tokenizer, path, max_tokens } = configured?;
                Ok(Self { tokenizer, path, max_tokens })
            }
            Err(panicked) => Err(Error::Tokenizer { path: folder.join("tokenizer.json"), source: panicked.into() }),
        }
    }

    /// The most tokens of a text, special ones included. Longer texts are cut to it, or where the model's files say
    /// that nothing is cut, cannot be embedded.
    pub(crate) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// One text's tokens. `index` is the text's place in the call, for errors.
    pub(crate) fn tokenize(&self, text: &str, index: usize) -> Result<Tokens> {
        let error = |source| Error::Tokenize { text: index, path: self.path.clone(), source };
        let encoding = Panicked::catch(|| self.tokenizer.encode_fast(text, true))
            .map_err(|panicked| error(panicked.into()))?
            .map_err(error)?;
        Ok(Tokens { ids: encoding.get_ids().to_vec(), type_ids: encoding.get_type_ids().to_vec() })
    }
}
