//! A wrapper that takes protections out and injects failures, to show that something then notices.
//!
//! | fault | set by | what happens |
//! |---|---|---|
//! | no barrier | [`Plan::barriers`], [`Plan::start_barriers`] | the inner device gets a copy of the list without it |
//! | no wait | [`Plan::waits`] | the inner device gets the submission without it |
//! | no memory | [`Plan::allocations`] | [`Error::OutOfMemory`] |
//! | refused submission | [`Plan::submissions`] | [`Error::Driver`], unseen by the device; [`Faulty::refused`] |
//! | refused kernel | [`Plan::pipelines`] | [`Error::Driver`] |
//! | failed list | [`Plan::failures`] | it runs, and all its commands are reported as failed with [`Error::Driver`] |
//! | late signal | [`Plan::signals`] | the host sees no value of the timeline from it on until [`Faulty::release`] |
//! | late answer | [`Plan::delays`] | the call waits for [`Faulty::release`], [`Faulty::lose`] or [`Faulty::set`] |
//! | lost device | [`Faulty::lose`] | every call answers [`Error::DeviceLost`]; who is waiting wakes with it |
//!
//! All are off at first. What strikes is decided by counting, or by numbers drawn from [`Plan::seed`], so the same
//! calls in the same order meet the same faults. [`Faulty::counts`] says what has struck.
//!
//! Queues, timelines and doorbells are wrapped, memories and pipelines are the inner device's own. Signals are withheld
//! from the *host* only: the inner device goes on, and lists that wait for the values run. Reports name commands by
//! their index in the caller's list, whatever was taken out of it. Put this around [`validate`](thalweg_hal::validate),
//! not inside it, for the validator to see what was taken out.
//!
//! A call that is held up holds no lock of this module; whatever lock its caller holds stays held, which is the point.

mod injector;
mod plan;
mod reports;
#[cfg(test)]
mod tests;
mod timeline;

pub use plan::{Counts, Delays, Plan, Strike};

use injector::{Fault, Injector};
use reports::Rewrite;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thalweg_hal::{
    Command, Device, DeviceInfo, Doorbell, Error, KernelSource, List, Listener, Memory, MemoryKind, Overhead, Pipeline,
    Queue, Result, Submission, Timeline, TimelinePoint,
};
use timeline::{Bell, FaultyDoorbell, FaultyTimeline, Raised};

/// What a driver is made to say.
const INJECTED: &str = "a fault that a test asked for";

/// What a driver that was told to fail answers.
fn injected(call: &'static str) -> Error {
    Error::Driver { device: "faulty".to_owned(), call, message: INJECTED.to_owned() }
}

/// Whether a device failed because [`Faulty`] was told so, but for a shortage of memory and a lost device, which are
/// what they always are.
pub fn is_injected(error: &Error) -> bool {
    matches!(error, Error::Driver { message, .. } if message == INJECTED)
}

/// A device that does worse than the one it wraps, as told; see the [module](self).
#[derive(Debug)]
pub struct Faulty {
    shared: Arc<Shared>,
}

/// What the device, its queues and its timelines share.
#[derive(Debug)]
struct Shared {
    inner: Arc<dyn Device>,
    injector: Mutex<Injector>,
    /// Where calls are held up, with `injector`; notified when they are let go.
    let_go: Condvar,
    bell: Bell,
}

impl Shared {
    fn injector(&self) -> MutexGuard<'_, Injector> {
        // Nothing panics under the lock with the state half changed.
        self.injector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The injector, if the device is not lost.
    fn alive(&self) -> Result<MutexGuard<'_, Injector>> {
        let mut injector = self.injector();
        if injector.lost() {
            injector.answered_lost();
            return Err(self.lost());
        }
        Ok(injector)
    }

    /// The same for a call that may be delayed: returns once it is not held up any more.
    fn admit(&self, delay: Fault) -> Result<MutexGuard<'_, Injector>> {
        let mut injector = self.alive()?;
        if !injector.strikes(delay) {
            return Ok(injector);
        }
        let ticket = injector.hold();
        drop(self.let_go.wait_while(injector, |injector| injector.holds(ticket)));
        self.alive()
    }

    fn lost(&self) -> Error {
        Error::DeviceLost { device: self.inner.info().name.clone() }
    }
}

impl Faulty {
    /// Wraps a device.
    pub fn new(inner: Arc<dyn Device>, plan: Plan) -> Arc<Self> {
        let (injector, let_go) = (Mutex::new(Injector::new(plan)), Condvar::new());
        Arc::new(Self { shared: Arc::new(Shared { inner, injector, let_go, bell: Bell::default() }) })
    }

    /// Replaces the plan. Counting towards the n-th starts again; values withheld stay so until
    /// [`release`](Self::release). Calls that are held up go on, under the new plan, which does not hold them up again.
    pub fn set(&self, plan: Plan) {
        self.shared.injector().set(plan);
        self.shared.let_go.notify_all();
    }

    /// Shows the host the values that were withheld, lets the calls go on that are held up, and withholds and delays no
    /// more: [`Plan::signals`] and [`Plan::delays`] are empty from now on.
    pub fn release(&self) {
        self.shared.injector().release();
        self.shared.bell.ring();
        self.shared.let_go.notify_all();
    }

    /// Loses the device, for ever. Values that the host has not seen by now are not reached any more; calls that are
    /// held up are answered with the loss.
    pub fn lose(&self) {
        self.shared.injector().lose();
        self.shared.bell.ring();
        self.shared.let_go.notify_all();
    }

    /// How many calls are being held up at this moment.
    pub fn delayed(&self) -> u64 {
        self.shared.injector().delayed()
    }

    /// Every submission so far that was refused, by the plan or by the inner device, in that order: the timeline
    /// ([`Timeline::id`]) and the value that it would have reached. Those that found the device lost are not among
    /// them. Grows without bound, sixteen bytes each.
    pub fn refused(&self) -> Vec<(u64, u64)> {
        self.shared.injector().refused().to_vec()
    }

    /// What has struck since the device was wrapped.
    pub fn counts(&self) -> Counts {
        self.shared.injector().counts()
    }
}

impl Device for Faulty {
    fn info(&self) -> &DeviceInfo {
        self.shared.inner.info()
    }

    fn overhead(&self) -> &Arc<Overhead> {
        self.shared.inner.overhead()
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        drop(self.shared.alive()?);
        let inner = self.shared.inner.create_queue()?;
        let timeline = FaultyTimeline::create(&self.shared, inner.timeline())?;
        let (raised, timeline) = (timeline.raised().clone(), timeline as Arc<dyn Timeline>);
        Ok(Box::new(FaultyQueue { inner, raised, timeline, submitted: 0, shared: self.shared.clone() }))
    }

    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        drop(self.shared.alive()?);
        Ok(FaultyDoorbell::create(&self.shared)?)
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        if self.shared.admit(Fault::DelayedPipeline)?.strikes(Fault::Pipeline) {
            return Err(injected("create_pipeline"));
        }
        self.shared.inner.create_pipeline(source)
    }

    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()> {
        drop(self.shared.alive()?);
        // SAFETY: passed on to the caller.
        unsafe { self.shared.inner.prepare(list) }
    }

    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        if self.shared.admit(Fault::DelayedAllocation)?.strikes(Fault::Allocation) {
            return Err(Error::OutOfMemory { device: self.info().name.clone(), bytes });
        }
        self.shared.inner.allocate(kind, bytes)
    }

    unsafe fn read(&self, memory: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        drop(self.shared.alive()?);
        // SAFETY: passed on to the caller.
        unsafe { self.shared.inner.read(memory, offset, into) }
    }

    unsafe fn write(&self, memory: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        drop(self.shared.alive()?);
        // SAFETY: passed on to the caller.
        unsafe { self.shared.inner.write(memory, offset, from) }
    }

    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()> {
        timeline::wait_any(&self.shared, points, bell, timeout)
    }
}

/// A queue of a [`Faulty`] device.
#[derive(Debug)]
struct FaultyQueue {
    inner: Box<dyn Queue>,
    raised: Arc<Raised>,
    timeline: Arc<dyn Timeline>,
    /// The value of the last list that was taken.
    submitted: u64,
    shared: Arc<Shared>,
}

impl Queue for FaultyQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        &self.timeline
    }

    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        let Submission { list, waits, value } = submission;
        let inner_waits = waits.iter().map(|wait| timeline::unwrap(&self.shared, wait)).collect::<Result<Vec<_>>>()?;

        let mut injector = self.shared.admit(Fault::DelayedSubmission)?;
        if injector.strikes(Fault::Submission) {
            injector.refuse(self.timeline.id(), value);
            return Err(injected("submit"));
        }
        let inner_waits: Vec<TimelinePoint> =
            inner_waits.into_iter().filter(|_| !injector.strikes(Fault::Wait)).collect();
        let (inner_list, kept) = without_barriers(list, &mut injector);
        let fails = injector.strikes(Fault::Failure);
        if injector.strikes(Fault::Signal) {
            self.raised.withhold(self.submitted);
        }
        drop(injector);

        let rewrite = if fails { Some(Rewrite::Fail(work_of(list))) } else { kept.map(Rewrite::Renumber) };
        rewrite.into_iter().for_each(|rewrite| self.raised.reports().expect(value, rewrite));
        // SAFETY: passed on to the caller. Its promises hold for what is left of the submission: all of it, unless the
        // plan says to break them, and then the inner device is one that is there to find out.
        let taken = unsafe { self.inner.submit(Submission { list: &inner_list, waits: &inner_waits, value }) };
        match &taken {
            Ok(()) => self.submitted = value,
            Err(_) => {
                self.raised.reports().forget(value);
                self.shared.injector().refuse(self.timeline.id(), value);
            }
        }
        taken
    }
}

/// The commands of a list that are not barriers, by index.
fn work_of(list: &List) -> Vec<u32> {
    let commands = (0..).zip(&list.commands);
    commands.filter(|(_, command)| **command != Command::Barrier).map(|(index, _)| index).collect()
}

/// The list; or a copy without the barriers that are struck, also in lists that it runs, with the index in the list of
/// each command that is left.
fn without_barriers(list: &Arc<List>, injector: &mut Injector) -> (Arc<List>, Option<Vec<u32>>) {
    if !injector.strikes_barriers() {
        return (list.clone(), None);
    }
    let left = (0..).zip(&list.commands).filter(|(index, command)| {
        let fault = if *index == 0 { Fault::StartBarrier } else { Fault::Barrier };
        **command != Command::Barrier || !injector.strikes(fault)
    });
    let (kept, commands): (Vec<u32>, Vec<Command>) = left.unzip();
    let lists: Vec<_> = list.lists.iter().map(|inner| without_barriers(inner, injector).0).collect();
    if commands.len() == list.commands.len() && lists.iter().zip(&list.lists).all(|(a, b)| Arc::ptr_eq(a, b)) {
        return (list.clone(), None);
    }
    let inner = List {
        commands,
        bindings: list.bindings.clone(),
        params: list.params.clone(),
        memories: list.memories.clone(),
        pipelines: list.pipelines.clone(),
        lists,
        prepared: Default::default(), // not that of the whole list
    };
    (Arc::new(inner), Some(kept))
}
