//! One bound on the memory of all streams and models.

use crate::profile::hook::Hook;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::any::Any;
use std::sync::Arc;
use thalweg_hal::Memory;

/// Memory of the device that gives its share of the budget back when it is freed, which is when the last list that uses
/// it has settled.
#[derive(Debug)]
pub(crate) struct Budgeted {
    // Dropped in this order: freed first, given back then.
    memory: Arc<dyn Memory>,
    _share: Share,
}

/// Bytes of one allocation that are reserved.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Share {
    /// Takes `bytes` for one allocation if they are there.
    pub(crate) fn reserve(budget: &Arc<Budget>, bytes: u64) -> Option<Self> {
        budget.reserve(bytes).then(|| Self { budget: Arc::clone(budget), bytes })
    }

    /// The memory that it was reserved for.
    pub(crate) fn spend(self, memory: Arc<dyn Memory>) -> Arc<dyn Memory> {
        Arc::new(Budgeted { memory, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
        self.budget.profile.shrunk(self.bytes, self.budget.reserved());
    }
}

impl Memory for Budgeted {
    fn id(&self) -> u64 {
        self.memory.id()
    }
    fn bytes(&self) -> u64 {
        self.memory.bytes()
    }
    /// The backend's own memory.
    fn as_any(&self) -> &dyn Any {
        self.memory.as_any()
    }
}

/// Bytes and number of driver allocations taken from a device, and their limits.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    max_allocations: u64,
    /// Reserved before an allocation is made, given back after it is freed. Written by anyone.
    bytes: AtomicU64,
    /// Likewise.
    allocations: AtomicU64,
    /// The part of `bytes` that is frozen; for reports.
    frozen: AtomicU64,
    profile: Arc<Hook>,
}

impl Budget {
    pub(crate) fn new(limit: u64, max_allocations: u64, profile: Arc<Hook>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { limit, max_allocations, bytes: zero(), allocations: zero(), frozen: zero(), profile }
    }

    /// Takes `bytes` for one allocation if they are there.
    fn reserve(&self, bytes: u64) -> bool {
        if !add_within(&self.bytes, bytes, self.limit) {
            return false;
        }
        let counted = add_within(&self.allocations, 1, self.max_allocations);
        if !counted {
            // Relaxed, as in `add_within`.
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        counted
    }

    /// Gives an allocation's bytes back.
    fn release(&self, bytes: u64) {
        // Relaxed, as in `add_within`.
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.allocations.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts bytes, reserved already, as frozen, or no longer.
    pub(crate) fn count_frozen(&self, bytes: i64) {
        // Relaxed: a figure for reports. Adding a negative number wraps to the right result.
        self.frozen.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn reserved(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }

    pub(crate) fn frozen(&self) -> u64 {
        self.frozen.load(Ordering::Relaxed)
    }
}

/// Adds if the sum stays within the limit. Relaxed: the counters guard no data, only their own sum.
fn add_within(counter: &AtomicU64, amount: u64, limit: u64) -> bool {
    let add = |now: u64| now.checked_add(amount).filter(|sum| *sum <= limit);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_a_refusal_leaves_no_trace() {
        let budget = Budget::new(100, 2, Arc::new(Hook::new()));
        assert!(budget.reserve(60));
        assert!(!budget.reserve(41));
        assert!(budget.reserve(40));
        budget.release(40);
        assert!(budget.reserve(1));
        assert!(!budget.reserve(1), "a third allocation");
        assert_eq!((budget.reserved(), budget.allocations()), (61, 2));
        assert!(!budget.reserve(u64::MAX), "no overflow");
    }
}
