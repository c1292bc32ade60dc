//! Texts piece by piece: the tokens of a whole text, of which the library sees a few thousand bytes at a time.
//!
//! The library takes up to 600 bytes of memory for each byte of text. So it is given pieces of a text, and what follows
//! the last token that is needed is never looked at. That the tokens of the pieces are those of the whole is not
//! assumed: a text is cut in two only where its [`Road`] proves it ([`Road::splits`]). Where there is no such place,
//! the text is tokenised as one up to [`WHOLE`] bytes, and refused beyond.
//!
//! # What a split is
//!
//! With `T` the ids of a text without the special ones around it, a place `p` splits a text if
//! `T(text) = T(text[..p]) + T(text[p..])`. Both halves count, so that a text can be tokenised from either end, and
//! `p` splits whatever is cut away elsewhere: the proofs look only at what is near `p`.

use super::library::Library;
use super::road::{Failure, Road};

/// A piece ends at the last place that splits in this many bytes; a text of up to twice as many is one piece.
pub(super) const PIECE: usize = 4 << 10;
/// The most bytes that the library is given as one piece where nothing splits.
pub(super) const WHOLE: usize = 64 << 10;

/// How many ids of a text are wanted: `ids` of them from one end, or all if there are fewer. There may be more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) ids: usize,
    pub(super) end: End,
}

/// An end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

impl Limit {
    /// All of them.
    const ALL: Self = Self { ids: usize::MAX, end: End::First };

    /// The same for what follows `count` ids.
    pub(super) fn after(self, count: usize) -> Self {
        match self.end {
            End::First => Self { ids: self.ids.saturating_sub(count), ..self },
            End::Last => self,
        }
    }

    /// Whether `count` ids from the first on are all that is wanted.
    pub(super) fn is_reached(self, count: usize) -> bool {
        self.end == End::First && count >= self.ids
    }
}

/// The ids of `text` by the given road, as many as `limit` says.
pub(super) fn ids(road: &dyn Road, library: &Library, text: &str, limit: Limit) -> Result<Vec<u32>, Failure> {
    let mut ids = Vec::new();
    match limit.end {
        End::First => road.append(library, text, limit, &mut ids)?,
        End::Last => {
            // Pieces from the end on, each tokenised forwards.
            let (mut end, mut count, mut pieces) = (text.len(), 0, Vec::new());
            while end > 0 && count < limit.ids {
                let start = piece_start(road, library, text, end);
                let mut piece = Vec::new();
                road.append(library, &text[start..end], limit, &mut piece)?;
                count += piece.len();
                if !piece.is_empty() {
                    pieces.push(piece);
                }
                end = start;
            }
            pieces.iter().rev().for_each(|piece| ids.extend_from_slice(piece));
        }
    }
    Ok(ids)
}

/// Appends ids of `text`, all of them by the library.
pub(super) fn append(
    road: &dyn Road,
    library: &Library,
    text: &str,
    limit: Limit,
    ids: &mut Vec<u32>,
) -> Result<(), Failure> {
    let (before, mut start) = (ids.len(), 0);
    while start < text.len() && !limit.is_reached(ids.len() - before) {
        let end = piece_end(road, library, text, start)?;
        library.append(&text[start..end], limit.after(ids.len() - before), ids)?;
        limit.trim(ids, before);
        start = end;
    }
    Ok(())
}

/// Whether `first` has more ids than `second`. Both are counted, piece by piece, until one is at its end.
pub(super) fn is_longer(road: &dyn Road, library: &Library, first: &str, second: &str) -> Result<bool, Failure> {
    let mut texts = [first, second].map(|text| Counted { rest: text, ids: 0 });
    loop {
        let [first, second] = &mut texts;
        match (first.rest.is_empty(), second.rest.is_empty()) {
            (true, _) if second.ids >= first.ids => return Ok(false),
            (_, true) if first.ids > second.ids => return Ok(true),
            (false, true) => first.count(road, library)?,
            (true, _) => second.count(road, library)?,
            (false, false) if first.ids <= second.ids => first.count(road, library)?,
            (false, false) => second.count(road, library)?,
        }
    }
}

/// A text of which some ids are counted.
struct Counted<'a> {
    rest: &'a str,
    ids: usize,
}

impl Counted<'_> {
    /// Counts those of a piece more.
    fn count(&mut self, road: &dyn Road, library: &Library) -> Result<(), Failure> {
        // Where nothing splits, the road may still know what to do.
        let end = piece_end(road, library, self.rest, 0).unwrap_or(self.rest.len());
        let (piece, rest) = self.rest.split_at(end);
        let mut ids = Vec::new();
        road.append(library, piece, Limit::ALL, &mut ids)?;
        (self.rest, self.ids) = (rest, self.ids + ids.len());
        Ok(())
    }
}

impl Limit {
    /// Lets go of ids that are not among the last ones wanted, now and then.
    pub(super) fn trim(self, ids: &mut Vec<u32>, before: usize) {
        let count = ids.len() - before;
        if self.end == End::Last && count / 2 >= self.ids.max(PIECE) {
            ids.drain(before..before + count - self.ids);
        }
    }
}

/// Where the piece that begins at `start` ends.
fn piece_end(road: &dyn Road, library: &Library, text: &str, start: usize) -> Result<usize, Failure> {
    let left = text.len() - start;
    if left <= 2 * PIECE {
        return Ok(text.len());
    }
    let splits = |&place: &usize| is_split(road, library, text, place);
    let near = (start + 1..=start + PIECE).rev().find(splits);
    match near.or_else(|| (start + PIECE + 1..text.len().min(start + WHOLE + 1)).find(splits)) {
        Some(place) => Ok(place),
        None if left <= WHOLE => Ok(text.len()),
        None => Err(Failure::NoSplit),
    }
}

/// Where the piece that ends at `end` begins: at the start of the text if nothing splits for long.
fn piece_start(road: &dyn Road, library: &Library, text: &str, end: usize) -> usize {
    if end <= 2 * PIECE {
        return 0;
    }
    let splits = |&place: &usize| is_split(road, library, text, place);
    let near = (end - PIECE..end).find(splits);
    near.or_else(|| (end.saturating_sub(WHOLE).max(1)..end - PIECE).rev().find(splits)).unwrap_or(0)
}

fn is_split(road: &dyn Road, library: &Library, text: &str, place: usize) -> bool {
    text.is_char_boundary(place) && road.splits(library, text, place)
}
