//! What a device takes for itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a device has taken from its driver for itself, beside what it was asked to
/// [allocate](crate::Device::allocate): room for what lists bring along and report. A budget has to count it. It only
/// grows, and not without end: see [`Pieces`](crate::pieces::Pieces).
#[derive(Debug, Default)]
pub struct Overhead {
    bytes: AtomicU64,
    allocations: AtomicU64,
}

// Relaxed everywhere: the counters guard nothing.
impl Overhead {
    /// One driver allocation more.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.allocations.fetch_add(1, Ordering::Relaxed);
    }

    /// In bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The number of driver allocations.
    pub fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }
}
