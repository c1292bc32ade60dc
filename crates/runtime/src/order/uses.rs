//! What the bytes of a block remember: their last uses (I5). To stamp bytes is to enter a use.
//!
//! From the uses of its operands an operation learns which foreign values it has to wait for, whether it needs a
//! barrier, and which failures it would inherit:
//!
//! | new access | has to come after |
//! |---|---|
//! | read | the last write |
//! | write | the last write and every read since |
//!
//! They stay with the bytes when a block is freed and taken again (I5).

use super::outcome::Outcome;
use super::point::Use;
use crate::base::error::Failure;
use smallvec::SmallVec;
use std::sync::Arc;
use thalweg_hal::Access;

/// A use that wrote, and the outcome of its list.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) by: Use,
    pub(crate) outcome: Arc<Outcome>,
}

impl Write {
    /// How it ended. Final once its list has settled.
    pub(crate) fn result(&self) -> Result<(), Failure> {
        self.outcome.result(self.by.command)
    }
}

/// The last writes of some bytes: one, or one for each part that was written by itself.
pub(crate) type Writes = SmallVec<[Write; 1]>;

/// The uses that the next use of the same bytes may have to wait for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses {
    /// The last write. Several only of bytes that were written in parts: uploaded in pieces, or freed as one.
    pub(crate) writes: Writes,
    /// Reads since the last write: the last one of each stream.
    pub(crate) reads: SmallVec<[Use; 2]>,
}

impl Uses {
    /// The uses that an access has to come after.
    #[inline]
    pub(crate) fn before(&self, access: Access) -> impl Iterator<Item = Use> + '_ {
        let reads = if access.writes() { &self.reads[..] } else { &[] };
        self.writes.iter().map(|write| write.by).chain(reads.iter().copied())
    }

    /// Enters a use. Whatever it had to come after is ordered before it already.
    #[inline]
    pub(crate) fn stamp(&mut self, access: Access, by: Use, outcome: &Arc<Outcome>) {
        if access.writes() {
            match &mut self.writes[..] {
                // Of the same list: spares the reference counts.
                [write] if Arc::ptr_eq(&write.outcome, outcome) => write.by = by,
                _ => {
                    self.writes.clear();
                    self.writes.push(Write { by, outcome: Arc::clone(outcome) });
                }
            }
            self.reads.clear();
        } else if let Some(read) = self.reads.iter_mut().find(|read| read.at.stream == by.at.stream) {
            *read = by;
        } else {
            self.reads.push(by);
        }
    }

    /// Takes over the uses of a part of the bytes. Of each stream the last is enough: whatever comes after it comes
    /// after the others.
    pub(crate) fn unite(&mut self, part: Self) {
        for write in part.writes {
            match self.writes.iter_mut().find(|known| known.by.at.stream == write.by.at.stream) {
                Some(known) if known.by.position() < write.by.position() => *known = write,
                Some(_) => {}
                None => self.writes.push(write),
            }
        }
        for read in part.reads {
            match self.reads.iter_mut().find(|known| known.at.stream == read.at.stream) {
                Some(known) if known.position() < read.position() => *known = read,
                Some(_) => {}
                None => self.reads.push(read),
            }
        }
    }

    /// Forgets everything if every use has settled, and says whether it did.
    pub(crate) fn clear_if_settled(&mut self, settled: impl Fn(u32) -> u64) -> bool {
        let done = self.is_settled(settled);
        if done {
            *self = Self::default();
        }
        done
    }

    /// Whether every use has settled.
    pub(crate) fn is_settled(&self, settled: impl Fn(u32) -> u64) -> bool {
        self.before(Access::Write).all(|by| by.at.value <= settled(by.at.stream))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::order::point::Point;

    fn at(stream: u32, value: u64) -> Use {
        Use { at: Point { stream, value }, command: 1 }
    }

    #[inline]
    fn stamp(uses: &mut Uses, access: Access, by: Use) {
        uses.stamp(access, by, &Arc::default());
    }

    #[test]
    fn a_read_comes_after_the_last_write_alone() {
        let mut uses = Uses::default();
        stamp(&mut uses, Access::Write, at(0, 1));
        stamp(&mut uses, Access::Read, at(1, 7));
        assert_eq!(uses.before(Access::Read).collect::<Vec<_>>(), [at(0, 1)]);
    }

    // audit: C14
    #[test]
    fn a_write_comes_after_every_reader_and_the_last_use_of_each() {
        let mut uses = Uses::default();
        stamp(&mut uses, Access::Write, at(0, 1));
        for by in [at(1, 7), at(2, 3), at(1, 9)] {
            stamp(&mut uses, Access::Read, by);
        }
        assert_eq!(uses.before(Access::ReadWrite).collect::<Vec<_>>(), [at(0, 1), at(1, 9), at(2, 3)]);
        stamp(&mut uses, Access::ReadWrite, at(2, 4));
        assert_eq!(uses.before(Access::Write).collect::<Vec<_>>(), [at(2, 4)]);
    }

    #[test]
    fn uses_are_forgotten_only_when_all_have_settled() {
        let mut uses = Uses::default();
        stamp(&mut uses, Access::Write, at(0, 1));
        stamp(&mut uses, Access::Read, at(1, 7));
        assert!(!uses.clear_if_settled(|stream| if stream == 0 { 1 } else { 6 }));
        assert!(uses.clear_if_settled(|stream| if stream == 0 { 1 } else { 7 }));
        assert_eq!(uses.before(Access::Write).count(), 0);
    }

    // audit: C14
    #[test]
    fn united_parts_keep_the_last_use_of_each_stream() {
        let mut uses = Uses::default();
        for (write, read) in [(at(0, 3), at(5, 1)), (at(1, 1), at(4, 2)), (at(0, 2), at(5, 7))] {
            let mut part = Uses::default();
            stamp(&mut part, Access::Write, write);
            stamp(&mut part, Access::Read, read);
            uses.unite(part);
        }
        assert_eq!(uses.before(Access::Read).collect::<Vec<_>>(), [at(0, 3), at(1, 1)]);
        assert_eq!(uses.before(Access::Write).collect::<Vec<_>>(), [at(0, 3), at(1, 1), at(5, 7), at(4, 2)]);
    }
}
