//! One stream: a recorder, a submitter, a timeline, and what is in flight.
//!
//! | field | written by | under |
//! |---|---|---|
//! | `recorder` | whoever records; the flusher swaps the list out | its lock |
//! | `submitter` | the flusher, from the swap to the end of `Queue::submit` | its turn |
//! | `submitted` | the flusher, after `Queue::submit` has returned | `submitter` |
//! | `retiring` | the flusher adds lists, whoever retires removes them | its locks |
//! | `returns` | whoever drops a storage adds, the recorder's holder empties | its lock |
//! | `waiters` | tasks that wait, and the reaper that wakes them | its lock |
//!
//! Lock order (I3): hazards (by id) -> `submitter` -> `recorder` -> `returns`; `submitter` -> `retiring`'s queue.
//! `recorder` and that queue are never held together, nobody takes a hazard under either, and `waiters` is a leaf.

use super::recorder::{Points, Progress, Recorder, Sealed};
use super::retire::{InFlight, Retiring};
use super::turn::Turn;
use super::waiters::Waiters;
use crate::device::DeviceCore;
use crate::error::{Error, Result};
use crate::memory::StreamUse;
use crate::memory::heap::Returns;
use crate::patience::Patience;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{Command, List, Queue, Submission, Timeline, TimelinePoint};

/// How often a device is asked to take the empty list that stands for one that it refused, before it counts as lost.
const ATTEMPTS: u32 = 8;

/// What a stream has done; see [`crate::Counters`].
#[derive(Debug, Default)]
pub(crate) struct StreamCounters {
    pub(crate) foreign_flushes: AtomicU64,
    pub(crate) credit_waits: AtomicU64,
    /// Of two threads of the stream at the same moment, one may not be counted.
    pub(crate) pipeline_hits: AtomicU64,
}

impl StreamCounters {
    /// Not an addition in one step, which would cost a third of the whole look-up.
    pub(crate) fn count_pipeline_hit(&self) {
        // Relaxed: a figure for people.
        self.pipeline_hits.store(self.pipeline_hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// A stream's state, as long as its device. Streams lie side by side, and no two of them share a pair of cache lines
/// (which processors fetch together), so that threads on different streams do not slow each other down.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct StreamCore {
    pub(crate) index: u32,
    /// The queue's, which can be asked while somebody has its turn.
    pub(crate) timeline: Arc<dyn Timeline>,
    pub(crate) recorder: Mutex<Recorder>,
    submitter: Turn<Box<dyn Queue>>,
    submitted: AtomicU64,
    pub(crate) retiring: Retiring,
    pub(crate) waiters: Waiters,
    pub(crate) counters: StreamCounters,
    pub(crate) returns: Mutex<Returns>,
}

impl StreamCore {
    pub(crate) fn new(index: u32, queue: Box<dyn Queue>) -> Self {
        Self {
            index,
            timeline: Arc::clone(queue.timeline()),
            recorder: Mutex::new(Recorder::new(index)),
            submitter: Turn::new(queue),
            submitted: AtomicU64::new(0),
            retiring: Retiring::default(),
            waiters: Waiters::default(),
            counters: StreamCounters::default(),
            returns: Mutex::new(Returns::default()),
        }
    }

    /// Number of commands that are recorded and not submitted, the barrier at the start included.
    pub(crate) fn len(&self) -> usize {
        self.recorder.lock().len()
    }

    /// Whether nothing is recorded or in flight.
    pub(crate) fn is_idle(&self) -> bool {
        let last = self.recorder.lock().last();
        self.settled() >= last
    }

    /// Every list up to this value has been taken by the device.
    pub(crate) fn submitted(&self) -> u64 {
        // Acquire: pairs with the Release in `submit`. Whoever sees a value may submit a wait for it.
        self.submitted.load(Ordering::Acquire)
    }

    /// Every list up to this value has settled, and its result is known.
    pub(crate) fn settled(&self) -> u64 {
        self.retiring.settled()
    }

    /// What this stream's memory is used for.
    pub(crate) fn memory(&self) -> StreamUse {
        // Returns first: a block that is freed in between would otherwise be counted as freed but not handed out.
        let freed = self.returns.lock().bytes;
        self.recorder.lock().heap.uses(self.index, freed)
    }

    /// Lists that are submitted and not settled.
    pub(crate) fn in_flight(&self) -> u64 {
        let settled = self.settled();
        // In this order, what settles in between makes the answer too large, which is the safe side. A list may also
        // settle before whoever submits it has published that.
        self.submitted().saturating_sub(settled)
    }

    /// Makes sure that everything up to `value` is submitted. Waits, as long as the patience lasts, for somebody else's
    /// submit and for a credit, which the device gives without anybody's help, and where waits of the device are dear
    /// for what the list waits for; and for one submit in any case.
    ///
    /// # Errors
    /// That the patience is over, or the device closed.
    pub(crate) fn flush_to(&self, core: &DeviceCore, value: u64, patience: Patience) -> Result<()> {
        if self.submitted() >= value {
            return Ok(());
        }
        let mut queue = self.submitter.take(patience)?;
        // Looked again in our turn: somebody else may have sealed that list meanwhile (I2).
        if self.submitted() < value {
            self.wait_for_credit(core, patience)?;
            if let Some(sealed) = self.seal(core, patience)? {
                self.submit(core, &mut **queue, sealed);
            }
        }
        drop(queue);
        // For the reaper to settle the list. What it could not submit while somebody had the turn it tries again by
        // itself.
        core.doorbell.submitted();
        Ok(())
    }

    /// Seals the open list. Where the device's waits are dear, waits on the host before for what the list waits for, as
    /// long as the patience lasts, and leaves the rest to the device. Hazards and the submitter stay with the caller,
    /// as for a credit.
    ///
    /// # Errors
    /// That the device is closed.
    fn seal(&self, core: &DeviceCore, patience: Patience) -> Result<Option<Sealed>> {
        let spare = self.retiring.spare_list();
        let mut waits_first = core.hal.info().waits_are_dear && !matches!(patience, Patience::Never);
        loop {
            let mut recorder = self.recorder.lock();
            let Some((stream, value)) = recorder.next_wait(core).filter(|_| waits_first) else {
                return Ok(recorder.seal(spare));
            };
            // Recording goes on meanwhile, and may add a wait. There is an end, because the list is full at some time.
            drop(recorder);
            match core.stream(stream).wait(core, value, patience) {
                // Nothing will ever settle. The queue refuses the list, and it settles by that.
                Err(Error::Device(_)) if core.life.is_lost() => waits_first = false,
                Err(Error::Timeout) => waits_first = false,
                result => result?,
            }
        }
    }

    /// Submits what has been recorded so far.
    pub(crate) fn flush(&self, core: &DeviceCore, patience: Patience) -> Result<()> {
        let last = self.recorder.lock().last();
        self.flush_to(core, last, patience)
    }

    /// Waits until the stream may have another list in flight. Hazards and the submitter stay with the caller: what is
    /// waited for is on the device already (I1).
    fn wait_for_credit(&self, core: &DeviceCore, patience: Patience) -> Result<()> {
        let limit = core.config.lists_in_flight;
        #[cfg(test)]
        let limit = if core.sabotage.gives_unlimited_credit() { u64::MAX } else { limit };
        if self.in_flight() >= limit && !matches!(patience, Patience::Never) {
            self.counters.credit_waits.fetch_add(1, Ordering::Relaxed);
        }
        while self.in_flight() >= limit {
            match self.wait(core, self.submitted() + 1 - limit, patience) {
                // Nothing will ever settle. The queue refuses the list, and it settles by that.
                Err(Error::Device(_)) if core.life.is_lost() => break,
                result => result?,
            }
        }
        Ok(())
    }

    /// Hands a list over. A list that the device refuses uses up its value (I7): an empty list takes its place, with
    /// the same waits, so that whoever is ordered after it stays ordered after what it would have waited for.
    fn submit(&self, core: &DeviceCore, queue: &mut dyn Queue, sealed: Sealed) {
        let Sealed { value, list, waits, edges, outcome, marks } = sealed;
        let span = core.profile.begin();
        let waits = device_waits(core, &waits);
        let list = Arc::new(list);
        #[cfg(test)]
        let edges = if core.sabotage.drops_edges() { Vec::new() } else { edges };
        // In flight before it is submitted, so that whoever sees the signal finds the list.
        self.retiring.add(InFlight { value, list: Arc::clone(&list), edges, outcome, marks, refused: None });
        let mut submit = |list: &Arc<List>| {
            let submission = Submission { list, waits: &waits, value };
            // SAFETY: accesses to the same bytes are ordered, since the recorder adds a wait or a barrier for every
            // earlier use that an operand's hazard knows (Q1, by I2, I5, I6); waits name submitted values only, since
            // foreign uses are flushed before they are recorded (Q2, by I1); each command was checked before it was
            // recorded (Q3); lists are sealed one after the other, and each has the next value (Q4); a prepared list is
            // a graph's, which changes nothing of it (Q5). An empty list touches nothing.
            let taken = catch_unwind(AssertUnwindSafe(|| unsafe { queue.submit(submission) }));
            // A backend that panics has broken its contract.
            let lost = || thalweg_hal::Error::DeviceLost { device: core.hal.info().name.clone() };
            taken.unwrap_or_else(|_| Err(lost()))
        };
        if let Err(error) = submit(&list) {
            self.retiring.refuse(value, Arc::new(error));
            let empty = Arc::new(List { commands: vec![Command::Barrier], ..List::default() });
            let mut taken = submit(&empty);
            for _ in 1..ATTEMPTS {
                match taken {
                    // Whatever it lacked, it may have by now.
                    Err(error) if !matches!(error, thalweg_hal::Error::DeviceLost { .. }) => taken = submit(&empty),
                    _ => break,
                }
            }
            if let Err(error) = taken {
                // Not even an empty list: nothing more will ever be signalled here.
                core.lose(error);
            }
        }
        span.submitted(self.index, value, &list);
        // Release: pairs with the Acquire in `submitted`.
        self.submitted.store(value, Ordering::Release);
    }

    /// Blocks until `value` has settled, however it did.
    ///
    /// # Errors
    /// That the patience is over, or that it never will, because the device is lost or closed.
    pub(crate) fn wait(&self, core: &DeviceCore, value: u64, patience: Patience) -> Result<()> {
        if self.settled() >= value {
            return Ok(());
        }
        let span = core.profile.begin();
        let waited = self.wait_until_settled(core, value, patience);
        span.waited(self.index, value);
        waited
    }

    fn wait_until_settled(&self, core: &DeviceCore, value: u64, patience: Patience) -> Result<()> {
        core.life.check_waits()?;
        self.flush_to(core, value, patience)?;
        loop {
            let reached = self.timeline.wait(value, patience.left()).inspect_err(|error| core.lose(error.clone()))?;
            // Up to what has completed. Somebody else may be settling it at this moment; or an edge has not settled
            // although the list has, which is a device that does not honour waits.
            if let Err((stream, value)) = self.retire(core, value) {
                core.stream(stream).wait(core, value, patience)?;
            }
            if self.settled() >= value {
                return Ok(());
            }
            core.life.check_waits()?;
            if !reached && patience.left() == Some(Duration::ZERO) {
                return Err(patience.over());
            }
        }
    }
}

/// A list's waits, as the device understands them. What has settled since it was noted needs none: the host has seen it
/// complete, and the list starts with a barrier (I6).
pub(crate) fn device_waits(core: &DeviceCore, waits: &Points) -> smallvec::SmallVec<[TimelinePoint; 4]> {
    let wait = |&(stream, value): &(u32, u64)| {
        let stream = core.stream(stream);
        let submitted = stream.submitted();
        #[cfg(test)]
        let submitted = if core.sabotage.skips_foreign_flushes() { value } else { submitted };
        debug_assert!(value <= submitted, "I1: a wait for value {value} of stream {}, at {submitted}", stream.index);
        TimelinePoint { timeline: Arc::clone(&stream.timeline), value }
    };
    waits.iter().filter(|(stream, value)| core.stream(*stream).settled() < *value).map(wait).collect()
}

impl Progress for DeviceCore {
    fn settled(&self, stream: u32) -> u64 {
        self.stream(stream).settled()
    }
}
