//! A wrapper that checks every submission and host access against a happens-before model of its own.
//!
//! It shares no code with what records lists, so that a mistake there is not made here again. A submission or host
//! access with a violation is refused with [`Error::Invalid`](crate::Error::Invalid), never reaches the inner device,
//! and is counted in [`Validated::report`].
//!
//! # The model
//!
//! "A before B" means: A has run to its end, and what it wrote is visible, when B starts. Exactly this holds, and what
//! follows from it by transitivity:
//!
//! | what | comes before | note |
//! |---|---|---|
//! | the signal of a wait | every command of the waiting list | not later lists of the queue, but through a barrier |
//! | all earlier commands of the queue, of earlier lists too | a barrier | and so all that they waited for |
//! | a barrier | all later commands of its queue, of later lists too | its list's waits come before it |
//! | the queue's commands to the list's end, its waits | the signal of the list | barriers or not, also if empty |
//! | the signal of a value | signals of higher values of the timeline | a value between two is reached by the second |
//! | a signal that [`Timeline::completed`] shows | what is submitted or accessed after that | see below |
//!
//! Completed values are asked for before anything is called a violation, and now and then.
//!
//! Commands between two barriers are unordered, also those of two lists if no barrier stands between. Two queues made
//! by [`Device::create_queue`] are unordered, though the device may share one below.
//!
//! # What is checked
//!
//! | rule | violation |
//! |---|---|
//! | a list, a prepared one too, keeps [the rules](crate::check) ([`List::check`]) | as there |
//! | a wait names a value that is reached, or that an *accepted* list signals (I1) | [`Violation::WaitNotSubmitted`] |
//! | a list's value is above those of its queue's earlier lists | [`Violation::ValueNotRising`] |
//! | of two commands that touch a byte, one writing it, the older comes first | [`Violation::Unordered`] |
//! | no command touches bytes that the host writes now, nor writes what it reads now | [`Violation::Unordered`] |
//! | what the host reads is written by no pending command and no other host access | [`Violation::HostAccess`] |
//! | what the host writes is touched by no pending command and no other host access | [`Violation::HostAccess`] |
//! | if asked ([`Validated::with_first_writes`]): what is read was written | [`Violation::Unwritten`] |
//!
//! A command is pending until the host has seen it complete.
//!
//! # What it cannot see
//!
//! - **Luck.** It asks the timelines itself. A missing wait on work that happened to be complete is no violation,
//!   though the caller never looked. A device that completes late shows more.
//! - **Which thread looked.** What the host has seen complete is complete for all its threads. That the threads hand
//!   such knowledge on correctly is for the memory model of the language, and its tools.
//! - **What kernels do.** It trusts the declared accesses; that a `Write` binding reads nothing and writes every byte
//!   is not looked at. Nor is what the bytes mean: reading freed bytes that are ordered is no violation.
//! - **Doorbells.** A ring orders nothing.
//!
//! # Concurrency
//!
//! One mutex guards the model and is a leaf: under it timelines are asked for [`Timeline::completed`], and dropped, and
//! nothing else of the inner device is called. It is *not* held while the inner device takes a list, which may block.
//! Instead a submission is three steps:
//!
//! 1. *reserve*, under the lock: check, enter the accesses, advance the queue, enter the promise as not yet submitted;
//! 2. the inner `submit`, with no lock;
//! 3. *confirm* or *roll back*, under the lock.
//!
//! This is right because (a) of two conflicting lists, one is reserved second and sees the accesses of the first;
//! (b) that one passes only if it is ordered after the first, and no wait on the first is accepted before it is
//! confirmed, so a list that may still be rolled back orders nothing, and its accesses are displaced by nobody;
//! (c) a queue is submitted to by one thread (`&mut`), so rolling back its own state disturbs nobody; (d) if the device
//! completes a list before it is confirmed, the host may see so: the promise then counts as kept, and confirming it
//! does nothing. A list that conflicts with one that is being handed over is refused, even if the inner device then
//! refuses the other: it would have been a race had it not.
//!
//! Cost: about a microsecond a command. Memory: proportional to the work that the host has not seen complete.

mod clock;
mod history;
mod model;
#[cfg(test)]
pub(crate) mod tests;
mod unwritten;

use crate::{
    Device, DeviceInfo, Doorbell, KernelSource, List, Listener, Memory, MemoryKind, Overhead, Pipeline, Queue, Result,
    Submission, Timeline, TimelinePoint, Violation,
};
use history::Kind;
use model::Model;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use unwritten::Unwritten;

/// What a [`Validated`] device has seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Submissions that the inner device has accepted.
    pub submissions: u64,
    /// Their commands, barriers included.
    pub commands: u64,
    /// Submissions and host accesses that were refused for a violation.
    pub violations: u64,
    /// The first 16 violations.
    pub first: Vec<Violation>,
}

/// A device that refuses what breaks the contract; see the [module](self) for what it looks at.
///
/// Queues are wrapped. Memories, pipelines, timelines and doorbells are the inner device's own; what was made by the
/// inner device directly can be used too, but what is *submitted* to it directly is not seen.
#[derive(Debug)]
pub struct Validated {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn Device>,
    model: Mutex<Model>,
    /// If it is looked at. A leaf.
    unwritten: Option<Mutex<Unwritten>>,
}

impl Shared {
    fn model(&self) -> MutexGuard<'_, Model> {
        // A panic under the lock comes from an inner timeline, asked before anything is changed.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritten(&self) -> Option<MutexGuard<'_, Unwritten>> {
        // Nothing panics under the lock.
        self.unwritten.as_ref().map(|unwritten| unwritten.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn refuse<T>(&self, violation: Violation) -> Result<T> {
        self.model().note(&violation);
        Err(violation.into())
    }
}

impl Validated {
    /// Wraps a device.
    pub fn new(inner: Arc<dyn Device>) -> Arc<Self> {
        Arc::new(Self { shared: Arc::new(Shared { inner, model: Mutex::default(), unwritten: None }) })
    }

    /// Wraps a device, and looks also whether what is read was ever written, on a device where new memory is undefined.
    /// Not for one that refuses submissions: what depends on a refused list runs, and reads what it would have written.
    pub fn with_first_writes(inner: Arc<dyn Device>) -> Arc<Self> {
        let unwritten = Some(Mutex::default());
        Arc::new(Self { shared: Arc::new(Shared { inner, model: Mutex::default(), unwritten }) })
    }

    /// What has been seen so far.
    pub fn report(&self) -> Report {
        self.shared.model().report().clone()
    }

    /// Carries out a host access if it is no violation.
    fn host_access<T>(
        &self,
        access: &'static str,
        kind: Kind,
        memory: &Arc<dyn Memory>,
        bytes: Range<u64>,
        carry_out: impl FnOnce() -> T,
    ) -> Result<T> {
        let begun = self.shared.model().begin_host_access(access, kind, memory.id(), bytes);
        let ticket = begun.or_else(|violation| self.shared.refuse(violation))?;
        let result = carry_out();
        self.shared.model().end_host_access(ticket);
        Ok(result)
    }
}

impl Device for Validated {
    fn info(&self) -> &DeviceInfo {
        self.shared.inner.info()
    }

    fn overhead(&self) -> &Arc<Overhead> {
        self.shared.inner.overhead()
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        let inner = self.shared.inner.create_queue()?;
        let index = self.shared.model().add_queue();
        Ok(Box::new(ValidatedQueue { inner, index, shared: self.shared.clone() }))
    }

    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        self.shared.inner.create_doorbell()
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        self.shared.inner.create_pipeline(source)
    }

    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()> {
        if let Err(violation) = list.check_inner(&self.info().limits) {
            return self.shared.refuse(violation);
        }
        // SAFETY: passed on to the caller.
        unsafe { self.shared.inner.prepare(list) }
    }

    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        let memory = self.shared.inner.allocate(kind, bytes)?;
        if let Some(mut unwritten) = self.shared.unwritten().filter(|_| !self.info().zeroed) {
            unwritten.enter(&memory);
        }
        Ok(memory)
    }

    unsafe fn read(&self, memory: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        let bytes = offset..offset.saturating_add(into.len() as u64);
        if let Some(byte) = self.shared.unwritten().and_then(|unwritten| unwritten.first(memory.id(), &bytes)) {
            return self.shared.refuse(Violation::Unwritten { command: 0, memory: memory.id(), byte });
        }
        // SAFETY: passed on to the caller.
        self.host_access("reads", Kind::Read, memory, bytes, || unsafe {
            self.shared.inner.read(memory, offset, into)
        })?
    }

    unsafe fn write(&self, memory: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        let bytes = offset..offset.saturating_add(from.len() as u64);
        if let Some(mut unwritten) = self.shared.unwritten() {
            unwritten.write(memory.id(), bytes.clone());
        }
        // SAFETY: passed on to the caller.
        self.host_access("writes", Kind::Write, memory, bytes, || unsafe {
            self.shared.inner.write(memory, offset, from)
        })?
    }

    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()> {
        self.shared.inner.wait_any(points, bell, timeout)
    }
}

/// A queue of a [`Validated`] device: a hardware queue of its own to the model.
#[derive(Debug)]
struct ValidatedQueue {
    inner: Box<dyn Queue>,
    /// The model's index of this queue.
    index: usize,
    shared: Arc<Shared>,
}

impl Queue for ValidatedQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        self.inner.timeline()
    }

    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        let list = submission.list;
        if let Err(violation) = list.check(&self.shared.inner.info().limits) {
            return self.shared.refuse(violation);
        }
        if let Some(Err(violation)) = self.shared.unwritten().map(|mut unwritten| unwritten.run(list)) {
            return self.shared.refuse(violation);
        }
        let reserved = self.shared.model().reserve(self.index, self.inner.timeline(), submission);
        let reservation = reserved.or_else(|violation| self.shared.refuse(violation))?;
        // SAFETY: passed on to the caller.
        let result = unsafe { self.inner.submit(submission) };
        match result {
            Ok(()) => self.shared.model().confirm(list, &reservation),
            Err(_) => self.shared.model().roll_back(list, reservation),
        }
        result
    }
}

impl Drop for ValidatedQueue {
    fn drop(&mut self) {
        self.shared.model().retire_queue(self.index);
    }
}
