//! What the post-processor puts around the tokens of a text or a pair, and how many of them are kept.

use super::Tokens;
use super::long::{End, Limit};
use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper, Token, TruncationDirection};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The sequences of special tokens that the own tokens of a text, or of a pair, are put into, and the room for these.
///
/// They are not read from the settings: the library's post-processor is run once on marked tokens, so they are right
/// for every kind of post-processor. None of them looks at the tokens that it surrounds.
#[derive(Debug)]
pub(super) struct Frame {
    single: Form,
    pair: Form,
    /// The end of a text that is kept.
    kept: End,
}

/// A sequence with places for texts.
#[derive(Debug)]
struct Form {
    parts: Vec<Part>,
    /// The most tokens of the texts themselves; `None` where nothing is cut.
    room: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Special { id: u32, type_id: u32 },
    Text { index: usize, type_id: u32 },
}

impl Frame {
    /// What `configured` does with one text, and with two. Without `has_types` the type of every token is 0.
    pub(super) fn of(configured: &tokenizers::Tokenizer, has_types: bool) -> Result<Self, Source> {
        let truncation = configured.get_truncation();
        let processor = configured.get_post_processor();
        let form = |texts: usize| -> Result<(Form, usize), Source> {
            let mut parts = parts(processor, texts)?;
            if !has_types {
                for Part::Special { type_id, .. } | Part::Text { type_id, .. } in &mut parts {
                    *type_id = 0;
                }
            }
            let special = processor.map_or(0, |processor| processor.added_tokens(texts > 1));
            let room = truncation.and_then(|truncation| truncation.max_length.checked_sub(special));
            Ok((Form { parts, room }, special))
        };
        let (single, special) = form(1)?;
        if let (Some(truncation), None) = (truncation, single.room) {
            let max = truncation.max_length;
            return Err(format!("it adds {special} special tokens, but texts are cut to {max} tokens").into());
        }
        // As in the library, a pair is not cut where there is no room for its special tokens.
        let (pair, _) = form(2)?;
        let kept = match truncation.map(|truncation| truncation.direction) {
            None | Some(TruncationDirection::Right) => End::First,
            Some(TruncationDirection::Left) => End::Last,
        };
        Ok(Self { single, pair, kept })
    }

    /// How many ids of a text are needed: one more than there is room for, to know whether it is cut.
    pub(super) fn limit(&self) -> Limit {
        self.single.limit(self.kept)
    }

    /// The same for each text of a pair.
    pub(super) fn pair_limit(&self) -> Limit {
        self.pair.limit(self.kept)
    }

    /// The tokens of a text that has these ids, or at least as many as [`limit`](Self::limit) says.
    pub(super) fn around(&self, ids: &[u32]) -> Tokens {
        let kept = self.single.room.map_or(ids.len(), |room| room.min(ids.len()));
        self.single.filled(&[self.kept.part(ids, kept)], kept < ids.len())
    }

    /// Whether what is kept of two texts depends on which of them is longer, and that cannot be told of as many of
    /// their ids as [`pair_limit`](Self::pair_limit) says.
    pub(super) fn depends_on_the_rest(&self, ids: [&[u32]; 2]) -> bool {
        self.pair.room.is_some_and(|room| room % 2 == 1 && ids.iter().all(|ids| ids.len() > room))
    }

    /// The tokens of two texts that have these ids, or at least as many as [`pair_limit`](Self::pair_limit) says.
    ///
    /// The longer text is cut until they are as long as each other, or there is room; then both are. If that leaves one
    /// place, it is the first text's if this is longer.
    pub(super) fn around_pair(&self, ids: [&[u32]; 2], first_is_longer: bool) -> Tokens {
        let lengths = ids.map(<[u32]>::len);
        let kept = match self.pair.room {
            Some(room) if lengths.iter().sum::<usize>() > room => {
                let short = lengths[0].min(lengths[1]).min(room / 2);
                if first_is_longer { [room - short, short] } else { [short, room - short] }
            }
            _ => lengths,
        };
        let texts = [0, 1].map(|index| self.kept.part(ids[index], kept[index]));
        self.pair.filled(&texts, kept != lengths)
    }
}

impl End {
    /// As many ids of this end.
    fn part(self, ids: &[u32], count: usize) -> &[u32] {
        match self {
            Self::First => &ids[..count],
            Self::Last => &ids[ids.len() - count..],
        }
    }
}

impl Form {
    fn limit(&self, end: End) -> Limit {
        Limit { ids: self.room.map_or(usize::MAX, |room| room.saturating_add(1)), end }
    }

    fn filled(&self, texts: &[&[u32]], cut: bool) -> Tokens {
        let length = texts.iter().map(|ids| ids.len()).sum::<usize>() + self.parts.len();
        let mut tokens = Tokens { ids: Vec::with_capacity(length), type_ids: Vec::with_capacity(length), cut };
        for part in &self.parts {
            match *part {
                Part::Special { id, type_id } => {
                    tokens.ids.push(id);
                    tokens.type_ids.push(type_id);
                }
                Part::Text { index, type_id } => {
                    tokens.ids.extend_from_slice(texts[index]);
                    tokens.type_ids.resize(tokens.ids.len(), type_id);
                }
            }
        }
        tokens
    }
}

/// What a post-processor makes of one text or two.
fn parts(processor: Option<&PostProcessorWrapper>, texts: usize) -> Result<Vec<Part>, Source> {
    let Some(processor) = processor else {
        return Ok((0..texts).map(|index| Part::Text { index, type_id: index as u32 }).collect());
    };
    // Two marks a text, because one may be the id of a special token. They are no ids of any vocabulary.
    let marks = |round: u32| [0, 1].map(|text| u32::MAX - 2 * text - round);
    let process = |[first, second]: [u32; 2]| {
        let marked = |id| Encoding::from_tokens(vec![Token::new(id, String::new(), (0, 0))], 0);
        processor.process(marked(first), (texts > 1).then(|| marked(second)), true)
    };
    let [one, other] = [process(marks(0))?, process(marks(1))?];
    let pairs = one.get_ids().iter().zip(other.get_ids()).zip(one.get_type_ids());
    let part = |((&id, &other), &type_id)| match marks(0).iter().zip(marks(1)).position(|marks| marks == (&id, other)) {
        Some(index) => Part::Text { index, type_id },
        None => Part::Special { id, type_id },
    };
    Ok(pairs.map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the library's `truncate_encodings`, written down once more.
    fn kept_by_the_library(room: usize, lengths: [usize; 2]) -> [usize; 2] {
        if lengths[0] + lengths[1] <= room {
            return lengths;
        }
        let mut short = lengths[0].min(lengths[1]);
        let mut long = if short > room { short } else { short.max(room - short) };
        if short + long > room {
            short = room / 2;
            long = short + room % 2;
        }
        if lengths[0] > lengths[1] { [long, short] } else { [short, long] }
    }

    #[test]
    fn pairs_are_cut_as_by_the_library() {
        let parts = vec![Part::Text { index: 0, type_id: 0 }, Part::Text { index: 1, type_id: 1 }];
        for room in 0..8 {
            let single = Form { parts: Vec::new(), room: None };
            let pair = Form { parts: parts.clone(), room: Some(room) };
            let frame = Frame { single, pair, kept: End::First };
            for lengths in (0..144).map(|n| [n / 12, n % 12]) {
                let expected = kept_by_the_library(room, lengths);
                // Of a longer text there are one id more than there is room for, or more.
                for more in 1..3 {
                    let ids = lengths.map(|length| vec![7; length.min(room + more)]);
                    let ids = [ids[0].as_slice(), ids[1].as_slice()];
                    let longer = match frame.depends_on_the_rest(ids) {
                        true => lengths[0] > lengths[1],
                        false => ids[0].len() > ids[1].len(),
                    };
                    let tokens = frame.around_pair(ids, longer);
                    let first = tokens.type_ids.iter().filter(|id| **id == 0).count();
                    let kept = [first, tokens.len() - first];
                    assert_eq!((kept, tokens.cut), (expected, lengths != expected), "{room} {lengths:?} {more}");
                }
            }
        }
    }
}
