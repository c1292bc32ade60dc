//! What can go wrong at the device, as values that can be cloned and handed to every waiter.

use crate::check::CommandError;
use std::borrow::Cow;

/// A result with the HAL's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a device can answer instead of doing the work.
///
/// Cloneable, because one failure is told to every waiter for data that depends on it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device has no room for an allocation, or has reached its limit on the number of allocations.
    #[error("{device}: out of memory allocating {bytes} bytes")]
    OutOfMemory {
        /// The device's name.
        device: String,
        /// The size asked for, in bytes.
        bytes: u64,
    },
    /// The device is gone; nothing submitted to it will complete.
    #[error("{device}: device lost")]
    DeviceLost {
        /// The device's name.
        device: String,
    },
    /// A kernel reported a failure or panicked; what its list wrote is not to be used.
    #[error("kernel `{kernel}` failed: {failure}")]
    Kernel {
        /// The kernel's name.
        kernel: String,
        /// What the kernel said.
        failure: KernelFailure,
    },
    /// The device cannot run the kernel: it has only a form for devices of another sort.
    #[error("{device}: kernel `{kernel}` has no {form}, which is what this device runs")]
    NoForm {
        /// The device's name.
        device: String,
        /// The kernel's name.
        kernel: String,
        /// "host function" or "WGSL".
        form: &'static str,
    },
    /// A kernel does not compile, or does not declare what it says it declares.
    #[error("kernel `{kernel}` does not compile: {message}")]
    Compile {
        /// The kernel's name.
        kernel: String,
        /// What is wrong, and where: line and column, if it is in the source.
        message: std::sync::Arc<str>,
    },
    /// A setting, or a variable of the environment, asks for what there is not.
    #[error("{variable} is {given:?}; expected {expected}")]
    Setting {
        /// The variable, or what is set.
        variable: &'static str,
        /// Its value.
        given: String,
        /// What it may be.
        expected: Cow<'static, str>,
    },
    /// The driver refused a call for a reason of its own.
    #[error("{device}: {call} failed: {message}")]
    Driver {
        /// The device's name.
        device: String,
        /// The driver's function.
        call: &'static str,
        /// What the driver said.
        message: String,
    },
    /// A submission or a host access breaks the contract of the HAL.
    #[error("{0}")]
    Invalid(#[from] Violation),
    /// An object of another device or backend was handed in.
    #[error("{what} belongs to another device than {device}")]
    ForeignObject {
        /// The device that was asked.
        device: String,
        /// The kind of object: "memory", "timeline", "doorbell", "pipeline".
        what: &'static str,
    },
    /// The system refused a thread that the device needs.
    #[error("{device}: cannot start a thread: {source}")]
    Thread {
        /// The device's name.
        device: String,
        /// What the system said.
        source: std::sync::Arc<std::io::Error>,
    },
    /// This process is a fork of one that had a device.
    #[error(
        "this process was forked from one that had a device open, and it has none of its threads; open devices after the \
         fork only, or start a program of its own (exec, or \"spawn\" in Python's multiprocessing)"
    )]
    ForkedChild,
}

/// Who can do something about an error, as a server's status code or a client's decision to retry needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// What was given or asked for cannot be: the same call fails again. Nothing is wrong with the device.
    Caller,
    /// There is too much to do at the moment, or a deadline has passed.
    Busy,
    /// There is no memory left for it.
    Memory,
    /// The device or its driver fails, is lost, or has been closed.
    Device,
    /// A contract inside this library was broken.
    Bug,
}

impl Error {
    /// Who can do something about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::OutOfMemory { .. } => ErrorClass::Memory,
            Self::DeviceLost { .. } | Self::Driver { .. } => ErrorClass::Device,
            Self::Kernel { .. }
            | Self::NoForm { .. }
            | Self::Compile { .. }
            | Self::Setting { .. }
            | Self::ForkedChild => ErrorClass::Caller,
            Self::Invalid(_) | Self::ForeignObject { .. } => ErrorClass::Bug,
            Self::Thread { .. } => ErrorClass::Busy,
        }
    }

    /// Whether the same call may succeed later without anything being changed: for a shortage of memory or threads.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. } | Self::Thread { .. })
    }
}

/// Why a kernel failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct KernelFailure {
    /// What was given and what was expected, in one sentence.
    pub message: Cow<'static, str>,
}

impl KernelFailure {
    /// A failure with this message.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into() }
    }
}

/// A breach of the HAL's contract, found by [`crate::List::check`], by [`crate::validate`] or by a backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A command breaks a rule of its own.
    #[error("command {command}: {error}")]
    Command {
        /// Index of the command in its list.
        command: usize,
        /// Which rule.
        #[source]
        error: CommandError,
    },
    /// A command names what is not in its list's tables, or stands where it cannot.
    #[error("command {command}: {what}")]
    Malformed {
        /// Index of the command in its list.
        command: usize,
        /// Which part.
        what: &'static str,
    },
    /// The host asks for bytes past the end of a memory.
    #[error("bytes {offset}..{} of a memory of {memory_bytes} bytes", offset.saturating_add(*bytes))]
    OutOfBounds {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        bytes: u64,
        /// The memory's size.
        memory_bytes: u64,
    },
    /// A wait names a value that no submitted list reaches: the device could wait for ever (I1).
    #[error("wait for value {value} of timeline {timeline}, but only {submitted} is submitted")]
    WaitNotSubmitted {
        /// The timeline's id.
        timeline: u64,
        /// The value waited for.
        value: u64,
        /// The highest value that a submitted list signals.
        submitted: u64,
    },
    /// A list's value does not raise its queue's timeline.
    #[error("a list with value {value} on timeline {timeline}, which has one with value {submitted} already")]
    ValueNotRising {
        /// The timeline's id.
        timeline: u64,
        /// The list's value.
        value: u64,
        /// The highest value so far.
        submitted: u64,
    },
    /// A queue has been given more lists than the device keeps in flight ([`crate::Limits::max_lists_in_flight`]).
    #[error("the queue has {limit} lists in flight, which is all that the device takes; wait for one of them first")]
    TooManyInFlight {
        /// The device's limit.
        limit: u64,
    },
    /// A command touches bytes that an earlier command touched, one of the two writes, and nothing orders them.
    #[error(
        "command {command} of the list signalling {timeline}:{value} touches bytes {start}..{end} of memory {memory} \
         with no barrier or wait between it and {other}"
    )]
    Unordered {
        /// The timeline that the list signals.
        timeline: u64,
        /// The value that the list signals.
        value: u64,
        /// Index of the command in its list.
        command: usize,
        /// The memory's id.
        memory: u64,
        /// First byte of the overlap.
        start: u64,
        /// End of the overlap.
        end: u64,
        /// The earlier access, in words.
        other: String,
    },
    /// A command, or the host, reads bytes that nothing has written since their memory was allocated.
    #[error("command {command} reads byte {byte} of memory {memory}, which nothing has written")]
    Unwritten {
        /// Index of the command in its list; 0 for the host.
        command: usize,
        /// The memory's id.
        memory: u64,
        /// The first such byte.
        byte: u64,
    },
    /// The host reads or writes memory that it does not see.
    #[error(
        "the host {access} memory {memory}, which it does not see; copy to or from memory of the kind `Host` by a command"
    )]
    NotVisible {
        /// "reads" or "writes".
        access: &'static str,
        /// The memory's id.
        memory: u64,
    },
    /// The host reads or writes bytes that a submitted command may still touch.
    #[error("the host {access} bytes {start}..{end} of memory {memory} while {other} may still be running")]
    HostAccess {
        /// "reads" or "writes".
        access: &'static str,
        /// The memory's id.
        memory: u64,
        /// First byte.
        start: u64,
        /// End.
        end: u64,
        /// The access in flight, in words.
        other: String,
    },
}
