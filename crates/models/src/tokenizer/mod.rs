//! Texts to token ids.
//!
//! ```text
//! text ─ long: both ends, piece by piece ─ road ┬ bert: ASCII words by our own trie ───┬ frame: cut, special tokens
//!                                               └ library: everything else, in pieces ─┘
//! ```
//!
//! The ids are those that the `tokenizers` library gives for the whole text. What the roads do without it, they do by
//! rules that are proved in their files, and a fuzzer compares them with it.

mod added_in_text;
mod bert;
mod frame;
mod library;
mod long;
mod road;
mod spaced;
mod trie;

use self::frame::Frame;
use self::library::Library;
use self::road::{Failure, Road};
use crate::config::TextConfig;
use crate::error::{Error, Panicked, Result};
use crate::json::read_file;
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokenizers::{PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy};

/// The most that is read of `tokenizer.json`. Vocabularies of 250,000 words take less than 20 MB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

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

/// `tokenizer.json`, with the model's own truncation instead of the file's, and no padding.
///
/// The ids are those that the library gives for the whole text, in less time and memory where the kind of tokenizer
/// allows that ([`Road`]).
pub(crate) struct Tokenizer {
    library: Library,
    road: Box<dyn Road>,
    frame: Frame,
    path: PathBuf,
    lower_case: bool,
}

impl Tokenizer {
    /// Loads `tokenizer.json` in the transformer's folder, for an encoder with `vocabulary` token ids.
    pub(crate) fn load(folder: &Path, text: &TextConfig, vocabulary: usize) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let bytes = read_file(&path, MAX_TOKENIZER_BYTES)?;
        let loaded = Panicked::catch(|| Self::of(configure(&bytes, text, vocabulary)?, path.clone(), text.lower_case));
        match loaded {
            Ok(Ok(tokenizer)) => Ok(tokenizer),
            Ok(Err(source)) => Err(Error::Tokenizer { path, source: source.into() }),
            Err(panicked) => Err(Error::Tokenizer { path, source: Arc::new(panicked) }),
        }
    }

    /// Follows `configured` in everything: whatever it says of normalizing, splitting, special tokens and truncation.
    pub(crate) fn of(
        configured: tokenizers::Tokenizer,
        path: PathBuf,
        lower_case: bool,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let frame = Frame::of(&configured)?;
        let road = road::of(&configured);
        let library = Library::new(configured, frame.limit())?;
        Ok(Self { library, road, frame, path, lower_case })
    }

    /// One text's tokens. `index` is the text's place in the call, for errors.
    pub(crate) fn tokenize(&self, text: &str, index: usize) -> Result<Tokens> {
        // As sentence-transformers does it.
        let text = text.trim();
        let text = if self.lower_case { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) };
        match long::ids(&*self.road, &self.library, &text, self.frame.limit()) {
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

/// Parses the tokenizer, checks it against the encoder, and replaces its truncation and padding.
fn configure(
    bytes: &[u8],
    text: &TextConfig,
    vocabulary: usize,
) -> Result<tokenizers::Tokenizer, Box<dyn std::error::Error + Send + Sync>> {
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes)?;
    if let Some((token, id)) = tokenizer.get_vocab(true).into_iter().max_by_key(|(_, id)| *id)
        && id as usize >= vocabulary
    {
        return Err(format!("token {token:?} has id {id}, but config.json says vocab_size {vocabulary}").into());
    }
    let special = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
    if special == 0 {
        return Err("it adds no special tokens; a BERT encoder needs [CLS] and [SEP] around every text".into());
    }
    // The library subtracts one from the other without looking.
    if text.max_tokens <= special {
        let max = text.max_tokens;
        return Err(format!("it adds {special} special tokens, but texts are cut to {max} tokens").into());
    }
    let direction = if text.cut_beginning { TruncationDirection::Left } else { TruncationDirection::Right };
    tokenizer.with_truncation(Some(TruncationParams {
        max_length: text.max_tokens,
        strategy: TruncationStrategy::LongestFirst,
        stride: 0,
        direction,
    }))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}
