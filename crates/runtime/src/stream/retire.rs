//! From the signal to the result: what is in flight, and how it settles.
//!
//! A list settles in the order of its stream's timeline. A command has failed if the device said so, or if it read what
//! a failed command wrote; what overwrites that without reading it is fine again. The results are entered before
//! `settled` rises (I7), so whoever sees the value finds them.
//!
//! Anyone may retire. It is idempotent, takes no lock but these, and holds them for a few instructions at a time unless
//! something failed; what the lists held is dropped outside.

use super::core::StreamCore;
use super::recorder::{Edge, Point};
use crate::device::DeviceCore;
use crate::error::Failure;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use thalweg_hal::{Access, List, Report, Reported};

/// How many emptied lists a stream keeps for their capacity.
const SPARE_LISTS: usize = 4;

/// A submitted list.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) value: u64,
    /// Keeps what the list uses until it has settled.
    pub(crate) list: Arc<List>,
    /// What its commands read of other lists.
    pub(crate) edges: Vec<Edge>,
    /// Why the device did not take it: every command has failed.
    pub(crate) refused: Option<Failure>,
}

/// The lists of a stream that have not settled, and how the others did.
#[derive(Debug)]
pub(crate) struct Retiring {
    queue: Mutex<Lists>,
    /// How commands failed, by value and index. Empty unless something did. An entry stays, because bytes that the
    /// command wrote may be asked for at any time; it is some two hundred bytes for each command that ever failed.
    failures: Mutex<BTreeMap<(u64, u32), Failure>>,
    /// Written under `queue`, after `failures`.
    settled: AtomicU64,
    /// Number of entries in `failures`, written under its lock before `settled`. Nearly always 0, which saves the lock.
    failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Lists {
    in_flight: VecDeque<InFlight>,
    /// What the device said of lists that have not settled.
    reported: Vec<Report>,
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
        // Acquire: pairs with the Release in `settle_front`; the results and what the list wrote are visible.
        self.settled.load(Ordering::Acquire)
    }

    /// How a command of a settled value ended.
    pub(crate) fn result(&self, value: u64, command: u32) -> Result<(), Failure> {
        // Relaxed: the caller has seen `settled`, which was stored after this.
        if self.failed.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        self.failures.lock().get(&(value, command)).map_or(Ok(()), |failure| Err(failure.clone()))
    }

    pub(crate) fn add(&self, list: InFlight) {
        self.queue.lock().in_flight.push_back(list);
    }

    /// The device did not take the newest list.
    pub(crate) fn refuse(&self, value: u64, failure: Failure) {
        let mut queue = self.queue.lock();
        if let Some(newest) = queue.in_flight.back_mut().filter(|newest| newest.value == value) {
            newest.refused = Some(failure);
        }
    }

    /// The value that settles next, if any is in flight.
    pub(crate) fn next(&self) -> Option<u64> {
        self.queue.lock().in_flight.front().map(|list| list.value)
    }

    pub(crate) fn spare_list(&self) -> List {
        self.queue.lock().spare.pop().unwrap_or_default()
    }

    fn fail(&self, value: u64, failed: Vec<Option<Failure>>) {
        let mut failures = self.failures.lock();
        for (command, failure) in (0..).zip(failed) {
            failures.extend(failure.map(|failure| ((value, command), failure)));
        }
        // Relaxed: ordered by `settled`.
        self.failed.store(failures.len() as u64, Ordering::Relaxed);
    }
}

impl StreamCore {
    /// Settles what has completed, up to `value`.
    ///
    /// # Errors
    /// The value that has not settled yet and keeps the next list from settling, which reads it.
    pub(crate) fn retire(&self, core: &DeviceCore, value: u64) -> Result<(), Point> {
        if self.settled() >= value {
            return Ok(());
        }
        let completed = self.timeline.completed().min(value);
        while self.settled() < completed {
            // The lists read from settle first, with our lock released: theirs and ours have no order. This ends,
            // because they were submitted before this list (I1).
            let mut points = SmallVec::<[Point; 4]>::new();
            if let Some(front) = self.retiring.queue.lock().in_flight.front() {
                let foreign = front.edges.iter().filter(|edge| edge.writer.stream != self.index);
                points.extend(foreign.map(|edge| (edge.writer.stream, edge.writer.value)));
            }
            for (stream, value) in points {
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
        let known = |edge: &Edge| {
            edge.writer.stream == self.index || core.stream(edge.writer.stream).settled() >= edge.writer.value
        };
        let ready = |front: &InFlight| front.value <= completed && front.edges.iter().all(known);
        if !queue.in_flight.front().is_some_and(ready) {
            return None;
        }
        queue.reported.extend(self.timeline.take_reports());
        let front = queue.in_flight.pop_front()?;
        // They come by rising value, and every lower one has settled.
        let reported = queue.reported.partition_point(|report| report.value <= front.value);
        let own = queue.reported.drain(..reported).filter(|report| report.value == front.value);
        if let Some(failed) = failed_commands(self.index, &front, own, core) {
            self.retiring.fail(front.value, failed);
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

/// Which commands of a list failed, by index; `None` if none did, which costs a look at each edge.
fn failed_commands(
    stream: u32,
    settled: &InFlight,
    reported: impl Iterator<Item = Report>,
    core: &DeviceCore,
) -> Option<Vec<Option<Failure>>> {
    let InFlight { value, list, edges, refused } = settled;
    let mut failed = vec![refused.clone(); if refused.is_some() { list.commands.len() } else { 0 }];
    let mut fail = |command: u32, failure: Failure| {
        failed.resize(list.commands.len(), None);
        match failed.get_mut(command as usize) {
            Some(entry) => drop(entry.get_or_insert(failure)),
            // There is no such command: then any of them may be meant.
            None => failed.fill(Some(failure)),
        }
    };
    // What a command inherits comes before what the device says of it: it worked on undefined data.
    for Edge { reader, writer } in edges {
        if let Err(failure) = core.result(*writer) {
            fail(*reader, failure);
        }
    }
    for Report { command, what, .. } in reported {
        if let Reported::Failed(error) = what {
            fail(command, Failure { stream, value: *value, source: Arc::new(error) });
        }
    }
    if failed.is_empty() {
        return None;
    }
    if refused.is_none() {
        spread(list, &mut failed);
    }
    Some(failed)
}

/// Lets failures follow the data inside a list: the bindings say who reads what. In the order of recording, which is
/// that of every two commands that touch the same bytes.
fn spread(list: &List, failed: &mut [Option<Failure>]) {
    // Ranges whose content is undefined, with the reason. A write replaces what it overlaps: it covers all of its storage,
    // and whatever else was in the block is gone.
    let mut undefined: Vec<(thalweg_hal::Binding, Failure)> = Vec::new();
    for (command, failed) in list.commands.iter().zip(failed) {
        let bindings = list.bindings_of(command);
        // One memory may stand in the table more than once.
        let same = |a: &thalweg_hal::Binding, b: &thalweg_hal::Binding| {
            let memory = |binding: &thalweg_hal::Binding| list.memories[binding.memory as usize].id();
            memory(a) == memory(b) && a.overlaps(&thalweg_hal::Binding { memory: a.memory, ..*b })
        };
        if failed.is_none() {
            let mut reads = bindings.iter().filter(|binding| binding.access != Access::Write);
            *failed = reads.find_map(|read| {
                let found = undefined.iter().find(|(range, _)| same(range, read));
                found.map(|(_, failure)| failure.clone())
            });
        }
        for write in bindings.iter().filter(|binding| binding.access.writes()) {
            undefined.retain(|(range, _)| !same(range, write));
            undefined.extend(failed.clone().map(|failure| (*write, failure)));
        }
    }
}
