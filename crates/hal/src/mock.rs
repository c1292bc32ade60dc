//! A device as weak as the contract allows.
//!
//! The CPU and software drivers run lists in order and so hide every missing barrier and wait. This device does what a
//! real one might:
//!
//! - between two barriers, it runs commands in a random order;
//! - lists of one hardware queue overlap unless a barrier orders them, and queues overlap freely;
//! - a list whose waits are not met holds up those behind it on its hardware queue;
//! - a list that has run is signalled late, and streams advance out of step;
//! - a timestamp is a command like others, and taken when its turn comes;
//! - a list more than [`MockConfig::lists_in_flight`] is refused;
//! - discarded bytes are destroyed at once.
//!
//! It has no thread. It advances only while somebody waits, polls or submits, by a random number of steps, so a program
//! that would need the device to be fast, or slow, finds out. The order is drawn from a seed: the same single-threaded
//! program runs the same way again. Its clock counts steps, a nanosecond each, and so comes from the seed as well.

mod schedule;
#[cfg(test)]
mod tests;
mod timeline;

use crate::{
    Device, DeviceInfo, DeviceKind, Error, KernelSource, Limits, Memory, Pipeline, Queue, Result, Submission, Timeline,
    Violation, Wait, host,
};
use schedule::State;
use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use timeline::{MockTimeline, peek};

/// The pattern that discarded bytes are filled with: a NaN as f32, far out of range as an index.
const POISON: u8 = 0xff;
/// How long `wait_any` leaves the device alone before it takes a step: long enough that work piles up.
const IDLE: Duration = Duration::from_millis(1);

/// Settings of a [`MockDevice`].
#[derive(Clone, Copy, Debug)]
pub struct MockConfig {
    /// Where every random choice comes from.
    pub seed: u64,
    /// Hardware queues; queues beyond that share them in turn.
    pub queues: usize,
    /// Bytes that may be allocated.
    pub memory_bytes: u64,
    /// Number of allocations that may exist.
    pub max_allocations: u64,
    /// Lists of one queue that may be submitted and not be signalled; at least 1.
    pub lists_in_flight: u64,
}

impl Default for MockConfig {
    fn default() -> Self {
        Self { seed: 0, queues: 4, memory_bytes: 1 << 30, max_allocations: 1 << 16, lists_in_flight: u64::MAX }
    }
}

/// The mock device. See the [module](self).
#[derive(Debug)]
pub struct MockDevice {
    info: DeviceInfo,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    limits: Limits,
    state: Mutex<State>,
    /// Something was submitted or signalled.
    changed: Condvar,
    /// Written without `state`, since a list may drop the last owner of a memory under that lock.
    allocated: Mutex<Allocated>,
}

#[derive(Debug, Default)]
struct Allocated {
    bytes: u64,
    memories: u64,
}

impl MockDevice {
    /// A device of its own.
    pub fn new(config: MockConfig) -> Arc<Self> {
        let limits = Limits {
            max_binding_bytes: config.memory_bytes,
            max_allocations: config.max_allocations,
            memory_bytes: config.memory_bytes,
            max_lists_in_flight: config.lists_in_flight.max(1),
        };
        let queues = config.queues.max(1);
        let info = DeviceInfo {
            name: format!("mock (seed {})", config.seed),
            kind: DeviceKind::Mock,
            parallelism: queues as u32,
            timestamps: true,
            limits,
            details: Vec::new(),
        };
        let shared = Shared {
            name: info.name.clone(),
            limits,
            state: Mutex::new(State::new(config.seed, queues)),
            changed: Condvar::new(),
            allocated: Mutex::default(),
        };
        Arc::new(Self { info, shared: Arc::new(shared) })
    }

    /// Bytes and number of the allocations that exist.
    pub fn allocated(&self) -> (u64, u64) {
        let allocated = self.shared.allocated();
        (allocated.bytes, allocated.memories)
    }
}

impl Device for MockDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        let index = self.shared.lock().create_queue();
        Ok(Box::new(MockQueue { shared: Arc::clone(&self.shared), index }))
    }

    fn create_timeline(&self) -> Result<Arc<dyn Timeline>> {
        Ok(MockTimeline::create(&self.shared))
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        Ok(Arc::new(host::HostPipeline::new(source, "mock")?))
    }

    fn allocate(&self, bytes: u64) -> Result<Arc<dyn Memory>> {
        let shared = &self.shared;
        let mut allocated = shared.allocated();
        let (total, limits) = (allocated.bytes.checked_add(bytes), &self.info.limits);
        if total.is_none_or(|total| total > limits.memory_bytes) || allocated.memories >= limits.max_allocations {
            return Err(Error::OutOfMemory { device: self.info.name.clone(), bytes });
        }
        let memory = host::HostMemory::new(bytes, &self.info.name)?;
        allocated.bytes += bytes;
        allocated.memories += 1;
        Ok(Arc::new(MockMemory { memory, shared: Arc::clone(shared) }))
    }

    unsafe fn read(&self, memory: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        let _exclusive = self.shared.lock();
        let memory = host::memory(&**memory, &self.info.name)?;
        // SAFETY: every access to the device's bytes happens under its lock.
        into.copy_from_slice(unsafe { memory.slice(offset, into.len() as u64)? });
        Ok(())
    }

    unsafe fn write(&self, memory: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        let _exclusive = self.shared.lock();
        let memory = host::memory(&**memory, &self.info.name)?;
        // SAFETY: as in `read`.
        unsafe { memory.slice_mut(offset, from.len() as u64)? }.copy_from_slice(from);
        Ok(())
    }

    unsafe fn discard(&self, memory: &Arc<dyn Memory>, offset: u64, bytes: u64) {
        let _exclusive = self.shared.lock();
        let memory = host::memory(&**memory, &self.info.name);
        // SAFETY: as in `read`.
        if let Some(bytes) = memory.ok().and_then(|memory| unsafe { memory.slice_mut(offset, bytes) }.ok()) {
            bytes.fill(POISON);
        }
    }

    fn wait_any(&self, watch: &[Wait], timeout: Option<Duration>) -> Result<()> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.shared.lock();
        loop {
            let over = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if over || watch.iter().any(|wait| peek(&*wait.timeline) >= wait.value) {
                return Ok(());
            }
            let pause = if state.has_work() { Some(IDLE) } else { deadline.map(until) };
            let (next, timed_out) = self.shared.pause(state, pause);
            state = next;
            if timed_out {
                state.step(&self.info.name);
            }
        }
    }
}

/// How long from now to a deadline.
fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A kernel's panic is caught before it could poison the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allocated(&self) -> MutexGuard<'_, Allocated> {
        self.allocated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change; says whether the time was over first.
    fn pause<'a>(&self, state: MutexGuard<'a, State>, timeout: Option<Duration>) -> (MutexGuard<'a, State>, bool) {
        match timeout {
            None => (self.changed.wait(state).unwrap_or_else(PoisonError::into_inner), false),
            Some(timeout) => {
                let (state, result) = self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner);
                (state, result.timed_out())
            }
        }
    }
}

#[derive(Debug)]
struct MockQueue {
    shared: Arc<Shared>,
    index: usize,
}

impl Queue for MockQueue {
    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        let Submission { list, waits, signal } = submission;
        let name = &self.shared.name;
        debug_assert_eq!(list.check(&self.shared.limits), Ok(()), "a promise of `Queue::submit`");
        let mut state = self.shared.lock();
        let limit = self.shared.limits.max_lists_in_flight;
        if state.in_flight(self.index) >= limit {
            return Err(Violation::TooManyInFlight { limit }.into());
        }
        let mut ours = Vec::with_capacity(waits.len());
        for wait in waits {
            let timeline = MockTimeline::of(&*wait.timeline, name)?;
            // Relaxed: `promised` is read and written under the device's lock.
            let submitted = timeline.promised.load(Ordering::Relaxed);
            if wait.value > submitted {
                let violation = Violation::WaitNotSubmitted { timeline: timeline.id, value: wait.value, submitted };
                return Err(violation.into());
            }
            ours.push((timeline, wait.value));
        }
        let timeline = MockTimeline::of(&*signal.timeline, name)?;
        let promised = timeline.promised.load(Ordering::Relaxed);
        if signal.value <= promised {
            let violation = Violation::SignalNotRising { timeline: timeline.id, value: signal.value, promised };
            return Err(violation.into());
        }
        timeline.promised.store(signal.value, Ordering::Relaxed);
        state.push(self.index, list, ours, (timeline, signal.value), name);
        self.shared.changed.notify_all();
        Ok(())
    }
}

/// Host memory that counts against the mock's limits.
#[derive(Debug)]
struct MockMemory {
    memory: host::HostMemory,
    shared: Arc<Shared>,
}

impl Memory for MockMemory {
    fn id(&self) -> u64 {
        self.memory.id()
    }
    fn bytes(&self) -> u64 {
        self.memory.bytes()
    }
    /// The host memory inside, which is what runs commands.
    fn as_any(&self) -> &dyn Any {
        &self.memory
    }
}

impl Drop for MockMemory {
    fn drop(&mut self) {
        let mut allocated = self.shared.allocated();
        allocated.bytes -= self.memory.bytes();
        allocated.memories -= 1;
    }
}
