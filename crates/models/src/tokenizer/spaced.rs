//! Tokenizers that split before a space between two words, of whatever kind their model is.

use super::added_in_text::Added;
use super::library::{Library, normalized};
use super::long::{self, Limit};
use super::road::{Failure, Road};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

/// A tokenizer that splits before a single space (U+0020) between two characters of [`is_plain`]: byte-level BPE and
/// Unigram as they are usual.
///
/// Let `x y` be around the place, which is before the space, and `w` before `x`. Why it splits:
///
/// - Added tokens have no white space in them ([`Added`]), so none lies across the space. None takes white space
///   behind it; one that takes white space before it, and begins at `y`, takes this one space, which is on its side of
///   the place. What `single_word` looks at is the space or an end.
/// - Each normalizer of [`is_known`] works on characters, on grapheme clusters or on runs of a starter and its marks.
///   The place is between two of these, because the space is a starter that composes with nothing before it, and no
///   grapheme cluster goes on from a plain character to a space, or from a space to a plain character. A space stays a
///   space (looked at when loading), and `x` and `y` become no white space (looked at at each place), so nothing that
///   merges or strips runs of spaces meets the place.
/// - The pre-tokenizer is of [`splits_at_spaces`]. One that drops white space goes on with words, one by one. The
///   byte-level pattern has a space only at the beginning of a match or in a match of white space alone, so a match
///   ends behind `x`; it never looks back, and looks ahead only from within white space. `Metaspace` splits before
///   every space. A prefix is put only before text that does not begin with a space, or before the first word of all,
///   which is not found behind a space.
/// - The model sees the parts that the pre-tokenizer makes, one by one.
pub(super) struct Spaced;

impl Spaced {
    pub(super) fn of(configured: &tokenizers::Tokenizer) -> Option<Self> {
        let normalizer = configured.get_normalizer();
        let splits = configured.get_pre_tokenizer().is_some_and(splits_at_spaces);
        if !splits || !normalizer.is_none_or(is_known) || Added::of(configured)?.takes_space_behind {
            return None;
        }
        let [apart, alone] = [normalized(normalizer, "a a")?, normalized(normalizer, "a")?];
        (apart == format!("{alone} {alone}")).then_some(Self)
    }
}

impl Road for Spaced {
    fn append(&self, library: &Library, text: &str, limit: Limit, ids: &mut Vec<u32>) -> Result<(), Failure> {
        long::append(self, library, text, limit, ids)
    }

    fn splits(&self, library: &Library, text: &str, place: usize) -> bool {
        let (before, after) = text.split_at(place);
        let mut after = after.chars();
        if after.next() != Some(' ') {
            return false;
        }
        let mut before = before.chars().rev();
        let around = [before.next(), before.next(), after.next()];
        let [Some(x), Some(w), Some(y)] = around else { return false };
        let plain = is_plain(x) && is_plain(y) && (is_plain(w) || w == ' ');
        plain
            && library
                .normalized(&format!("a{x}a{y}a"))
                .is_some_and(|normalized| !normalized.contains(char::is_whitespace))
    }
}

/// A character that is a grapheme cluster by itself between others of the kind: it extends nothing and is not extended
/// by a space. Letters of the scripts that are written most, and ASCII.
fn is_plain(c: char) -> bool {
    match c {
        _ if c.is_ascii() => c.is_ascii_graphic(),
        // Latin, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Thai.
        '\u{c0}'..='\u{2af}' | '\u{386}'..='\u{481}' | '\u{48a}'..='\u{52f}' => c.is_alphabetic(),
        '\u{5d0}'..='\u{5ea}' | '\u{621}'..='\u{63a}' | '\u{641}'..='\u{64a}' | '\u{904}'..='\u{939}' => true,
        '\u{e01}'..='\u{e30}' => true,
        // Dashes, quotation marks, the ellipsis.
        '\u{2010}'..='\u{2027}' => true,
        // Punctuation and letters of Chinese, Japanese and Korean.
        '\u{3001}'..='\u{3002}' | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' => true,
        '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' => true,
        _ => false,
    }
}

fn is_known(normalizer: &NormalizerWrapper) -> bool {
    use NormalizerWrapper as N;
    match normalizer {
        N::BertNormalizer(_) | N::Lowercase(_) | N::NFC(_) | N::NFD(_) | N::NFKC(_) | N::NFKD(_) => true,
        N::StripAccents(_) | N::Nmt(_) | N::Precompiled(_) => true,
        // At the end of a piece, which is the same with and without what is before.
        N::StripNormalizer(strip) => !strip.strip_left,
        // Runs of several spaces, as in the conversions of SentencePiece's models.
        N::Replace(replace) => serde_json::to_value(replace)
            .is_ok_and(|replace| replace.get("pattern") == Some(&serde_json::json!({"Regex": " {2,}"}))),
        N::Sequence(sequence) => sequence.as_ref().iter().all(is_known),
        _ => false,
    }
}

fn splits_at_spaces(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    use PreTokenizerWrapper as P;
    match pre_tokenizer {
        P::BertPreTokenizer(_) | P::Whitespace(_) | P::WhitespaceSplit(_) => true,
        P::ByteLevel(bytes) => bytes.use_regex,
        P::Metaspace(metaspace) => metaspace.get_split(),
        // What follows the first splits its parts further, one by one.
        P::Sequence(sequence) => sequence.as_ref().first().is_some_and(splits_at_spaces),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_extends_another_character_is_not_plain() {
        // A combining acute, a Devanagari vowel sign, Thai sara am, a joiner, a mark of Arabic numbers, a space.
        for c in ['\u{301}', '\u{93f}', '\u{e33}', '\u{200d}', '\u{600}', ' ', '\u{a0}', '\n', '\0', '\u{1f3fb}'] {
            assert!(!is_plain(c), "{c:?}");
        }
        for c in ['a', '!', 'é', 'ж', 'ω', 'ש', 'ب', 'क', 'ก', '—', '…', '。', 'の', 'カ', '水', '한']
        {
            assert!(is_plain(c), "{c:?}");
        }
    }
}
