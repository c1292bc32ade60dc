//! Texts for measuring: random words, each text with exactly the wanted number of ids.
//!
//! Of the bundled words, those are kept that the model's tokenizer turns into one id each, alone and behind another
//! word. A text of `n` ids is then `n` minus the special ids of such words, drawn at random, and costs next to nothing
//! to make between two requests. That the count is right is not taken on trust: every result of a measurement carries
//! the number of ids it was computed from, and is checked.

use fastrand::Rng;
use thalweg::EmbeddingModel;

use crate::error::Error;

/// One word a line.
const WORDS: &str = include_str!("words.txt");
/// With fewer words than this, requests would hardly differ.
const FEWEST_WORDS: usize = 4;

/// A source of random texts of one length.
pub struct Texts {
    words: Vec<&'static str>,
    /// Words in a text.
    length: usize,
}

impl Texts {
    /// Texts of `tokens` ids, special ones included, as `model` counts them.
    ///
    /// # Errors
    ///
    /// `Usage` when `tokens` is more than the model reads or leaves no room for a word; `Bench` when the tokenizer
    /// fails, or splits nearly all bundled words.
    pub fn new(model: &EmbeddingModel, tokens: usize) -> Result<Self, Error> {
        let count = |texts: &[String]| -> Result<Vec<usize>, Error> {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let tokens = model.tokenize(&texts).map_err(|source| Error::Bench(Error::chain(&source)))?;
            Ok(tokens.iter().map(|tokens| tokens.len()).collect())
        };
        let special = count(&[String::new()])?[0];
        if tokens > model.max_tokens() {
            return Err(Error::Usage(format!("--tokens {tokens}: the model reads at most {}", model.max_tokens())));
        }
        if tokens <= special {
            return Err(Error::Usage(format!(
                "--tokens {tokens} leaves no room for a word beside the model's {special} special ids"
            )));
        }
        // Words with an id of their own when alone, and of those the ones that keep it behind another.
        let candidates: Vec<&str> = WORDS.lines().collect();
        let alone = count(&candidates.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())?;
        let single = |(word, ids)| (ids == special + 1).then_some(word);
        let candidates: Vec<&str> = candidates.into_iter().zip(alone).filter_map(single).collect();
        let behind = count(&candidates.iter().map(|word| format!("{} {word}", candidates[0])).collect::<Vec<_>>())?;
        let additive = |(word, ids)| (ids == special + 2).then_some(word);
        let words: Vec<&str> = candidates.into_iter().zip(behind).filter_map(additive).collect();
        if words.len() < FEWEST_WORDS {
            return Err(Error::Bench(format!(
                "the model's tokenizer has an id of its own for only {} of the bundled words, {FEWEST_WORDS} are needed",
                words.len()
            )));
        }
        Ok(Self { words, length: tokens - special })
    }

    /// A text; the same for the same state of `random`.
    pub fn make(&self, random: &mut Rng) -> String {
        let words: Vec<&str> = (0..self.length).map(|_| self.words[random.usize(..self.words.len())]).collect();
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn bundled_words_are_distinct_and_plain() {
        let words: Vec<&str> = WORDS.lines().collect();
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
        assert!(words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())));
        assert!(words.len() >= 400, "{} words", words.len());
    }

    #[test]
    fn texts_have_their_length_and_differ() {
        let texts = Texts { words: WORDS.lines().collect(), length: 22 };
        let mut random = Rng::with_seed(7);
        let made: Vec<String> = (0..1000).map(|_| texts.make(&mut random)).collect();
        assert!(made.iter().all(|text| text.split(' ').count() == 22));
        assert_eq!(made.iter().collect::<HashSet<_>>().len(), made.len());
        assert_eq!(texts.make(&mut Rng::with_seed(7)), made[0]);
    }
}
