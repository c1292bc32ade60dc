//! The `tokenizers` library, which knows every kind of tokenizer.

use super::long::Limit;
use super::road::Failure;
use crate::error::Panicked;
use tokenizers::{
    NormalizedString, Normalizer, NormalizerWrapper, PostProcessorWrapper, TruncationDirection, TruncationParams,
    TruncationStrategy,
};

/// The library's tokenizer, without what surrounds a text's own tokens.
///
/// It is given untrusted files and texts, so its panics are caught and become errors. It is only read after loading, so
/// nothing is left half-changed by one.
pub(super) struct Library {
    tokenizer: tokenizers::Tokenizer,
}

impl Library {
    /// `configured` is made to stop as soon as it has as many ids as are wanted.
    pub(super) fn new(
        mut configured: tokenizers::Tokenizer,
        limit: Limit,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        configured.with_post_processor(None::<PostProcessorWrapper>);
        configured.with_padding(None);
        let truncation = (limit.ids != usize::MAX).then_some(TruncationParams {
            max_length: limit.ids,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: match limit.end {
                super::long::End::First => TruncationDirection::Right,
                super::long::End::Last => TruncationDirection::Left,
            },
        });
        configured.with_truncation(truncation)?;
        Ok(Self { tokenizer: configured })
    }

    /// Appends the ids of `text`; of more than are wanted, those of the wanted end.
    pub(super) fn append(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), Failure> {
        let encoding = Panicked::catch(|| self.tokenizer.encode_fast(text, false))
            .map_err(|panicked| Failure::Library(panicked.into()))?
            .map_err(Failure::Library)?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
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
