//! Texts to token ids.
//!
//! ```text
//! files ─ settings, class, added: how the reference reads them ─ a configured tokenizer of the library
//!
//! text ─ long: both ends, piece by piece ─ road ┬ bert: ASCII words by our own trie ───┬ frame: cut, special tokens
//!                                               └ library: everything else, in pieces ─┘
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
pub(crate) mod settings;
mod spaced;
mod trie;

use self::frame::Frame;
use self::library::Library;
use self::road::{Failure, Road};
use crate::config::TextConfig;
use crate::error::{Error, Panicked, Result};
use settings::{Configured, configure};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
}

impl Tokenizer {
    /// Makes the tokenizer of the files in the transformer's folder, for an encoder with `vocabulary` token ids. Also
    /// says how many tokens a text has at most: longer ones are cut, or where the files say that nothing is cut, cannot
    /// be embedded.
    pub(crate) fn load(folder: &Path, text: &TextConfig, vocabulary: usize) -> Result<(Self, usize)> {
        let make = || -> Result<(Self, usize)> {
            let Configured { tokenizer, path, max_tokens } = configure(folder, text, vocabulary)?;
            match Self::of(tokenizer, path.clone()) {
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
    pub(crate) fn of(
        configured: tokenizers::Tokenizer,
        path: PathBuf,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let frame = Frame::of(&configured)?;
        let road = road::of(&configured);
        let library = Library::new(configured, frame.limit())?;
        Ok(Self { library, road, frame, path })
    }

    /// One text's tokens. `index` is the text's place in the call, for errors.
    pub(crate) fn tokenize(&self, text: &str, index: usize) -> Result<Tokens> {
        match long::ids(&*self.road, &self.library, text, self.frame.limit()) {
            Ok(ids) => Ok(self.frame.around(&ids)),
            Err(Failure::Library(source)) => {
                Err(Error::Tokenize { text: index, path: self.path.clone(), source: source.into() })
            }
            Err(Failure::NoSplit) => {
                let (bytes, limit) = (text.len(), long::WHOLE);
                Err(Error::TextTooLong { text: index, path: self.path.clone(), bytes, limit })
            }
        }
    }
}
