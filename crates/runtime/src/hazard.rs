//! Stamps: what the bytes of a block remember of their last uses (I5).
//!
//! A use is a command: the stream, the value that its list signals, and its index in the list. From the uses of its
//! operands an operation learns which foreign values it has to wait for, whether it needs a barrier, and whose failure
//! would be its own:
//!
//! | new access | has to come after |
//! |---|---|
//! | read | the last write |
//! | write | the last write and every read since |
//!
//! Each block has a lock of its own around its uses (I4). All blocks of an operation are locked at once, in the order
//! of their ids (I2).

use smallvec::SmallVec;
use thalweg_hal::Access;

/// One use of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// Which stream.
    pub(crate) stream: u32,
    /// Which command of the list.
    pub(crate) command: u32,
    /// Which list: the value that it signals.
    pub(crate) value: u64,
}

/// The uses that the next use of the same bytes may have to wait for.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// The last write.
    pub(crate) write: Option<Use>,
    /// Reads since the last write: the last one of each stream.
    pub(crate) reads: SmallVec<[Use; 2]>,
}

impl Uses {
    /// The uses that an access has to come after.
    pub(crate) fn before(&self, access: Access) -> impl Iterator<Item = Use> + '_ {
        let reads = if access.writes() { &self.reads[..] } else { &[] };
        self.write.iter().chain(reads).copied()
    }

    /// Enters a use. Whatever it had to come after is ordered before it already.
    pub(crate) fn stamp(&mut self, access: Access, by: Use) {
        if access.writes() {
            self.write = Some(by);
            self.reads.clear();
        } else if let Some(read) = self.reads.iter_mut().find(|read| read.stream == by.stream) {
            *read = by;
        } else {
            self.reads.push(by);
        }
    }

    /// Forgets everything if every use has settled, and says whether it did.
    pub(crate) fn clear_if_settled(&mut self, settled: impl Fn(u32) -> u64) -> bool {
        let done = self.before(Access::Write).all(|by| by.value <= settled(by.stream));
        if done {
            *self = Self::default();
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stream: u32, value: u64) -> Use {
        Use { stream, command: 1, value }
    }

    #[test]
    fn a_read_comes_after_the_last_write_alone() {
        let mut uses = Uses::default();
        uses.stamp(Access::Write, at(0, 1));
        uses.stamp(Access::Read, at(1, 7));
        assert_eq!(uses.before(Access::Read).collect::<Vec<_>>(), [at(0, 1)]);
    }

    #[test]
    fn a_write_comes_after_every_reader_and_the_last_use_of_each() {
        let mut uses = Uses::default();
        uses.stamp(Access::Write, at(0, 1));
        for by in [at(1, 7), at(2, 3), at(1, 9)] {
            uses.stamp(Access::Read, by);
        }
        assert_eq!(uses.before(Access::ReadWrite).collect::<Vec<_>>(), [at(0, 1), at(1, 9), at(2, 3)]);
        uses.stamp(Access::ReadWrite, at(2, 4));
        assert_eq!(uses.before(Access::Write).collect::<Vec<_>>(), [at(2, 4)]);
    }

    #[test]
    fn uses_are_forgotten_only_when_all_have_settled() {
        let mut uses = Uses::default();
        uses.stamp(Access::Write, at(0, 1));
        uses.stamp(Access::Read, at(1, 7));
        assert!(!uses.clear_if_settled(|stream| if stream == 0 { 1 } else { 6 }));
        assert!(uses.clear_if_settled(|stream| if stream == 0 { 1 } else { 7 }));
        assert_eq!(uses.before(Access::Write).count(), 0);
    }
}
