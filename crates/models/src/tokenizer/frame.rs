//! What the post-processor puts around the tokens of a text, and how many of them are kept.

use super::Tokens;
use super::long::{End, Limit};
use tokenizers::{Encoding, PostProcessor, Token, TruncationDirection};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The sequence of special tokens that a text's own tokens are put into, and the room for these.
///
/// It is not read from the settings: the library's post-processor is run once on a marked token, so it is right for
/// every kind of post-processor. None of them looks at the tokens that it surrounds.
#[derive(Debug)]
pub(super) struct Frame {
    parts: Vec<Part>,
    /// The most tokens of the text itself; `None` where nothing is cut.
    room: Option<usize>,
    /// The end of the text that is kept.
    kept: End,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Special { id: u32, type_id: u32 },
    Text { type_id: u32 },
}

impl Frame {
    /// What `configured` does with one text.
    pub(super) fn of(configured: &tokenizers::Tokenizer) -> Result<Self, Source> {
        let parts = match configured.get_post_processor() {
            None => vec![Part::Text { type_id: 0 }],
            Some(processor) => {
                let process = |mark| {
                    let token = Token::new(mark, String::new(), (0, 0));
                    processor.process(Encoding::from_tokens(vec![token], 0), None, true)
                };
                // Two marks, because one may be the id of a special token. They are no ids of any vocabulary.
                let [one, other] = [process(u32::MAX)?, process(u32::MAX - 1)?];
                let parts = one.get_ids().iter().zip(other.get_ids()).zip(one.get_type_ids());
                parts
                    .map(|((&id, &other), &type_id)| match id == other {
                        true => Part::Special { id, type_id },
                        false => Part::Text { type_id },
                    })
                    .collect()
            }
        };
        let special = configured.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        let (room, kept) = match configured.get_truncation() {
            None => (None, End::First),
            Some(truncation) => {
                let Some(room) = truncation.max_length.checked_sub(special) else {
                    let max = truncation.max_length;
                    return Err(format!("it adds {special} special tokens, but texts are cut to {max} tokens").into());
                };
                let kept = match truncation.direction {
                    TruncationDirection::Right => End::First,
                    TruncationDirection::Left => End::Last,
                };
                (Some(room), kept)
            }
        };
        Ok(Self { parts, room, kept })
    }

    /// How many ids of a text are needed: one more than there is room for, to know whether it is cut.
    pub(super) fn limit(&self) -> Limit {
        Limit { ids: self.room.map_or(usize::MAX, |room| room.saturating_add(1)), end: self.kept }
    }

    /// The tokens of a text that has these ids, or at least as many as [`limit`](Self::limit) says.
    pub(super) fn around(&self, ids: &[u32]) -> Tokens {
        let cut = self.room.filter(|room| *room < ids.len());
        let text = match (cut, self.kept) {
            (None, _) => ids,
            (Some(room), End::First) => &ids[..room],
            (Some(room), End::Last) => &ids[ids.len() - room..],
        };
        let length = text.len() + self.parts.len();
        let mut tokens =
            Tokens { ids: Vec::with_capacity(length), type_ids: Vec::with_capacity(length), cut: cut.is_some() };
        for part in &self.parts {
            match *part {
                Part::Special { id, type_id } => {
                    tokens.ids.push(id);
                    tokens.type_ids.push(type_id);
                }
                Part::Text { type_id } => {
                    tokens.ids.extend_from_slice(text);
                    tokens.type_ids.resize(tokens.ids.len(), type_id);
                }
            }
        }
        tokens
    }
}
