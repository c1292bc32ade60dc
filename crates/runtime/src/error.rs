//! What the runtime answers instead of doing the work.

use std::fmt;
use std::sync::Arc;

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
    /// An operation does not fit its kernel, or an operand its storage.
    #[error("operation `{operation}`: {what}")]
    Malformed {
        /// The kernel's name, "copy", "fill" or "read".
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
    /// The deadline passed before the work was done. The work goes on.
    #[error("the deadline passed before the work was done")]
    Timeout,
}

impl Error {
    /// Whether the same call may succeed later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Device(error) => error.is_retryable(),
            Self::OutOfMemory(_) | Self::TooManyStreams { .. } | Self::Timeout => true,
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
#[derive(Clone, Debug, thiserror::Error)]
#[error("{source} (first failed on stream {stream}, list {value})")]
pub struct Failure {
    /// The stream on which the work first failed.
    pub stream: u32,
    /// The list, by its value on that stream's timeline.
    pub value: u64,
    /// What the device said.
    pub source: Arc<thalweg_hal::Error>,
}

/// Who holds the memory when there is no more.
#[derive(Clone, Debug, thiserror::Error)]
pub struct OutOfMemory {
    /// Bytes that were asked for, as the allocator rounds them.
    pub requested: u64,
    /// The budget's limit in bytes.
    pub limit: u64,
    /// Bytes taken from the device, in use or cached.
    pub reserved: u64,
    /// Bytes of frozen memory (weights), part of `reserved`.
    pub frozen: u64,
    /// Bytes in live tensors of each stream, where there are any.
    pub live: Vec<(u32, u64)>,
    /// What the device said, if the limit was the device's and not the budget's.
    pub device: Option<thalweg_hal::Error>,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requested, limit, reserved, frozen, live, device } = self;
        write!(
            f,
            "out of memory: {requested} bytes asked for, {reserved} of {limit} reserved, {frozen} of them frozen"
        )?;
        for (stream, bytes) in live {
            write!(f, "; stream {stream} has {bytes} bytes in live tensors")?;
        }
        if let Some(device) = device {
            write!(f, "; the device said: {device}")?;
        }
        write!(f, ". Drop tensors, use smaller batches, or raise the limit (Config::memory_limit)")
    }
}
