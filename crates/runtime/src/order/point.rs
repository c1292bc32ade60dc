//! Places on timelines.

use smallvec::SmallVec;

/// A value on a stream's timeline: the list that signals it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// Which stream.
    pub(crate) stream: u32,
    /// Which of its lists: the value that it signals.
    pub(crate) value: u64,
}

/// The values that a list waits for.
pub(crate) type Points = SmallVec<[Point; 4]>;

/// A use of some bytes: a command of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// The list.
    pub(crate) at: Point,
    /// The command's index in it.
    pub(crate) command: u32,
}

impl Use {
    /// Which of its stream's uses it is: later ones are greater.
    pub(crate) fn position(self) -> (u64, u32) {
        (self.at.value, self.command)
    }
}
