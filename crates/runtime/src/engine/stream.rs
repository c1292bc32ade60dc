//! One stream's state: a recorder, a submitter, a timeline, and what is in flight.
//!
//! | field | written by | under |
//! |---|---|---|
//! | `recorder` | a thread that records; the flusher swaps the list out | its lock |
//! | `submitter` | the flusher, from the swap to the end of `Queue::submit` | its turn |
//! | `submitted` | the flusher, after `Queue::submit` has returned | `submitter` |
//! | `in_flight` | the flusher adds lists, a thread that settles removes them | its lock |
//! | `waiters` | tasks that wait, and the reaper that wakes them | its lock |
//!
//! Lock order (I3): hazards (by id) -> `submitter` -> the stream's heap -> `recorder`; `submitter` -> `in_flight`.
//! `recorder` and `in_flight` are never held together, nobody takes a hazard under either, and `waiters` is a leaf.

use super::in_flight::InFlightLists;
use super::waiters::Waiters;
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::timed_mutex::TimedMutex;
use crate::order::open_list::OpenList;
use crate::order::point::Point;
use std::sync::Arc;
use thalweg_hal::{Queue, Timeline, TimelinePoint};

/// What a stream has done; see [`crate::Counters`].
#[derive(Debug, Default)]
pub(crate) struct StreamCounters {
    pub(crate) foreign_flushes: AtomicU64,
    pub(crate) credit_waits: AtomicU64,
}

/// A stream's state, as long as its device. Streams lie side by side, and no two of them share a pair of cache lines
/// (which processors fetch together), so that threads on different streams do not slow each other down.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct StreamState {
    pub(crate) index: u32,
    /// The queue's, which can be asked while somebody has its turn.
    pub(crate) timeline: Arc<dyn Timeline>,
    pub(crate) recorder: Mutex<OpenList>,
    pub(super) submitter: TimedMutex<Box<dyn Queue>>,
    submitted: AtomicU64,
    pub(crate) in_flight: InFlightLists,
    pub(crate) waiters: Waiters,
    pub(crate) counters: StreamCounters,
}

impl StreamState {
    pub(super) fn new(index: u32, queue: Box<dyn Queue>) -> Self {
        Self {
            index,
            timeline: Arc::clone(queue.timeline()),
            recorder: Mutex::new(Rank::Recorder, OpenList::new(index)),
            submitter: TimedMutex::new(Rank::Submitter, queue),
            submitted: AtomicU64::new(0),
            in_flight: InFlightLists::default(),
            waiters: Waiters::default(),
            counters: StreamCounters::default(),
        }
    }

    /// Number of commands that are recorded and not submitted, the barrier at the start included.
    pub(crate) fn len(&self) -> usize {
        self.recorder.lock().len()
    }

    /// The last list that has something to it.
    pub(crate) fn last(&self) -> Point {
        self.recorder.lock().last()
    }

    /// Whether nothing is recorded or in flight.
    pub(crate) fn is_idle(&self) -> bool {
        let last = self.last();
        self.settled() >= last.value
    }

    /// Every list up to this value has been taken by the device.
    #[inline]
    pub(crate) fn submitted(&self) -> u64 {
        // Acquire: pairs with the Release in `publish`. A thread that sees a value may submit a wait for it.
        self.submitted.load(Ordering::Acquire)
    }

    /// The list has been taken by the device. Called in the submitter's turn.
    pub(super) fn publish(&self, value: u64) {
        // Release: pairs with the Acquire in `submitted`.
        self.submitted.store(value, Ordering::Release);
    }

    /// Every list up to this value has settled, and its result is known.
    #[inline]
    pub(crate) fn settled(&self) -> u64 {
        self.in_flight.settled()
    }

    /// How many lists are submitted and not settled.
    pub(crate) fn in_flight(&self) -> u64 {
        let settled = self.settled();
        // In this order, what settles in between makes the answer too large, which is the safe side. A list may also
        // settle before the thread that submits it has published that.
        self.submitted().saturating_sub(settled)
    }

    /// A value of its timeline, for the device.
    pub(crate) fn point(&self, value: u64) -> TimelinePoint {
        TimelinePoint { timeline: Arc::clone(&self.timeline), value }
    }
}
