//! One bound on the memory of all streams and models.

use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::trace::hook::Hook;
use std::any::Any;
use std::sync::Arc;
use thalweg_hal::{Memory, MemoryKind, Overhead};

/// Memory of the device that gives its share of the budget back when it is freed, which is when the last list that uses
/// it has settled.
#[derive(Debug)]
pub(crate) struct Budgeted {
    // Dropped in this order: freed first, given back then.
    memory: Arc<dyn Memory>,
    _reservation: Reservation,
}

/// Bytes of one allocation that are reserved.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Takes `bytes` for one allocation if they are there.
    pub(crate) fn reserve(budget: &Arc<Budget>, bytes: u64) -> Option<Self> {
        budget.reserve(bytes).then(|| Self { budget: Arc::clone(budget), bytes })
    }

    /// The memory that it was reserved for.
    pub(crate) fn spend(self, memory: Arc<dyn Memory>) -> Arc<dyn Memory> {
        Arc::new(Budgeted { memory, _reservation: self })
    }
}

impl Drop for Reservation {
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
    fn kind(&self) -> MemoryKind {
        self.memory.kind()
    }
    /// The backend's own memory.
    fn as_any(&self) -> &dyn Any {
        self.memory.as_any()
    }
}

/// Bytes and number of driver allocations taken from a device, and their limits. What the device has taken for itself
/// is within the limits too. It grows without asking, seldom and not far: what is above a limit then is made up for by
/// the next that asks.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    /// Reserved before an allocation is made, given back after it is freed. Written by anyone.
    bytes: AtomicU64,
    /// Likewise.
    allocations: AtomicU64,
    /// The most that `bytes` ever was. Written by anyone, after `bytes`.
    peak: AtomicU64,
    /// What the device has taken for itself. Written by the device.
    overhead: Arc<Overhead>,
    profile: Arc<Hook>,
}

/// What may be taken from the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most bytes.
    pub(crate) hard: u64,
    /// Above it, what is cached is used up before more is taken.
    pub(crate) soft: u64,
    /// The most allocations.
    pub(crate) allocations: u64,
}

impl Budget {
    pub(crate) fn new(limits: Limits, overhead: Arc<Overhead>, profile: Arc<Hook>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { limits, bytes: zero(), allocations: zero(), peak: zero(), overhead, profile }
    }

    /// Takes `bytes` for one allocation if they are there.
    fn reserve(&self, bytes: u64) -> bool {
        let (overhead, hard) = (self.overhead.bytes(), self.limits.hard);
        let Some(taken) = add_within(&self.bytes, bytes, hard.saturating_sub(overhead)) else { return false };
        let allocations = self.limits.allocations.saturating_sub(self.overhead.allocations());
        if add_within(&self.allocations, 1, allocations).is_none() {
            // Relaxed, as in `add_within`.
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        // Relaxed: a figure for reports.
        self.peak.fetch_max(taken + overhead, Ordering::Relaxed);
        true
    }

    /// How much has to go back first if `bytes` more are to stay within the soft limit.
    pub(crate) fn over_soft(&self, bytes: u64) -> u64 {
        self.reserved().saturating_add(bytes).saturating_sub(self.limits.soft)
    }

    /// Whether `bytes` could be reserved once so much has been given back.
    pub(crate) fn fits_without(&self, bytes: u64, given_back: (u64, u64)) -> bool {
        let (reserved, allocations) = (self.reserved(), self.allocations());
        reserved.saturating_sub(given_back.0).checked_add(bytes).is_some_and(|sum| sum <= self.limits.hard)
            && allocations.saturating_sub(given_back.1) < self.limits.allocations
    }

    /// Gives an allocation's bytes back.
    fn release(&self, bytes: u64) {
        // Relaxed, as in `add_within`.
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.allocations.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Bytes taken, the device's own among them.
    pub(crate) fn reserved(&self) -> u64 {
        self.taken() + self.overhead()
    }

    /// Bytes taken from the device, without its own.
    pub(crate) fn taken(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that the device has taken for itself.
    pub(crate) fn overhead(&self) -> u64 {
        self.overhead.bytes()
    }

    /// Allocations, the device's own among them.
    pub(crate) fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed) + self.overhead.allocations()
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

/// Adds if the sum stays within the limit, and says what it is then. Relaxed: the counters guard no data, only their
/// own sum.
fn add_within(counter: &AtomicU64, amount: u64, limit: u64) -> Option<u64> {
    let add = |now: u64| now.checked_add(amount).filter(|sum| *sum <= limit);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok().map(|before| before + amount)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    // audit: C25, C32
    #[test]
    fn both_limits_hold_and_a_refusal_leaves_no_trace() {
        let limits = Limits { hard: 100, soft: 80, allocations: 2 };
        let budget = Budget::new(limits, Arc::default(), Arc::new(Hook::new()));
        assert!(budget.reserve(60));
        assert!(!budget.reserve(41));
        assert!(budget.reserve(40));
        budget.release(40);
        assert!(budget.reserve(1));
        assert!(!budget.reserve(1), "a third allocation");
        assert_eq!((budget.reserved(), budget.allocations()), (61, 2));
        assert!(!budget.reserve(u64::MAX), "no overflow");
        assert_eq!(budget.peak(), 100);
        assert_eq!([19, 20, u64::MAX].map(|bytes| budget.over_soft(bytes)), [0, 1, u64::MAX - 80]);
        assert!(budget.fits_without(99, (60, 1)) && !budget.fits_without(100, (60, 1)));
        assert!(!budget.fits_without(1, (0, 0)), "a third allocation");
    }

    // audit: C32
    #[test]
    fn what_the_device_takes_for_itself_is_within_the_limits() {
        let overhead = Arc::new(Overhead::default());
        let limits = Limits { hard: 100, soft: 80, allocations: 3 };
        let budget = Budget::new(limits, Arc::clone(&overhead), Arc::new(Hook::new()));
        overhead.add(30);
        assert!(!budget.reserve(71) && budget.reserve(60));
        assert_eq!((budget.taken(), budget.overhead(), budget.reserved(), budget.allocations()), (60, 30, 90, 2));
        assert!(budget.over_soft(0) == 10 && budget.fits_without(10, (0, 0)) && !budget.fits_without(11, (0, 0)));
        assert!(budget.reserve(10));
        assert!(!budget.reserve(0), "a third allocation of ours, and one of the device's");
        assert_eq!(budget.peak(), 100);
        // It has grown past the limits: nothing more is taken until enough has been given back.
        overhead.add(50);
        assert_eq!((budget.reserved(), budget.allocations()), (150, 4));
        budget.release(60);
        assert!(!budget.reserve(11) && !budget.reserve(10), "three allocations");
        assert!(!budget.fits_without(10, (0, 0)) && budget.fits_without(10, (0, 1)));
        budget.release(10);
        assert!(budget.reserve(20) && !budget.reserve(1));
    }
}
