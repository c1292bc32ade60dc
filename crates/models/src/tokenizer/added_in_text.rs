//! The tokens that were added to a vocabulary, as far as they can decide where a text splits.

use super::library::normalized;
use super::trie::Trie;

/// None is longer, so that looking for them is no more than this many steps a byte.
const LONGEST: usize = 64;

/// Tokens that the library looks for in the text before anything else: those that are not `normalized` in the text as
/// it is, and then the others, themselves normalized, in the normalized text between the former.
///
/// None of them has white space in it, in the form that is looked for. So none is found across white space; and white
/// space beside a place is no part of a word, as is the end of a text (`single_word`).
pub(super) struct Added {
    /// What is looked for in the text as it is: the part of each that is ASCII, from its first byte on.
    plain: Trie,
    /// What is looked for in the normalized text, in the same way.
    normalized: Trie,
    /// Whether a token takes the white space behind it.
    pub(super) takes_space_behind: bool,
    /// Whether a place without white space can be shown to have none of them across it, and none beside it that looks
    /// at what is next to it.
    pub(super) is_local: bool,
    /// The length of the longest that is looked for in the text as it is.
    longest: usize,
}

impl Added {
    /// `None` if one of them has white space in it, is very long, or cannot be normalized.
    pub(super) fn of(configured: &tokenizers::Tokenizer) -> Option<Self> {
        let (mut plain, mut normal) = (Vec::new(), Vec::new());
        let (mut takes_space_behind, mut is_local) = (false, true);
        for token in configured.get_added_vocabulary().get_added_tokens_decoder().values() {
            let text = if token.normalized {
                normalized(configured.get_normalizer(), &token.content)?
            } else {
                token.content.clone()
            };
            if text.is_empty() || text.len() > LONGEST || text.contains(char::is_whitespace) {
                return None;
            }
            takes_space_behind |= token.rstrip;
            is_local &= !token.single_word && !token.normalized && text.is_ascii();
            if token.normalized { &mut normal } else { &mut plain }.push(text);
        }
        let longest = plain.iter().map(String::len).max().unwrap_or(0);
        Some(Self { longest, plain: trie(plain)?, normalized: trie(normal)?, takes_space_behind, is_local })
    }

    /// Whether one may begin with this byte of a text, or with what it is normalized to.
    pub(super) fn begins_with(&self, byte: u8, normalized: Option<u8>) -> bool {
        self.plain.begins_with(byte) || normalized.is_some_and(|byte| self.normalized.begins_with(byte))
    }

    /// Whether one may begin at the beginning of `bytes`. `normalize` says what an ASCII byte becomes: another, or
    /// nothing.
    pub(super) fn begins(&self, bytes: &[u8], normalize: impl Fn(u8) -> Option<u8>) -> bool {
        if self.plain.longest(bytes.iter().copied()).is_some() {
            return true;
        }
        let mut all_ascii = true;
        let ascii = bytes.iter().copied().take_while(|byte| {
            all_ascii = byte.is_ascii();
            all_ascii
        });
        let walked = self.normalized.walk(ascii.filter_map(normalize));
        // What is not ASCII could become anything.
        walked.longest.is_some() || (walked.is_open && !all_ascii)
    }

    /// Whether one that is looked for in the text as it is lies across `place`; only if [`is_local`](Self::is_local).
    pub(super) fn is_across(&self, bytes: &[u8], place: usize) -> bool {
        (place.saturating_sub(self.longest)..place).any(|start| {
            let longest = self.plain.longest(bytes[start..].iter().copied());
            longest.is_some_and(|(length, _)| start + length > place)
        })
    }
}

fn trie(texts: Vec<String>) -> Option<Trie> {
    let mut starts: Vec<&[u8]> = texts
        .iter()
        .map(|text| &text.as_bytes()[..text.bytes().position(|byte| !byte.is_ascii()).unwrap_or(text.len())])
        .collect();
    starts.sort_unstable();
    starts.dedup();
    Trie::new(starts.into_iter().map(|start| (start, 0)))
}
