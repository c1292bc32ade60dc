//! What the runtime answers instead of doing the work.

use super::memory_stats::MemoryStats;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use thalweg_hal::ErrorClass;
use thalweg_hal::check::CommandError;

/// A result with the runtime's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call was refused or its data is not to be had.
///
/// Cloneable, because a failure follows the data to every waiter that needs it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device refused something, or is lost. An operation that answers this was not recorded.
    #[error("device: {0}")]
    Device(#[source] thalweg_hal::Error),
    /// The data was to be produced by work that failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The memory budget is used up, and nothing could be given back.
    #[error(transparent)]
    OutOfMemory(Box<OutOfMemory>),
    /// An operation's output is one of its other operands too.
    #[error("operand {written} is written and is also operand {other}; an output must be memory of its own")]
    Aliased {
        /// Index of the written operand.
        written: usize,
        /// Index of the other.
        other: usize,
    },
    /// An operation was given operands of another device than its stream's.
    #[error("operand {operand} is on another device than the stream; copy it over first")]
    OtherDevice {
        /// Index of the operand.
        operand: usize,
    },
    /// An operand is longer than the device can bind.
    #[error("operand {operand} has {bytes} bytes; {device} binds at most {limit}")]
    BindingTooLarge {
        /// Index of the operand.
        operand: usize,
        /// Its length in bytes.
        bytes: u64,
        /// The device's limit.
        limit: u64,
        /// The device's name.
        device: String,
    },
    /// An operation does not fit its kernel, or an operand its storage or the device.
    #[error("operation `{operation}`: {source}")]
    Command {
        /// The kernel's name, "copy", "fill" or "replay".
        operation: String,
        /// What was given, and what it takes.
        source: CommandError,
    },
    /// Something was asked for that cannot be.
    #[error("operation `{operation}`: {what}")]
    Malformed {
        /// The kernel's name, "allocate" or "read".
        operation: String,
        /// What does not fit.
        what: &'static str,
    },
    /// Frozen memory cannot be written.
    #[error("operand {operand} is frozen and cannot be written; write to a copy")]
    Frozen {
        /// Index of the operand.
        operand: usize,
    },
    /// Every stream of the device is taken.
    #[error("all {limit} streams of the device are in use; drop one, or share them between threads")]
    TooManyStreams {
        /// How many there can be.
        limit: usize,
    },
    /// A storage cannot be divided into such parts.
    #[error(
        "{bytes} bytes cannot be divided into parts of {part_bytes}: all parts have one length, which is a multiple of 256 \
         unless there is only one"
    )]
    Parts {
        /// The storage's length.
        bytes: u64,
        /// The length asked for.
        part_bytes: u64,
    },
    /// A mutable storage has no such parts.
    #[error("parts {}..{} asked for, of {parts}", asked.start, asked.end)]
    NoSuchPart {
        /// What was asked for; an empty range is refused too.
        asked: std::ops::Range<usize>,
        /// How many there are.
        parts: usize,
    },
    /// A closure that is captured asked for something that is not an operation.
    #[error("{operation} cannot be captured in a graph: capture operations alone, and do the rest before or after")]
    NotCapturable {
        /// What was asked for.
        operation: &'static str,
    },
    /// An operation that is captured uses memory from outside.
    #[error(
        "operand {operand} of a captured operation is neither made in the capture, nor one of the graph's inputs, nor frozen; \
         pass it as an input"
    )]
    NotAnInput {
        /// Index of the operand.
        operand: usize,
    },
    /// What is to be an output of a graph was not made in its capture.
    #[error("output {output} was not made in the capture; return what its operations write")]
    NotAnOutput {
        /// Index of the output.
        output: usize,
    },
    /// Memory of a capture was used outside of it. It has no bytes: those are made by a replay.
    #[error("operand {operand} belongs to the capture of a graph; use the outputs of a replay")]
    Captured {
        /// Index of the operand.
        operand: usize,
    },
    /// The capture that a stream or a storage belonged to is over.
    #[error("the capture is over; use the outputs of a replay")]
    CaptureEnded,
    /// A graph was given inputs that are not as those that it was captured with.
    #[error("inputs of {given:?} bytes given to a graph whose inputs have {expected:?}")]
    GraphInput {
        /// Their lengths.
        given: Vec<u64>,
        /// The lengths asked for.
        expected: Vec<u64>,
    },
    /// The call would have to wait for the device or for another thread, and was asked not to. Nothing has happened.
    #[error("the device is busy and the call was asked not to wait; try again when something has finished")]
    Busy,
    /// The device has been closed.
    #[error("the device is closed")]
    Closed,
    /// The device was closed before everything had run. What is left keeps its memory for as long as the process lives.
    #[error("the deadline passed with {lists} lists unfinished; the device is closed, and their memory is leaked")]
    Unfinished {
        /// How many lists have not run.
        lists: u64,
    },
    /// A value of a [`Cache`](crate::Cache), or a [`Pending`](crate::Pending) one, was asked for by the thread that is
    /// making it, or by one that this thread waits for: nobody would ever go on.
    #[error("a value was asked for by the closure that makes it, or on its behalf; make it from others")]
    Recursive,
    /// The closure that was to make a [`Pending`](crate::Pending) value panicked.
    #[error("the closure that makes this value of the device's results panicked; there is no value")]
    Abandoned,
    /// A device has one profiler, or other [`Listener`](crate::listener::Listener), at a time.
    #[error("{device} is being profiled already; stop that profiler, or wait until it has been stopped")]
    Profiling {
        /// The device's name.
        device: String,
    },
    /// Time was asked of an event that did not take it, or on a device without a clock.
    #[error("no time: {0}")]
    NoTime(&'static str),
    /// The deadline passed before the work was done. The work goes on.
    #[error("the deadline passed before the work was done")]
    Timeout,
}

impl Error {
    /// Who can do something about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Device(error) => error.class(),
            Self::Failed(failure) => failure.source.class(),
            Self::OutOfMemory(_) => ErrorClass::Memory,
            Self::TooManyStreams { .. } | Self::Busy | Self::Timeout => ErrorClass::Busy,
            Self::Closed | Self::Unfinished { .. } => ErrorClass::Device,
            _ => ErrorClass::Caller,
        }
    }

    /// Whether the same call may succeed later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Device(error) => error.is_retryable(),
            Self::OutOfMemory(report) => report.retry_can_help,
            Self::TooManyStreams { .. } | Self::Busy | Self::Timeout => true,
            _ => false,
        }
    }
}

impl From<thalweg_hal::Error> for Error {
    fn from(error: thalweg_hal::Error) -> Self {
        Self::Device(error)
    }
}

/// Work that failed: told to everybody who waits for data that depends on it, and to nobody else.
#[derive(Clone, thiserror::Error)]
#[error("{source} (first failed: {operation} on stream {stream}, list {value})")]
pub struct Failure {
    /// The operation that first failed: a kernel's name, "copy" or "fill".
    pub operation: Cow<'static, str>,
    /// The stream on which the work first failed.
    pub stream: u32,
    /// The list, by its value on that stream's timeline.
    pub value: u64,
    /// What the device said.
    pub source: Arc<thalweg_hal::Error>,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({self})")
    }
}

/// Who holds the memory when there is no more, and what was tried.
#[derive(Clone, thiserror::Error)]
#[cfg_attr(test, derive(Default))]
#[non_exhaustive]
pub struct OutOfMemory {
    /// Bytes that were asked for, as the allocator rounds them.
    pub requested: u64,
    /// What the memory is used for.
    pub stats: MemoryStats,
    /// What each stream has, of those that have anything.
    pub streams: Vec<StreamMemory>,
    /// What each pool has, of those that have anything. What no pool was named for is in "blocks", the streams', and in
    /// "default", frozen.
    pub pools: Vec<PoolMemory>,
    /// Whether work that was under way was waited for.
    pub waited: bool,
    /// Bytes that went back to the device to make room.
    pub gave_back: u64,
    /// How often the device itself refused.
    pub refusals: u64,
    /// What it said last, if it did.
    pub device: Option<thalweg_hal::Error>,
    /// Whether the same call can succeed later, once others have dropped tensors. If not, it fits in no case beside
    /// what is frozen and what graphs have.
    pub retry_can_help: bool,
}

/// A stream's memory, in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamMemory {
    /// The stream.
    pub stream: u32,
    /// Bytes in live tensors.
    pub live: u64,
    /// Bytes that lie between live ones, or are still in use.
    pub cached: u64,
}

/// A pool's memory, in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolMemory {
    /// The pool's name.
    pub name: Arc<str>,
    /// Bytes taken from the device.
    pub reserved: u64,
    /// The bytes among them that are free.
    pub free: u64,
}

/// The sums; the rest is in the message.
impl fmt::Debug for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutOfMemory")
            .field("requested", &self.requested)
            .field("limit", &self.stats.limit)
            .field("reserved", &self.stats.reserved)
            .field("frozen", &self.stats.frozen)
            .field("free", &self.stats.free)
            .field("retry_can_help", &self.retry_can_help)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requested = self.requested;
        let MemoryStats { limit, reserved, frozen, limbo, free, largest_free, allocations, max_allocations, .. } =
            self.stats;
        write!(
            f,
            "out of memory: {requested} bytes asked for; {reserved} of {limit} reserved in {allocations} of \
             {max_allocations} allocations, {frozen} of them frozen and {limbo} dropped but in use; {free} free, at most \
             {largest_free} in a piece"
        )?;
        for StreamMemory { stream, live, cached } in &self.streams {
            write!(f, "; stream {stream} has {live} bytes in live tensors and {cached} cached")?;
        }
        for PoolMemory { name, reserved, free } in &self.pools {
            write!(f, "; pool `{name}` has {reserved} bytes, {free} of them free")?;
        }
        if self.waited {
            write!(f, "; what was recorded before has run")?;
        }
        if self.gave_back > 0 {
            write!(f, "; {} bytes went back to the device to make room", self.gave_back)?;
        }
        if let Some(device) = &self.device {
            write!(f, "; the device refused {} times and said: {device}", self.refusals)?;
        }
        let retry = if self.retry_can_help {
            "Try again when others have dropped tensors"
        } else {
            "No retry can help: it does not fit beside what is frozen and in graphs"
        };
        write!(f, ". {retry}; use smaller batches, or raise the limit (Config::memory_limit, Config::max_allocations)")
    }
}
