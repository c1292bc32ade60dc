//! The hardware abstraction layer: what a device has to do for Thalweg, and nothing else.
//!
//! # Design choices
//!
//! - **Object-safe.** [`Device`], [`Queue`], [`Timeline`], [`Doorbell`], [`Memory`] and [`Pipeline`] are traits behind
//!   `Arc<dyn _>` and `Box<dyn _>`, so that nothing above has a type parameter for the backend.
//! - **Lists, not encoders.** Work reaches a device as a sealed [`List`]: plain data that nobody can append to.
//!   [`Queue::submit`] is the only call that turns one into a driver's commands, from beginning to end, on one thread.
//! - **Timelines, not fences.** Completion is a `u64` that only rises, one for each queue. A wait names a value that
//!   has been submitted already, so the device never waits for the host. What the host raises is another object, a
//!   [`Doorbell`].
//! - **The caller orders.** A device may run the commands between two barriers in any order, may overlap the lists of
//!   one queue, and may overlap queues. [`Command::Barrier`] and the waits of a [`Submission`] are all the order there
//!   is. A barrier orders against every earlier command of its queue, so one at the start of a list orders that list
//!   after the queue's earlier lists.
//! - **Reports travel with the value.** What a list has to say of its commands, a failure or a time, is on its timeline
//!   before the value can be seen ([`Timeline::take_reports`]). A [`Command::Timestamp`] is a command like others, and
//!   barriers say where it stands.
//! - **The caller checks.** What a command has to be is one set of rules ([`check`]). The caller applies them once,
//!   when it records. A device takes them for granted.
//! - **The caller counts.** A queue has a limit on lists in flight ([`Limits::max_lists_in_flight`]), and a device is
//!   not asked to notice when it is passed.
//! - **Bindings are ranges.** Memory, byte offset and length; a kernel cannot reach a byte outside its bindings,
//!   because its indices are clamped, or because its declaration promises so ([`Wgsl::unchecked`]). Element
//!   offsets and strides travel in the parameters.
//! - **Kernels say what they use.** A module gets what it declares of what not every device has ([`Features`]), and a
//!   device refuses a pipeline for what it lacks ([`DeviceInfo::support`]).
//! - **Transfers are commands.** Memory has a kind ([`MemoryKind`]): what kernels use, and what the host reads and
//!   writes. Copies between the two, and the zeros of new memory, are commands like others. [`Device::read`] and
//!   [`Device::write`] are the only ways of the host to a memory's bytes, and reach only what it sees.
//!
//! # Backends
//!
//! `ARCHITECTURE.md` in the repository says, method by method, what a backend must do, and with which calls the
//! processor's, Vulkan's and, one day, Metal's do it. What those for GPUs share is here: [`failures`], [`pieces`], and
//! with their features `disk` and `shader`.
//!
//! # Doubles
//!
//! [`validate`] wraps any device and checks each submission against a happens-before model of its own. Others, for
//! tests alone, are the crate `thalweg-doubles`.

pub mod check;
mod command;
mod device;
#[cfg(any(feature = "spirv", feature = "msl"))]
pub mod disk;
pub mod environment;
mod error;
pub mod failures;
pub mod host;
mod kernel;
mod list;
mod overhead;
pub mod pieces;
pub mod process;
#[cfg(any(feature = "spirv", feature = "msl"))]
pub mod shader;
pub mod validate;

// For files that two crates compile.
#[cfg(test)]
extern crate self as thalweg_hal;

pub use command::{Access, Binding, Command, IndexRange};
pub use device::{
    BINDING_ALIGNMENT, Device, DeviceInfo, DeviceKind, Doorbell, HostAccess, KernelSupport, Limits, Listener,
    MAX_BINDINGS, MAX_PARAMETER_BYTES, Memory, MemoryKind, Pipeline, Queue, Report, Reported, Submission, Timeline,
    TimelinePoint, Timestamps, own, unique_id,
};
pub use error::{Error, ErrorClass, KernelFailure, Result, Violation};
pub use kernel::{
    Bounds, Features, Groups, HostCall, HostFn, HostInputs, HostOutputs, KernelSource, MAX_GROUPS, StaticKernel, Wgsl,
    WgslModule,
};
pub use list::{List, PARAMETER_ALIGNMENT, Prepared, Step};
pub use overhead::Overhead;
