//! The ways from a text to its ids.

use super::bert::Bert;
use super::library::Library;
use super::long::{self, Limit};
use super::spaced::Spaced;

/// A kind of tokenizer, as far as more is known about it than the library tells.
///
/// A road gives the same ids as the library, in less time or memory, and leaves to the library what it cannot prove.
pub(super) trait Road: Send + Sync {
    /// Appends the ids of `text`, without the special ones around it: the wanted ones at least.
    fn append(&self, library: &Library, text: &str, limit: Limit, ids: &mut Vec<u32>) -> Result<(), Failure>;

    /// Whether the ids of `text` are surely those before `place`, a boundary between two characters, and those after
    /// it, one after the other.
    fn splits(&self, library: &Library, text: &str, place: usize) -> bool;
}

/// Why a text has no ids.
#[derive(Debug)]
pub(super) enum Failure {
    /// The library failed.
    Library(Box<dyn std::error::Error + Send + Sync>),
    /// Nothing splits in more bytes than the library is given at a time.
    NoSplit,
}

/// The road for a tokenizer.
pub(super) fn of(configured: &tokenizers::Tokenizer) -> Box<dyn Road> {
    if let Some(bert) = Bert::of(configured) {
        Box::new(bert)
    } else if let Some(spaced) = Spaced::of(configured) {
        Box::new(spaced)
    } else {
        Box::new(Opaque)
    }
}

/// A tokenizer that is not known to split anywhere.
struct Opaque;

impl Road for Opaque {
    fn append(&self, library: &Library, text: &str, limit: Limit, ids: &mut Vec<u32>) -> Result<(), Failure> {
        long::append(self, library, text, limit, ids)
    }

    fn splits(&self, _: &Library, _: &str, _: usize) -> bool {
        false
    }
}
