//! Texts to token ids.
//!
//! ```text
//! files ─ settings, class, source, added: how the reference reads them ─ a configured tokenizer of the library
//!
//! text ─ long: both ends, piece by piece ─ road ┬ bert: ASCII words by our own trie ───┬ frame: cut, special tokens
//! pair ─ each of its texts so                   └ library: everything else, in pieces ─┘
//! ```
//!
//! The ids are those that the `tokenizers` library gives for the whole text. What the roads do without it, they do by
//! rules that are proved in their files, and a fuzzer compares them with it.

mod added;
mod added_in_text;
mod bert;
mod class;
mod frame;
mod library;
mod long;
mod road;
mod settings;
mod source;
mod spaced;
mod trie;

use self::frame::Frame;
use self::library::Library;
use self::long::Limit;
use self::road::{Failure, Road};
use self::settings::{Configured, configure};
use crate::config::TextConfig;
use crate::error::{Error, Panicked, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use self::class::{Class, MODEL_KEYS};
pub(crate) use self::settings::{PROCESSOR_KEYS, TOKENIZER_KEYS, TokenizerConfig};

/// One text as the encoder takes it: its token ids and type ids.
///
/// Two are equal if the encoder sees the same, whether or not a text was [cut](Self::is_cut) to them.
#[derive(Clone)]
pub struct Tokens {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    cut: bool,
}

impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.ids == other.ids && self.type_ids == other.type_ids
    }
}

impl Eq for Tokens {}

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
        Self { type_ids: vec![0; ids.len()], ids, cut: false }
    }

    /// Takes off the tokens after so many.
    pub(crate) fn truncate(&mut self, tokens: usize) {
        self.ids.truncate(tokens);
        self.type_ids.truncate(tokens);
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

    /// Whether the text has more tokens than these: those past the model's limit were cut off. Never so for
    /// [ids of one's own](Self::from_ids).
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

/// What [`configure`] makes of the model's files.
///
/// The ids are those that the library gives for the whole text, in less time and memory where the kind of tokenizer
/// allows that ([`Road`]).
pub(crate) struct Tokenizer {
    library: Library,
    road: Box<dyn Road>,
    frame: Frame,
    path: PathBuf,
    /// The ids of the tokens that are special to the class.
    special: Vec<u32>,
}

impl Tokenizer {
    /// Makes the tokenizer of the files in the transformer's folder, for an encoder with `vocabulary` token ids. Also
    /// says how many tokens a text has at most: longer ones are cut, or where the files say that nothing is cut, cannot
    /// be embedded.
    pub(crate) fn load(folder: &Path, text: &TextConfig, vocabulary: usize) -> Result<(Self, usize)> {
        let make = || -> Result<(Self, usize)> {
            let Configured { tokenizer, path, max_tokens, has_types, special } = configure(folder, text, vocabulary)?;
            match Self::of(tokenizer, path.clone(), has_types, special) {
                Ok(tokenizer) => Ok((tokenizer, max_tokens)),
                Err(source) => Err(Error::Tokenizer { path, source: source.into() }),
            }
        };
        // The library panics on some files.
        Panicked::catch(make).unwrap_or_else(|panicked| {
            Err(Error::Tokenizer { path: folder.join("tokenizer.json"), source: Arc::new(panicked) })
        })
    }

    /// Follows `configured` in everything: whatever it says of normalizing, splitting, special tokens and truncation.
    /// Without `has_types` the type of every token is 0. `special` are the ids of the tokens that the model's class
    /// counts as special.
    pub(crate) fn of(
        configured: tokenizers::Tokenizer,
        path: PathBuf,
        has_types: bool,
        special: Vec<u32>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let frame = Frame::of(&configured, has_types)?;
        let road = road::of(&configured);
        Ok(Self { library: Library::new(configured), road, frame, path, special })
    }

    /// One text's tokens. `index` is the text's place in the call, for errors.
    pub(crate) fn tokenize(&self, text: &str, index: usize) -> Result<Tokens> {
        let ids = self.ids(text, self.frame.limit(), index)?;
        Ok(self.frame.around(&ids))
    }

    /// The tokens of a pair of texts, in one sequence. `index` is the pair's place in the call, for errors.
    ///
    /// If they are too long, the longer one is cut first, and then both are, as the reference does ("longest first").
    /// That may need the number of all tokens of both, if both are longer than the limit: the time is then that for
    /// twice the tokens of the shorter one. The memory is that for one text after the other.
    pub(crate) fn tokenize_pair(&self, first: &str, second: &str, index: usize) -> Result<Tokens> {
        let limit = self.frame.pair_limit();
        let (one, other) = (self.ids(first, limit, index)?, self.ids(second, limit, index)?);
        let ids = [one.as_slice(), other.as_slice()];
        let is_longer = if self.frame.depends_on_the_rest(ids) {
            let longer = long::is_longer(&*self.road, &self.library, first, second);
            longer.map_err(|failure| self.error(failure, first.len().max(second.len()), index))?
        } else {
            one.len() > other.len()
        };
        Ok(self.frame.around_pair(ids, is_longer))
    }

    /// How many tokens at the beginning of a text are those of a prompt before it, as sentence-transformers counts
    /// them: all tokens of the prompt alone, but for a special one at the end. No prompt has none.
    pub(crate) fn prompt_tokens(&self, prompt: &str) -> Result<usize> {
        if prompt.is_empty() {
            return Ok(0);
        }
        let tokens = self.tokenize(prompt, 0)?;
        let ends_special = tokens.ids.last().is_some_and(|id| self.special.contains(id));
        Ok(tokens.len() - usize::from(ends_special))
    }

    /// A token as the library writes it; `None` if there is no such id.
    pub(crate) fn piece(&self, id: u32) -> Option<String> {
        self.library.piece(id)
    }

    /// The ids of a text alone: as many as `limit` says at least.
    fn ids(&self, text: &str, limit: Limit, index: usize) -> Result<Vec<u32>> {
        let ids = long::ids(&*self.road, &self.library, text, limit);
        ids.map_err(|failure| self.error(failure, text.len(), index))
    }

    /// The error for a text of so many bytes.
    fn error(&self, failure: Failure, bytes: usize, text: usize) -> Error {
        let path = self.path.clone();
        match failure {
            Failure::Library(source) => Error::Tokenize { text, path, source: source.into() },
            Failure::NoSplit => Error::TextTooLong { text, path, bytes, limit: long::WHOLE },
        }
    }
}
