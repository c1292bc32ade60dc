//! Tests that need the inside of the runtime.

#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod protocol;
#[cfg(not(loom))]
mod stress;
#[cfg(not(loom))]
mod world;

use std::sync::atomic::{AtomicBool, Ordering};

/// Protections that a test may take out, because they lie above the HAL's seam.
#[derive(Debug, Default)]
pub(crate) struct Sabotage {
    forget_freed_stamps: AtomicBool,
}

impl Sabotage {
    /// Blocks that are taken again come without their uses (I5).
    #[cfg(not(loom))]
    pub(crate) fn forget_freed_stamps(&self) {
        self.forget_freed_stamps.store(true, Ordering::Relaxed);
    }

    pub(crate) fn forgets_freed_stamps(&self) -> bool {
        self.forget_freed_stamps.load(Ordering::Relaxed)
    }
}
