//! Tokenizers of the BERT kind: their ASCII words without the library.
//!
//! # Why the ids are the same
//!
//! The kind is: normalizers that make one ASCII character, or none, of each ASCII character, whatever is beside it;
//! `BertPreTokenizer`, which drops white space and makes a word of each punctuation character and of what is between;
//! and WordPiece, which takes the longest piece of the vocabulary that a word begins with, then the longest that the
//! rest begins with, and so on; a word that cannot be taken so, or is too long, is one unknown token.
//!
//! What the normalizers and the pre-tokenizer make of each ASCII character is asked of the library when loading. What
//! is not ASCII, or could be an added token, is left to the library: from the last place before it that splits, to the
//! next white space. These places split (see [`long`] for what that means):
//!
//! - Before and behind ASCII white space. It stays white space, so the pre-tokenizer splits there. It is a starter that
//!   composes with nothing, so no normalizer looks across it. No added token has white space in it ([`Added`]); those
//!   that take the white space around them take what gives no token; and for `single_word` white space is as good as
//!   the end of the text.
//! - Between ASCII characters of which one is punctuation, if no added token lies across and none looks at what is
//!   beside it ([`Added::is_local`]). The normalizers look at neither across the place, because nothing composes with
//!   an ASCII character behind it.
//! - Before the punctuation that is usual in Chinese and Japanese, under the same condition: it stays punctuation, and
//!   composes with nothing before it.
//! - Between two ideographs, under the same condition, if `BertNormalizer` puts spaces around each, and no other
//!   normalizer but one to lower case is there.

use super::added_in_text::Added;
use super::library::{Library, normalized};
use super::long::{self, Limit, PIECE, WHOLE};
use super::road::{Failure, Road};
use super::trie::Trie;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{Model, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

/// A part that is left to the library goes on where the next character that is not ASCII is this near: a call costs as
/// much as the tokens of a few words.
const NEAR: usize = 16;
/// A longer word that is not too long for WordPiece is left to the library, which refuses it: no time is promised.
const LONGEST_WORD: usize = WHOLE;

/// A tokenizer of the BERT kind. Only read after loading, so any number of threads use it at once.
pub(super) struct Bert {
    characters: [Character; 128],
    /// Which bytes an added token may begin at.
    suspects: [bool; 256],
    added: Added,
    words: WordTable,
    splits_ideographs: bool,
}

/// What an ASCII character is to the tokenizer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Character {
    /// Part of a word, as this character.
    Letter(u8),
    /// A word by itself, of this id.
    Punctuation(u32),
    Space,
    /// Removed.
    Nothing,
}

/// WordPiece's vocabulary.
struct WordTable {
    /// What a word may begin with.
    beginnings: Trie,
    /// What a word may go on with, without the prefix that marks it in the vocabulary.
    continuations: Trie,
    unknown: u32,
    /// A word of more characters is unknown.
    longest: usize,
}

impl Bert {
    /// `None` if `configured` is of another kind.
    pub(super) fn of(configured: &tokenizers::Tokenizer) -> Option<Self> {
        let ModelWrapper::WordPiece(model) = configured.get_model() else { return None };
        let Some(PreTokenizerWrapper::BertPreTokenizer(_)) = configured.get_pre_tokenizer() else { return None };
        let normalizer = configured.get_normalizer();
        if !normalizer.is_none_or(is_by_character) {
            return None;
        }
        let added = Added::of(configured)?;
        let words = WordTable::of(model)?;
        let mut characters = [Character::Nothing; 128];
        for (byte, character) in (0..).zip(&mut characters) {
            *character = Character::of(byte, normalizer, &words)?;
        }
        let mut suspects = [false; 256];
        for (byte, suspect) in (0..=u8::MAX).zip(&mut suspects) {
            let normal = characters.get(usize::from(byte)).and_then(|character| character.normalized(byte));
            *suspect = !byte.is_ascii() || added.begins_with(byte, normal);
        }
        let splits_ideographs = normalizer.is_some_and(isolates_ideographs);
        Some(Self { characters, suspects, added, words, splits_ideographs })
    }

    /// Whether the byte at `at` is not ASCII or could begin an added token.
    fn is_foreign(&self, bytes: &[u8], at: usize) -> bool {
        let byte = bytes[at];
        let normalize = |byte: u8| self.characters[usize::from(byte)].normalized(byte);
        self.suspects[usize::from(byte)] && (!byte.is_ascii() || self.added.begins(&bytes[at..], normalize))
    }

    /// Where the part ends that is left to the library, begins at `start` and has something foreign at `at`.
    fn end_of_foreign(&self, bytes: &[u8], start: usize, at: usize) -> usize {
        let space_from = |from: usize| {
            let space = bytes[from..].iter().position(|&byte| self.character(byte) == Some(Character::Space));
            space.map_or(bytes.len(), |space| from + space)
        };
        let mut end = space_from(at);
        while end < bytes.len() && end - start < PIECE {
            let near = &bytes[end..bytes.len().min(end + NEAR)];
            let Some(next) = near.iter().rposition(|byte| !byte.is_ascii()) else { break };
            end = space_from(end + next);
        }
        end
    }

    fn character(&self, byte: u8) -> Option<Character> {
        self.characters.get(usize::from(byte)).copied()
    }

    /// Whether a place between these two characters splits whatever is around them, but for added tokens across it.
    fn is_between(&self, before: char, after: char) -> bool {
        let punctuation = |c: char| c.is_ascii_punctuation();
        (before.is_ascii() && after.is_ascii() && (punctuation(before) || punctuation(after)))
            || matches!(after, '、' | '。' | '，' | '！' | '？')
            || (self.splits_ideographs && is_ideograph(before) && is_ideograph(after))
    }
}

impl Road for Bert {
    fn append(&self, library: &Library, text: &str, limit: Limit, ids: &mut Vec<u32>) -> Result<(), Failure> {
        let bytes = text.as_bytes();
        let before = ids.len();
        let mut word = Word::default();
        // The last place that splits, and how many ids there are up to there.
        let (mut split, mut settled) = (0, before);
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if self.is_foreign(bytes, at) || word.is_kept_too_long(&self.words) {
                ids.truncate(settled);
                word.clear();
                at = self.end_of_foreign(bytes, split, at);
                let limit = limit.after(settled - before);
                long::append(self, library, &text[split..at], limit, ids)?;
                (split, settled) = (at, ids.len());
            } else {
                let character = self.characters[usize::from(byte)];
                if let Character::Letter(letter) = character {
                    word.push(letter, &self.words);
                    at += 1;
                    continue;
                }
                at += 1;
                match character {
                    Character::Letter(_) | Character::Nothing => continue,
                    Character::Space => {
                        self.words.append(&mut word, ids);
                        (split, settled) = (at, ids.len());
                    }
                    Character::Punctuation(id) => {
                        self.words.append(&mut word, ids);
                        if self.added.is_local {
                            (split, settled) = (at - 1, ids.len());
                        }
                        ids.push(id);
                        if self.added.is_local && bytes.get(at).is_none_or(u8::is_ascii) {
                            (split, settled) = (at, ids.len());
                        }
                    }
                }
            }
            if limit.is_reached(settled - before) {
                return Ok(());
            }
            if settled == ids.len() {
                limit.trim(ids, before);
                settled = ids.len();
            }
        }
        self.words.append(&mut word, ids);
        Ok(())
    }

    fn splits(&self, _: &Library, text: &str, place: usize) -> bool {
        let (before, after) = text.split_at(place);
        let (Some(before), Some(after)) = (before.chars().next_back(), after.chars().next()) else { return true };
        let is_space = |c: char| c.is_ascii() && self.character(c as u8) == Some(Character::Space);
        is_space(before)
            || is_space(after)
            || (self.added.is_local && self.is_between(before, after) && !self.added.is_across(text.as_bytes(), place))
    }
}

impl Character {
    /// What the library makes of an ASCII character; `None` if it is not of the kind.
    fn of(byte: u8, normalizer: Option<&NormalizerWrapper>, words: &WordTable) -> Option<Self> {
        let normal = normalized(normalizer, &char::from(byte).to_string())?;
        match *normal.as_bytes() {
            [] => Some(Self::Nothing),
            [normal] if normal.is_ascii() => {
                // As `BertPreTokenizer` splits.
                let c = char::from(normal);
                if c.is_whitespace() {
                    // Only what was white space before is none to an added token's `single_word`.
                    char::from(byte).is_whitespace().then_some(Self::Space)
                } else if c.is_ascii_punctuation() {
                    (normal == byte).then(|| {
                        let mut word = Word::default();
                        word.push(normal, words);
                        let mut ids = Vec::new();
                        words.append(&mut word, &mut ids);
                        Self::Punctuation(ids[0])
                    })
                } else {
                    Some(Self::Letter(normal))
                }
            }
            _ => None,
        }
    }

    /// What is in the normalized text for this character, if not nothing or white space.
    fn normalized(self, byte: u8) -> Option<u8> {
        match self {
            Self::Letter(letter) => Some(letter),
            Self::Punctuation(_) => Some(byte),
            Self::Space => Some(b' '),
            Self::Nothing => None,
        }
    }
}

/// A word so far: its characters, as many as matter, and how many there are.
#[derive(Default)]
struct Word {
    characters: Vec<u8>,
    length: usize,
}

impl Word {
    fn push(&mut self, letter: u8, words: &WordTable) {
        if self.length < words.longest {
            self.characters.push(letter);
        }
        self.length += 1;
    }

    fn clear(&mut self) {
        self.characters.clear();
        self.length = 0;
    }

    fn is_kept_too_long(&self, words: &WordTable) -> bool {
        self.characters.len() > LONGEST_WORD && self.length <= words.longest
    }
}

impl WordTable {
    fn of(model: &WordPiece) -> Option<Self> {
        let vocabulary = model.get_vocab();
        let prefix = model.continuing_subword_prefix.as_bytes();
        let pieces = || vocabulary.iter().map(|(piece, id)| (piece.as_bytes(), *id));
        Some(Self {
            beginnings: Trie::new(pieces())?,
            continuations: Trie::new(pieces().filter_map(|(piece, id)| Some((piece.strip_prefix(prefix)?, id))))?,
            // Without it, an unknown word is an error.
            unknown: *vocabulary.get(&model.unk_token)?,
            longest: model.max_input_chars_per_word,
        })
    }

    /// Appends a word's ids, and clears it for the next.
    fn append(&self, word: &mut Word, ids: &mut Vec<u32>) {
        if word.length == 0 {
            return;
        }
        let before = ids.len();
        let mut rest = word.characters.as_slice();
        let mut pieces = &self.beginnings;
        if word.length > self.longest {
            ids.push(self.unknown);
            rest = &[];
        }
        while !rest.is_empty() {
            let Some((length, id)) = pieces.longest(rest.iter().copied()) else {
                ids.truncate(before);
                ids.push(self.unknown);
                break;
            };
            ids.push(id);
            rest = &rest[length..];
            pieces = &self.continuations;
        }
        word.clear();
    }
}

/// Whether a normalizer makes of a text of ASCII characters what it makes of each of them, one after the other.
fn is_by_character(normalizer: &NormalizerWrapper) -> bool {
    use NormalizerWrapper as N;
    match normalizer {
        N::BertNormalizer(_) | N::Lowercase(_) | N::StripAccents(_) | N::Nmt(_) => true,
        N::NFC(_) | N::NFD(_) | N::NFKC(_) | N::NFKD(_) => true,
        N::Sequence(sequence) => sequence.as_ref().iter().all(is_by_character),
        _ => false,
    }
}

/// Whether a normalizer puts spaces around ideographs and leaves them as they are.
fn isolates_ideographs(normalizer: &NormalizerWrapper) -> bool {
    use NormalizerWrapper as N;
    match normalizer {
        N::BertNormalizer(bert) => bert.handle_chinese_chars,
        N::Sequence(sequence) => {
            let mut steps = sequence.as_ref().iter().filter(|step| !matches!(step, N::Lowercase(_)));
            matches!((steps.next(), steps.next()), (Some(step), None) if isolates_ideographs(step))
        }
        _ => false,
    }
}

/// Most of what `BertNormalizer` puts spaces around.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}')
}
