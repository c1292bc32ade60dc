//! Tests that need the inside of the runtime.

#[cfg(not(loom))]
mod audit;
#[cfg(not(loom))]
mod debug;
#[cfg(not(loom))]
mod graphs;
#[cfg(not(loom))]
mod held;
#[cfg(not(loom))]
mod listener;
#[cfg(loom)]
mod loom;
#[cfg(loom)]
mod loom_cache;
#[cfg(loom)]
mod loom_pending;
#[cfg(loom)]
mod loom_profile;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod overhead;
#[cfg(not(loom))]
mod pending;
#[cfg(not(loom))]
mod protocol;
#[cfg(not(loom))]
mod streams;
#[cfg(not(loom))]
mod stress;
#[cfg(not(loom))]
mod transfers;
#[cfg(not(loom))]
mod waits;
#[cfg(not(loom))]
pub(crate) mod world;

use std::sync::atomic::{AtomicBool, Ordering};

/// Protections that a test may take out, because they lie above the HAL's seam.
#[derive(Debug, Default)]
pub(crate) struct Sabotage {
    forget_freed_uses: AtomicBool,
    skip_foreign_flushes: AtomicBool,
    unlimited_credit: AtomicBool,
    drop_edges: AtomicBool,
    forget_runs: AtomicBool,
    empty_limbo_at_once: AtomicBool,
    skip_zeros: AtomicBool,
}

macro_rules! sabotage {
    ($($(#[$doc:meta])* $field:ident, $ask:ident;)*) => {
        impl Sabotage {
            $(
                $(#[$doc])*
                #[cfg(not(loom))]
                pub(crate) fn $field(&self) {
                    self.$field.store(true, Ordering::Relaxed);
                }

                pub(crate) fn $ask(&self) -> bool {
                    self.$field.load(Ordering::Relaxed)
                }
            )*
        }
    };
}

sabotage! {
    /// Blocks that are taken again come without their uses (I5).
    forget_freed_uses, forgets_freed_uses;
    /// What an operation depends on is not submitted before it is waited for (I1).
    skip_foreign_flushes, skips_foreign_flushes;
    /// A stream may have any number of lists in flight.
    unlimited_credit, gives_unlimited_credit;
    /// Lists forget what they read of other lists.
    drop_edges, drops_edges;
    /// A graph's memory does not remember its runs.
    forget_runs, forgets_runs;
    /// Frozen memory is used again as soon as it was dropped.
    empty_limbo_at_once, empties_limbo_at_once;
    /// New memory is handed out as it came.
    skip_zeros, skips_zeros;
}
