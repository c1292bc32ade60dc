//! A wrapper that takes protections out and injects failures, to show that something then notices.
//!
//! | fault | set by | what happens |
//! |---|---|---|
//! | no barrier | [`Plan::barriers`], [`Plan::start_barriers`] | the inner device gets a copy of the list without it |
//! | no wait | [`Plan::waits`] | the inner device gets the submission without it |
//! | no memory | [`Plan::allocations`] | [`Error::OutOfMemory`] |
//! | refused submission | [`Plan::submissions`] | [`Error::Injected`]; the inner device sees nothing of it |
//! | refused kernel | [`Plan::pipelines`] | [`Error::Injected`] |
//! | late signals | [`Plan::withhold_signals`] | the host does not see the values until [`Faulty::release`] |
//! | lost device | [`Faulty::lose`] | every call answers [`Error::DeviceLost`]; who is waiting wakes with it |
//!
//! All are off at first. What strikes is decided by counting, or by numbers drawn from [`Plan::seed`], so the same calls
//! in the same order meet the same faults. [`Faulty::counts`] says what has struck.
//!
//! Timelines and queues are wrapped, memories and pipelines are the inner device's own. Signals are withheld from the
//! *host* only: the inner device goes on, and lists that wait for the values run. Put this around
//! [`validate`](crate::validate), not inside it, for the validator to see what was taken out.

mod plan;
#[cfg(test)]
mod tests;
mod timeline;

pub use plan::{Counts, Plan, Strike};

use crate::{
    Command, Device, DeviceInfo, Error, KernelSource, List, Memory, Pipeline, Queue, Result, Submission, Timeline, Wait,
};
use plan::{Fault, Injector};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use timeline::{Doorbell, FaultyTimeline};

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
    doorbell: Doorbell,
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

    fn lost(&self) -> Error {
        Error::DeviceLost { device: self.inner.info().name.clone() }
    }
}

impl Faulty {
    /// Wraps a device.
    pub fn new(inner: Arc<dyn Device>, plan: Plan) -> Arc<Self> {
        let injector = Mutex::new(Injector::new(plan));
        Arc::new(Self { shared: Arc::new(Shared { inner, injector, doorbell: Doorbell::default() }) })
    }

    /// Replaces the plan. Counting towards the n-th starts again; values withheld stay so until
    /// [`release`](Self::release).
    pub fn set(&self, plan: Plan) {
        self.shared.injector().set(plan);
    }

    /// Shows the host the values that were withheld, and withholds no more.
    pub fn release(&self) {
        let mut injector = self.shared.injector();
        injector.release();
        self.shared.doorbell.ring(&mut injector);
    }

    /// Loses the device, for ever. Values that the host has not seen by now are not reached any more.
    pub fn lose(&self) {
        let mut injector = self.shared.injector();
        injector.lose();
        self.shared.doorbell.ring(&mut injector);
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

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        drop(self.shared.alive()?);
        Ok(Box::new(FaultyQueue { inner: self.shared.inner.create_queue()?, shared: self.shared.clone() }))
    }

    fn create_timeline(&self) -> Result<Arc<dyn Timeline>> {
        drop(self.shared.alive()?);
        Ok(FaultyTimeline::create(&self.shared)?)
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        if self.shared.alive()?.strikes(Fault::Pipeline) {
            return Err(Error::Injected("pipeline not compiled"));
        }
        self.shared.inner.create_pipeline(source)
    }

    fn allocate(&self, bytes: u64) -> Result<Arc<dyn Memory>> {
        if self.shared.alive()?.strikes(Fault::Allocation) {
            return Err(Error::OutOfMemory { device: self.info().name.clone(), bytes });
        }
        self.shared.inner.allocate(bytes)
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

    unsafe fn discard(&self, memory: &Arc<dyn Memory>, offset: u64, bytes: u64) {
        if self.shared.alive().is_ok() {
            // SAFETY: passed on to the caller.
            unsafe { self.shared.inner.discard(memory, offset, bytes) }
        }
    }

    fn wait_any(&self, watch: &[Wait], timeout: Option<Duration>) -> Result<()> {
        timeline::wait_any(&self.shared, watch, timeout)
    }
}

/// A queue of a [`Faulty`] device.
#[derive(Debug)]
struct FaultyQueue {
    inner: Box<dyn Queue>,
    shared: Arc<Shared>,
}

impl Queue for FaultyQueue {
    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        let Submission { list, waits, signal } = submission;
        let raised = timeline::of(&self.shared, &signal.timeline)?;
        let inner_waits = waits.iter().map(|wait| timeline::unwrap(&self.shared, wait)).collect::<Result<Vec<_>>>()?;

        let mut injector = self.shared.alive()?;
        if injector.strikes(Fault::Submission) {
            return Err(Error::Injected("submission refused"));
        }
        let inner_waits: Vec<Wait> = inner_waits.into_iter().filter(|_| !injector.strikes(Fault::Wait)).collect();
        let list = without_barriers(list, &mut injector);
        if injector.withholds() {
            raised.withhold();
        }
        drop(injector);

        let inner_signal = Wait { timeline: raised.inner().clone(), value: signal.value };
        // SAFETY: passed on to the caller, whose promises hold for what is left of the submission: all of it, unless
        // the plan says to break them, and then the inner device is one that is there to find out.
        unsafe { self.inner.submit(Submission { list: &list, waits: &inner_waits, signal: &inner_signal })? };
        raised.submitted(signal.value);
        Ok(())
    }
}

/// The list, or a copy without the barriers that are struck.
fn without_barriers(list: &Arc<List>, injector: &mut Injector) -> Arc<List> {
    if !injector.strikes_barriers() {
        return list.clone();
    }
    let mut commands = list.commands.clone();
    let mut at = 0;
    commands.retain(|command| {
        let fault = if at == 0 { Fault::StartBarrier } else { Fault::Barrier };
        at += 1;
        !(matches!(command, Command::Barrier) && injector.strikes(fault))
    });
    if commands.len() == list.commands.len() {
        return list.clone();
    }
    Arc::new(List {
        commands,
        bindings: list.bindings.clone(),
        params: list.params.clone(),
        memories: list.memories.clone(),
        pipelines: list.pipelines.clone(),
    })
}
