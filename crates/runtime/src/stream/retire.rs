//! From the signal to the result: what is in flight, and how it settles.
//!
//! A list settles in the order of its stream's timeline. Its result is its own failure, or the first failure among the
//! values whose data it read. The result is entered before `settled` rises (I7), so whoever sees the value finds it.
//!
//! Anyone may retire. It is idempotent, takes no lock but this one, and holds it for a few instructions at a time;
//! what the lists held is dropped outside.

use super::core::StreamCore;
use super::recorder::{Point, Points};
use crate::device::DeviceCore;
use crate::error::Failure;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use thalweg_hal::List;

/// How many emptied lists a stream keeps for their capacity.
const SPARE_LISTS: usize = 4;

/// A submitted list.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) value: u64,
    /// Keeps what the list uses until it has settled.
    pub(crate) list: Arc<List>,
    /// Values whose data the list reads.
    pub(crate) edges: Points,
    /// Its own failure.
    pub(crate) failure: Option<Failure>,
}

/// The lists of a stream that have not settled, and how the others did.
#[derive(Debug)]
pub(crate) struct Retiring {
    queue: Mutex<Lists>,
    /// How lists failed, by value. Empty unless something did. An entry stays, because bytes that the list wrote may be
    /// asked for at any time; it is some fifty bytes for each list that ever failed.
    failures: Mutex<BTreeMap<u64, Failure>>,
    /// Written under `queue`, after `failures`.
    settled: AtomicU64,
    /// Number of entries in `failures`, written under its lock before `settled`. Nearly always 0, which saves the lock.
    failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Lists {
    in_flight: VecDeque<InFlight>,
    spare: Vec<List>,
}

impl Default for Retiring {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        let (queue, failures) = (Mutex::new(Lists::default()), Mutex::new(BTreeMap::new()));
        Self { queue, failures, settled: zero(), failed: zero() }
    }
}

impl Retiring {
    pub(crate) fn settled(&self) -> u64 {
        // Acquire: pairs with the Release in `retire`; the result and what the list wrote are visible.
        self.settled.load(Ordering::Acquire)
    }

    /// How the list of a settled value ended.
    pub(crate) fn result(&self, value: u64) -> Result<(), Failure> {
        // Relaxed: the caller has seen `settled`, which was stored after this.
        if self.failed.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        self.failures.lock().get(&value).map_or(Ok(()), |failure| Err(failure.clone()))
    }

    pub(crate) fn add(&self, list: InFlight) {
        self.queue.lock().in_flight.push_back(list);
    }

    /// Another list runs in place of the newest, which failed.
    pub(crate) fn replace(&self, value: u64, list: Arc<List>, failure: Failure) {
        let mut queue = self.queue.lock();
        if let Some(newest) = queue.in_flight.back_mut().filter(|newest| newest.value == value) {
            newest.list = list;
            newest.failure = Some(failure);
        }
    }

    /// The value that settles next, if any is in flight.
    pub(crate) fn next(&self) -> Option<u64> {
        self.queue.lock().in_flight.front().map(|list| list.value)
    }

    pub(crate) fn spare_list(&self) -> List {
        self.queue.lock().spare.pop().unwrap_or_default()
    }

    fn fail(&self, value: u64, failure: Failure) {
        let mut failures = self.failures.lock();
        failures.insert(value, failure);
        // Relaxed: ordered by `settled`.
        self.failed.store(failures.len() as u64, Ordering::Relaxed);
    }
}

impl StreamCore {
    /// Settles what has completed, up to `value`.
    ///
    /// # Errors
    /// The edge that has not settled yet and keeps the next list from settling.
    pub(crate) fn retire(&self, core: &DeviceCore, value: u64) -> Result<(), Point> {
        if self.settled() >= value {
            return Ok(());
        }
        let completed = self.timeline.completed().min(value);
        while self.settled() < completed {
            // The lists read from settle first, with our lock released: theirs and ours have no order. This ends,
            // because they were submitted before this list (I1).
            let mut edges = Points::new();
            if let Some(front) = self.retiring.queue.lock().in_flight.front() {
                edges.extend(front.edges.iter().copied().filter(|edge| edge.0 != self.index));
            }
            for (stream, value) in edges {
                let other = core.stream(stream);
                other.retire(core, value)?;
                if other.settled() < value {
                    return Err((stream, value));
                }
            }
            let Some(settled) = self.settle_front(core, completed) else { return Ok(()) };
            self.recycle(settled.list);
        }
        Ok(())
    }

    /// Settles the oldest list, if it is within `completed` and nothing it read from is open: somebody else may have
    /// settled the one that the caller looked at.
    fn settle_front(&self, core: &DeviceCore, completed: u64) -> Option<InFlight> {
        let mut queue = self.retiring.queue.lock();
        let known = |&(stream, value): &Point| stream == self.index || core.stream(stream).settled() >= value;
        let ready = |front: &InFlight| front.value <= completed && front.edges.iter().all(known);
        if !queue.in_flight.front().is_some_and(ready) {
            return None;
        }
        for (value, error) in self.timeline.take_failures() {
            let failure = || Failure { stream: self.index, value, source: Arc::new(error) };
            if let Some(list) = queue.in_flight.iter_mut().find(|list| list.value == value) {
                list.failure.get_or_insert_with(failure);
            }
        }
        let front = queue.in_flight.pop_front()?;
        let inherited = || front.edges.iter().find_map(|edge| core.stream(edge.0).retiring.result(edge.1).err());
        if let Some(failure) = front.failure.clone().or_else(inherited) {
            self.retiring.fail(front.value, failure);
        }
        // Release: pairs with the Acquire in `settled`.
        self.retiring.settled.store(front.value, Ordering::Release);
        Some(front)
    }

    /// Keeps an emptied list for its capacity. Its memories and pipelines may be freed here, with no lock held.
    fn recycle(&self, list: Arc<List>) {
        // A backend may hold its `Arc` a moment longer; then the list is simply dropped.
        if let Some(mut list) = Arc::into_inner(list) {
            list.clear();
            let mut queue = self.retiring.queue.lock();
            if queue.spare.len() < SPARE_LISTS {
                queue.spare.push(list);
            }
        }
    }
}
