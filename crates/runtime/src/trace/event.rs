//! What is taken note of, as a handful of numbers, so that a ring's slot is a fixed number of words.

/// A time that is not known. See [`Event`].
pub const NEVER: u64 = u64::MAX;
/// Words of an event.
pub(crate) const WORDS: usize = 6;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Kind {
    /// An operation was recorded.
    Operation,
    /// A command ran on the device.
    Kernel,
    /// A list settled.
    List,
    /// A list was handed over.
    Submit,
    /// A thread waited for a list.
    Wait,
    /// A kernel was compiled.
    Compile,
    /// Memory was taken from the driver.
    Grow,
    /// Memory was given back to the driver.
    Shrink,
    /// A block was handed out.
    Allocate,
    /// A block was freed.
    Free,
    /// What the program named.
    Range,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Operation,
        Self::Kernel,
        Self::List,
        Self::Submit,
        Self::Wait,
        Self::Compile,
        Self::Grow,
        Self::Shrink,
        Self::Allocate,
        Self::Free,
        Self::Range,
    ];
}

/// One event. All kinds have the same fields. What a field means depends on the kind; where it means nothing, it is 0.
///
/// | kind | `name` | `stream` | `command` | `value` | `start`, `end` | `extra` |
/// |---|---|---|---|---|---|---|
/// | `Operation` | kernel | yes | index in its list | its list | host | |
/// | `Kernel` | kernel | yes | index in its list | its list | device | |
/// | `List` | | yes | commands | the list | device, or [`NEVER`] | host: seen to have settled |
/// | `Submit` | | yes | commands | the list | host | |
/// | `Wait` | | yes | | the list | host | |
/// | `Compile` | kernel | | | | host | |
/// | `Grow` | | | | bytes | host | bytes reserved after it |
/// | `Shrink` | | | | bytes | host | bytes reserved after it |
/// | `Allocate`, `Free` | | yes | | bytes | host | |
/// | `Range` | range | | | | host | |
///
/// Times are nanoseconds: by the host's clock since the listener was made, by the device's since an epoch of its own.
/// Nothing is known of how the two relate. A list is told by its stream and its value, and an operation by the index of
/// its command besides; what ran on the device for an operation has the same three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// The number of the kernel's or the range's name; see [`Reader::names`](crate::listener::Reader::names).
    pub name: u32,
    /// The stream's number.
    pub stream: u32,
    /// The index of the command in its list, or how many commands the list has.
    pub command: u32,
    /// The value that the list raises its stream's timeline to, or a number of bytes.
    pub value: u64,
    /// When it began.
    pub start: u64,
    /// When it ended, no earlier.
    pub end: u64,
    /// One more number, of some kinds.
    pub extra: u64,
}

impl Event {
    pub(crate) fn new(kind: Kind, start: u64, end: u64) -> Self {
        Self { kind, name: 0, stream: 0, command: 0, value: 0, start, end, extra: 0 }
    }

    pub(crate) fn words(self) -> [u64; WORDS] {
        let Self { kind, name, stream, command, value, start, end, extra } = self;
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [pair(kind as u32, name), pair(stream, command), value, start, end, extra]
    }

    /// What [`words`](Self::words) made.
    pub(crate) fn of_words([kind, place, value, start, end, extra]: [u64; WORDS]) -> Self {
        let (kind, name) = (kind as u32 as usize, (kind >> 32) as u32);
        let (stream, command) = (place as u32, (place >> 32) as u32);
        let kind = *Kind::ALL.get(kind).expect("a slot is read after it was written whole");
        Self { kind, name, stream, command, value, start, end, extra }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back_from_its_words() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for (index, kind) in Kind::ALL.into_iter().cycle().take(1000).enumerate() {
            assert_eq!(Kind::ALL[kind as usize], kind);
            let event = Event {
                kind,
                name: random.u32(..),
                stream: random.u32(..),
                command: random.u32(..),
                value: random.u64(..),
                start: random.u64(..),
                end: random.u64(..),
                extra: random.u64(..),
            };
            assert_eq!(Event::of_words(event.words()), event, "event {index} of seed {seed}");
        }
    }
}
