//! Memory: budget -> segments -> blocks.
//!
//! A *segment* is one driver allocation, divided into *blocks* of one size class; it belongs to the stream that grew
//! it. Each stream keeps its free blocks in lists of its own, reached under its recorder's lock, so a hit touches
//! nothing shared. A free, from any thread, is one push on the owner's list of returns.
//!
//! A freed block keeps its uses (I5). Its own stream may take it again at once: the next operation on it is ordered
//! after them like any other. Blocks are neither split nor merged; a [`MutableStorage`] divides the uses of its block, and
//! unites them when it is freed.
//!
//! A miss runs with no lock held, in this order: grow within the budget; trim segments whose blocks are all free and
//! settled, on every stream; flush everything, wait for it, and trim again; fail with a report.

mod allocate;
pub(crate) mod budget;
mod class;
pub(crate) mod heap;
mod mutable;
mod storage;

pub(crate) use allocate::{allocate, freeze, unpooled};
pub use mutable::MutableStorage;
pub use storage::{Operand, Storage};

/// What a device's memory is used for, in bytes. See [`crate::Device::memory`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// The most that may be reserved.
    pub limit: u64,
    /// Taken from the device: live, cached and frozen.
    pub reserved: u64,
    /// In live tensors, rounded up to blocks; without frozen ones.
    pub live: u64,
    /// In frozen tensors.
    pub frozen: u64,
    /// Number of driver allocations.
    pub allocations: u64,
}
