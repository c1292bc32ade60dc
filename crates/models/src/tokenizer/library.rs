//! The `tokenizers` library, which knows every kind of tokenizer.

use super::long::{End, Limit};
use super::road::Failure;
use crate::error::Panicked;
use tokenizers::{
    Model, NormalizedString, Normalizer, NormalizerWrapper, OffsetType, PreTokenizer, TruncationDirection,
};

/// The library's tokenizer, of which what surrounds a text's own tokens, padding and truncation are not used.
///
/// It is given untrusted files and texts, so its panics are caught and become errors. It is only read after loading, so
/// nothing is left half-changed by one.
pub(super) struct Library {
    tokenizer: tokenizers::Tokenizer,
}

impl Library {
    pub(super) fn new(tokenizer: tokenizers::Tokenizer) -> Self {
        Self { tokenizer }
    }

    /// A token's text.
    pub(super) fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Appends the ids of `text`: the wanted ones at least. It stops as soon as it has them.
    pub(super) fn append(&self, text: &str, limit: Limit, ids: &mut Vec<u32>) -> Result<(), Failure> {
        let encoding = Panicked::catch(|| self.encode(text, limit))
            .map_err(|panicked| Failure::Library(panicked.into()))?
            .map_err(Failure::Library)?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }

    /// What the library's `encode` does before it cuts and surrounds the tokens. That is public; a limit for each call
    /// is not.
    fn encode(&self, text: &str, limit: Limit) -> tokenizers::Result<tokenizers::Encoding> {
        let tokenizer = &self.tokenizer;
        let mut pieces = tokenizer.get_added_vocabulary().extract_and_normalize(tokenizer.get_normalizer(), text);
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        let direction = match limit.end {
            End::First => TruncationDirection::Right,
            End::Last => TruncationDirection::Left,
        };
        let most = (limit.ids != usize::MAX).then_some((limit.ids, direction));
        tokenizer.get_model().tokenize_in_pretokenized(&mut pieces, most)?;
        pieces.into_encoding(None, 0, OffsetType::None)
    }

    /// What its normalizer makes of a text; `None` if it fails.
    pub(super) fn normalized(&self, text: &str) -> Option<String> {
        normalized(self.tokenizer.get_normalizer(), text)
    }
}

/// What a normalizer makes of a text; `None` if it fails.
pub(super) fn normalized(normalizer: Option<&NormalizerWrapper>, text: &str) -> Option<String> {
    let mut string = NormalizedString::from(text);
    if let Some(normalizer) = normalizer {
        Panicked::catch(|| normalizer.normalize(&mut string)).ok()?.ok()?;
    }
    Some(string.get().to_owned())
}
