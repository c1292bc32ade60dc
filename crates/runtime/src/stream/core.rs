//! One stream: two locks, a timeline, and what is in flight.
//!
//! | field | written by | under |
//! |---|---|---|
//! | `recorder` | whoever records; the flusher swaps the list out | its lock |
//! | `submitter` | the flusher, from the swap to the end of `Queue::submit` | its lock |
//! | `submitted` | the flusher, after `Queue::submit` has returned | `submitter` |
//! | `retiring` | the flusher adds lists, whoever retires removes them | its locks |
//! | `returns` | whoever drops a storage adds, the recorder's holder empties | its lock |
//!
//! Lock order (I3): hazards (by id) -> `submitter` -> `recorder` -> `returns`; `submitter` -> `retiring`'s queue.
//! `recorder` and that queue are never held together, nobody takes a hazard under either, and the table of failures
//! inside `retiring` is a leaf below both.

use super::recorder::{Points, Progress, Recorder, Sealed};
use super::retire::{InFlight, Retiring};
use crate::device::DeviceCore;
use crate::error::{Error, Failure, Result};
use crate::hazard::Use;
use crate::memory::heap::Returns;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Instant;
use thalweg_hal::{Command, List, Queue, Submission, Timeline, Wait};

/// A stream's state, as long as its device.
#[derive(Debug)]
pub(crate) struct StreamCore {
    pub(crate) index: u32,
    pub(crate) timeline: Arc<dyn Timeline>,
    pub(crate) recorder: Mutex<Recorder>,
    submitter: Mutex<Box<dyn Queue>>,
    submitted: AtomicU64,
    pub(crate) retiring: Retiring,
    pub(crate) returns: Mutex<Returns>,
}

impl StreamCore {
    pub(crate) fn new(index: u32, queue: Box<dyn Queue>, timeline: Arc<dyn Timeline>) -> Self {
        Self {
            index,
            timeline,
            recorder: Mutex::new(Recorder::new(index)),
            submitter: Mutex::new(queue),
            submitted: AtomicU64::new(0),
            retiring: Retiring::default(),
            returns: Mutex::new(Returns::default()),
        }
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

    /// Bytes of this stream's blocks in live storages.
    pub(crate) fn live_bytes(&self) -> u64 {
        // Returns first: a block that is freed in between would otherwise be counted as freed but not handed out.
        let freed = self.returns.lock().bytes;
        self.recorder.lock().heap.handed_out - freed
    }

    /// Lists that are submitted and not settled.
    pub(crate) fn in_flight(&self) -> u64 {
        // In this order: what settles in between makes the answer too small, never negative.
        let settled = self.settled();
        self.submitted() - settled
    }

    /// Makes sure that everything up to `value` is submitted. Blocks while the stream has no credit, which the device
    /// gives without anybody's help, and for one submit.
    pub(crate) fn flush_to(&self, core: &DeviceCore, value: u64) {
        if self.submitted() < value {
            self.flush_locked(core, self.submitter.lock(), value);
        }
    }

    /// Submits what has been recorded so far.
    pub(crate) fn flush(&self, core: &DeviceCore) {
        let last = self.recorder.lock().last();
        self.flush_to(core, last);
    }

    /// Like [`flush`](Self::flush), but answers `false` instead of waiting for a credit or for somebody else's submit. The
    /// reaper, who asks this way, learns when to ask again: it watches what is in flight, and a submit rings the doorbell
    /// when it is done.
    pub(crate) fn try_flush(&self, core: &DeviceCore) -> bool {
        let last = self.recorder.lock().last();
        if self.submitted() < last {
            let Some(submitter) = self.submitter.try_lock() else { return false };
            if self.in_flight() >= core.config.lists_in_flight {
                return false;
            }
            self.flush_locked(core, submitter, last);
        }
        true
    }

    fn flush_locked(&self, core: &DeviceCore, mut submitter: MutexGuard<'_, Box<dyn Queue>>, value: u64) {
        // Looked again under the lock: somebody else may have sealed that list meanwhile (I2).
        if self.submitted() < value {
            let limit = core.config.lists_in_flight;
            while self.in_flight() >= limit {
                // Hazards and this submitter stay locked: what is waited for is on the device already (I1). An error means
                // that nothing will ever settle; the queue then refuses the list.
                if self.wait(core, self.submitted() + 1 - limit, None).is_err() {
                    break;
                }
            }
            let spare = self.retiring.spare_list();
            // Its own statement, so that the recorder is released before the list is handed over.
            let sealed = self.recorder.lock().seal(spare);
            if let Some(sealed) = sealed {
                self.submit(core, &mut **submitter, sealed);
            }
        }
        drop(submitter);
        core.doorbell.ring();
    }

    /// Hands a list over. A list that the device refuses uses up its value (I7): an empty list takes its place, with
    /// the same waits, so that whoever is ordered after it stays ordered after what it would have waited for.
    fn submit(&self, core: &DeviceCore, queue: &mut dyn Queue, sealed: Sealed) {
        let Sealed { value, list, waits, edges } = sealed;
        let waits = device_waits(core, &waits);
        let signal = Wait { timeline: Arc::clone(&self.timeline), value };
        let list = Arc::new(list);
        // In flight before it is submitted, so that whoever sees the signal finds the list.
        self.retiring.add(InFlight { value, list: Arc::clone(&list), edges, refused: None });
        // SAFETY: accesses to the same bytes are ordered, since the recorder adds a wait or a barrier for every earlier
        // use that an operand's hazard knows (I2, I5, I6); waits name submitted values only, since foreign uses are
        // flushed before they are recorded (I1); operands were checked against their storages.
        let taken = unsafe { queue.submit(Submission { list: &list, waits: &waits, signal: &signal }) };
        if let Err(error) = taken {
            self.retiring.refuse(value, Failure { stream: self.index, value, source: Arc::new(error) });
            let empty = Arc::new(List { commands: vec![Command::Barrier], ..List::default() });
            // SAFETY: as above; the list touches nothing.
            let taken = unsafe { queue.submit(Submission { list: &empty, waits: &waits, signal: &signal }) };
            if let Err(error) = taken {
                // Not even an empty list: nothing more will ever be signalled here.
                core.lose(error);
            }
        }
        // Release: pairs with the Acquire in `submitted`.
        self.submitted.store(value, Ordering::Release);
    }

    /// Blocks until `value` has settled, however it did.
    pub(crate) fn wait(&self, core: &DeviceCore, value: u64, deadline: Option<Instant>) -> Result<()> {
        self.flush_to(core, value);
        loop {
            if self.settled() >= value {
                return Ok(());
            }
            core.check_lost()?;
            let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if !self.timeline.wait(value, timeout).inspect_err(|error| core.lose(error.clone()))? {
                return Err(Error::Timeout);
            }
            // Somebody else settles it at this moment, or an edge has not settled although the list has, which is a device
            // that does not honour waits.
            if let Err((stream, value)) = self.retire(core, value) {
                core.stream(stream).wait(core, value, deadline)?;
            }
        }
    }
}

fn device_waits(core: &DeviceCore, waits: &Points) -> smallvec::SmallVec<[Wait; 4]> {
    let wait = |&(stream, value): &(u32, u64)| Wait { timeline: Arc::clone(&core.stream(stream).timeline), value };
    waits.iter().map(wait).collect()
}

impl Progress for DeviceCore {
    fn settled(&self, stream: u32) -> u64 {
        self.stream(stream).settled()
    }

    fn failed(&self, by: Use) -> bool {
        self.result(by).is_err()
    }
}
