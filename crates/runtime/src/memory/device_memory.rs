//! A device's memory: the budget, the arena, the streams' heaps, and the turn to grow.
//!
//! | field | written by | under |
//! |---|---|---|
//! | `budget` | a growth reserves, the last drop of a memory gives back | atomics of its own |
//! | `arena` | a miss, a gathering, a drop of frozen storage | its lock, a leaf: it is taken under a heap's too |
//! | `heaps` | an allocation on the stream, a gathering | each its lock |
//! | `growth` | a growth, from the reservation to the entry in the arena | its turn |
//! | `hand` | a thread that gathers | nothing: a hint |
//! | `waits`, `reclaimed`, `decayed` | each wait, reclaim, decay | nothing: figures |

use super::arena::{Arena, HOST};
use super::budget::{Budget, Limits};
use super::class::Scale;
use super::heap::StreamHeap;
use super::shortage::Transfers;
use crate::base::config::Config;
use crate::base::memory_stats::MemoryStats;
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::base::timed_mutex::TimedMutex;
use crate::trace::hook::Hook;
use std::sync::{Arc, OnceLock};
use thalweg_hal::BINDING_ALIGNMENT;

/// As much memory for the host as transfers take, if nothing else is said: what the device copies while the host fills
/// more.
const STAGING: u64 = 64 << 20;
/// The least: four pieces of 128 KiB.
const LEAST_STAGING: u64 = 512 << 10;

/// This part of the limit is kept for blocks that are not large.
const KEPT_PART: u64 = 32;

/// See the module.
#[derive(Debug)]
pub(crate) struct DeviceMemory {
    pub(crate) hal: Arc<dyn thalweg_hal::Device>,
    pub(crate) trace: Arc<Hook>,
    /// By stream; made just before it.
    heaps: Box<[OnceLock<StreamHeap>]>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) arena: Mutex<Arena>,
    /// What sizes depend on.
    pub(crate) scale: Scale,
    /// One growth at a time: a thread that waited for it looks again first.
    pub(super) growth: TimedMutex<()>,
    /// The most bytes of memory that the host reads and writes, of the budget's.
    pub(crate) staging_limit: u64,
    /// What goes through staging at the moment.
    pub(crate) transfers: Transfers,
    /// The stream at which the next gathering begins.
    hand: AtomicUsize,
    waits: AtomicU64,
    reclaimed: AtomicU64,
    decayed: AtomicU64,
    #[cfg(test)]
    pub(crate) sabotage: Arc<crate::tests::Sabotage>,
}

// Relaxed everywhere: figures for people.
impl DeviceMemory {
    pub(crate) fn new(config: &Config, hal: &Arc<dyn thalweg_hal::Device>, trace: &Arc<Hook>, streams: usize) -> Self {
        let (overhead, device) = (Arc::clone(hal.overhead()), &hal.info().limits);
        let hard = config.memory_limit.unwrap_or(device.memory_bytes / 10 * 9);
        let soft = config.memory_soft_limit.unwrap_or(hard / 4 * 3).min(hard);
        let allocations = config.max_allocations.unwrap_or(u64::MAX).min(device.max_allocations);
        let zero = || AtomicU64::new(0);
        let staging = config.staging_limit.unwrap_or((hard / 16).min(STAGING));
        Self {
            hal: Arc::clone(hal),
            trace: Arc::clone(trace),
            heaps: (0..streams).map(|_| OnceLock::new()).collect(),
            #[cfg(test)]
            sabotage: Arc::default(),
            budget: Arc::new(Budget::new(Limits { hard, soft, allocations }, overhead, Arc::clone(trace))),
            arena: Mutex::new(Rank::Arena, Arena::new()),
            scale: Scale::of(hard),
            growth: TimedMutex::new(Rank::Growth, ()),
            transfers: Transfers::default(),
            staging_limit: staging.clamp(LEAST_STAGING.min(hard), hard) / BINDING_ALIGNMENT * BINDING_ALIGNMENT,
            hand: AtomicUsize::new(0),
            waits: zero(),
            reclaimed: zero(),
            decayed: zero(),
        }
    }

    /// What of the budget is left for staging, whatever else is taken.
    pub(crate) fn kept_for_staging(&self) -> u64 {
        (self.staging_limit / 2).min(self.budget.limits().hard / 16) / BINDING_ALIGNMENT * BINDING_ALIGNMENT
    }

    /// What of the budget is left for small and common blocks, however much the large ones would like.
    pub(crate) fn kept_for_others(&self) -> u64 {
        self.budget.limits().hard / KEPT_PART
    }

    /// A stream's memory. It has been opened.
    #[inline]
    pub(crate) fn heap(&self, stream: u32) -> &StreamHeap {
        self.heaps[stream as usize].get().expect("a stream has a heap before anybody can name it")
    }

    /// A stream is made.
    pub(crate) fn open_heap(&self, stream: u32) {
        self.heaps[stream as usize].get_or_init(|| StreamHeap::new(stream));
    }

    /// Gives all of it back to the driver, but for what others hold: the device is going.
    pub(crate) fn clear(&mut self) {
        self.heaps = Box::default();
        let segments = self.arena.get_mut().clear();
        drop(segments); // with nothing locked
    }

    /// The heaps of all streams, by rising number.
    pub(crate) fn heaps(&self) -> impl Iterator<Item = (u32, &StreamHeap)> {
        (0..).zip(&self.heaps).filter_map(|(stream, heap)| Some((stream, heap.get()?)))
    }

    /// Bytes of all streams' blocks in live storages.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.heaps().map(|(stream, heap)| heap.usage(stream).live).sum()
    }

    /// What the memory is used for.
    pub(crate) fn stats(&self) -> MemoryStats {
        let streams: Vec<_> = self.heaps().map(|(stream, heap)| heap.usage(stream)).collect();
        let mut stats = self.arena_stats(&self.arena.lock());
        streams.into_iter().for_each(|stream| stream.add_to(&mut stats));
        stats
    }

    /// With which of so many streams the next gathering begins: each time another, so that none is always the first to
    /// lose what it keeps.
    pub(crate) fn next_hand(&self, streams: usize) -> usize {
        self.hand.fetch_add(1, Ordering::Relaxed) % streams.max(1)
    }

    /// Whether more is reserved than should be; all that is in the arena by now is counted.
    pub(crate) fn is_pressed(&self) -> bool {
        let _entered = self.arena.lock();
        self.budget.over_soft(0) > 0
    }

    pub(crate) fn count_wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_reclaimed(&self, spans: u64) {
        self.reclaimed.fetch_add(spans, Ordering::Relaxed);
    }

    pub(crate) fn count_decayed(&self, bytes: u64) {
        self.decayed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether segments are on their way back to the device, for the thread that has the turn to grow: bytes are
    /// reserved and in no segment. And how many have ever left.
    pub(crate) fn leaving(&self) -> (bool, u64) {
        let arena = self.arena.lock();
        (self.budget.taken() > arena.usage().segments, arena.removed())
    }

    /// What an arena says that the caller has locked; without what the streams know.
    pub(crate) fn arena_stats(&self, arena: &Arena) -> MemoryStats {
        let (usage, limits) = (arena.usage(), self.budget.limits());
        let (taken, overhead) = (self.budget.taken(), self.budget.overhead());
        let reserved = taken + overhead;
        MemoryStats {
            limit: limits.hard,
            soft_limit: limits.soft,
            reserved,
            // Raised after the bytes are reserved: not yet, perhaps.
            peak_reserved: self.budget.peak().max(reserved),
            staging: arena.bytes_of(HOST),
            frozen: usage.frozen,
            graphs: usage.graphs,
            limbo: usage.limbo,
            free: usage.free,
            largest_free: arena.largest_free(),
            in_transit: taken.saturating_sub(usage.segments),
            overhead,
            allocations: self.budget.allocations(),
            max_allocations: limits.allocations,
            waits: self.waits.load(Ordering::Relaxed),
            reclaimed: self.reclaimed.load(Ordering::Relaxed),
            decayed: self.decayed.load(Ordering::Relaxed),
            ..MemoryStats::default()
        }
    }
}
