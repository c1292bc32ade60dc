//! A device as weak as the contract allows.
//!
//! The CPU and software drivers run lists in order and so hide every missing barrier and wait. This device does what a
//! real one might:
//!
//! - between two barriers, it runs commands in a random order;
//! - lists of one hardware queue overlap unless a barrier orders them, and queues overlap freely;
//! - a list whose waits are not met holds up those behind it on its hardware queue;
//! - a list that has run is signalled late, and streams advance out of step;
//! - discarded bytes are destroyed at once.
//!
//! It has no thread. It advances only while somebody waits, polls or submits, by a random number of steps, so a program
//! that would need the device to be fast, or slow, finds out. The order is drawn from a seed: the same single-threaded
//! program runs the same way again.

use crate::{
    Command, CommandFailure, Device, DeviceInfo, DeviceKind, Error, KernelSource, Limits, List, Memory, Pipeline,
    Queue, Result, Submission, Timeline, Violation, Wait, host, unique_id,
};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

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
}

impl Default for MockConfig {
    fn default() -> Self {
        Self { seed: 0, queues: 4, memory_bytes: 1 << 30, max_allocations: 1 << 16 }
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

#[derive(Debug)]
struct State {
    random: Random,
    queues: Vec<HardwareQueue>,
    created_queues: usize,
}

/// Lists in the order of their submission; those that have been signalled are gone.
#[derive(Debug, Default)]
struct HardwareQueue {
    lists: VecDeque<Running>,
}

#[derive(Debug)]
struct Running {
    list: Arc<List>,
    waits: Vec<(Arc<MockTimeline>, u64)>,
    signal: (Arc<MockTimeline>, u64),
    /// Commands that have not run, by index.
    left: Vec<usize>,
    /// Commands that failed.
    failures: Vec<(u32, Error)>,
}

/// What the device could do next.
#[derive(Clone, Copy)]
enum Step {
    Run { queue: usize, list: usize, left: usize },
    Signal { queue: usize },
}

impl MockDevice {
    /// A device of its own.
    pub fn new(config: MockConfig) -> Arc<Self> {
        let limits = Limits {
            max_binding_bytes: config.memory_bytes,
            max_allocations: config.max_allocations,
            memory_bytes: config.memory_bytes,
        };
        let info = DeviceInfo {
            name: format!("mock (seed {})", config.seed),
            kind: DeviceKind::Mock,
            parallelism: config.queues.max(1) as u32,
            limits,
            details: Vec::new(),
        };
        let queues = (0..config.queues.max(1)).map(|_| HardwareQueue::default()).collect();
        let state = State { random: Random(config.seed), queues, created_queues: 0 };
        let shared = Shared {
            name: info.name.clone(),
            limits,
            state: Mutex::new(state),
            changed: Condvar::new(),
            allocated: Mutex::default(),
        };
        Arc::new(Self { info, shared: Arc::new(shared) })
    }
}

impl Device for MockDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        let mut state = self.shared.lock();
        let index = state.created_queues % state.queues.len();
        state.created_queues += 1;
        Ok(Box::new(MockQueue { shared: Arc::clone(&self.shared), index }))
    }

    fn create_timeline(&self) -> Result<Arc<dyn Timeline>> {
        Ok(Arc::new_cyclic(|this| MockTimeline {
            this: this.clone(),
            id: unique_id(),
            value: AtomicU64::new(0),
            promised: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            failures: Mutex::new(Vec::new()),
            shared: Arc::clone(&self.shared),
        }))
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        Ok(Arc::new(host::HostPipeline::new(source)))
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
            let pause = if state.steps().is_empty() { deadline.map(until) } else { Some(IDLE) };
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

/// A timeline's value, without letting the device advance.
fn peek(timeline: &dyn Timeline) -> u64 {
    timeline.as_any().downcast_ref::<MockTimeline>().map_or_else(|| timeline.completed(), MockTimeline::value)
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

impl State {
    /// Everything that the device could do next. Barriers with nothing before them are done on the way.
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (queue_index, queue) in self.queues.iter_mut().enumerate() {
            let mut nothing_before = true;
            'queue: for (list_index, running) in queue.lists.iter_mut().enumerate() {
                if running.waits.iter().any(|(timeline, value)| timeline.value() < *value) {
                    break; // and nothing behind it starts either
                }
                while nothing_before && running.left.first().is_some_and(|at| running.is_barrier(*at)) {
                    running.left.remove(0);
                }
                for (left, at) in running.left.iter().enumerate() {
                    if running.is_barrier(*at) {
                        break 'queue;
                    }
                    steps.push(Step::Run { queue: queue_index, list: list_index, left });
                }
                nothing_before &= running.left.is_empty();
            }
            if queue.lists.front().is_some_and(|front| front.left.is_empty()) {
                steps.push(Step::Signal { queue: queue_index });
            }
        }
        steps
    }

    /// Takes one random step; `false` if there is none.
    fn step(&mut self, device: &str) -> bool {
        let steps = self.steps();
        if steps.is_empty() {
            return false;
        }
        match steps[self.random.below(steps.len())] {
            Step::Signal { queue } => {
                if let Some(done) = self.queues[queue].lists.pop_front() {
                    let (timeline, value) = done.signal;
                    timeline.reach(value, done.failures);
                }
            }
            Step::Run { queue, list, left } => {
                let running = &mut self.queues[queue].lists[list];
                let index = running.left.remove(left);
                let command = &running.list.commands[index];
                // SAFETY: every access to the device's bytes happens under its lock, which the caller holds; the list
                // was checked when it was submitted.
                let result = unsafe { host::execute(&running.list, command, 0..host::items(command), device) };
                if let Err(error) = result {
                    running.failures.push((index as u32, error));
                }
            }
        }
        true
    }
}

impl Running {
    fn is_barrier(&self, command: usize) -> bool {
        self.list.commands[command] == Command::Barrier
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
        list.check(&self.shared.limits)?;
        let mut state = self.shared.lock();
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
        let running = Running {
            list: Arc::clone(list),
            waits: ours,
            signal: (timeline, signal.value),
            left: (0..list.commands.len()).collect(),
            failures: Vec::new(),
        };
        state.queues[self.index].lists.push_back(running);
        for _ in 0..state.random.below(3) {
            state.step(name);
        }
        self.shared.changed.notify_all();
        Ok(())
    }
}

/// A timeline of the mock. Its value changes under the device's lock only.
#[derive(Debug)]
struct MockTimeline {
    this: Weak<MockTimeline>,
    id: u64,
    value: AtomicU64,
    /// The highest value that a submitted list signals.
    promised: AtomicU64,
    /// Nobody may wait any more.
    interrupted: AtomicBool,
    failures: Mutex<Vec<CommandFailure>>,
    shared: Arc<Shared>,
}

impl MockTimeline {
    fn of(timeline: &dyn Timeline, device: &str) -> Result<Arc<Self>> {
        let ours = timeline.as_any().downcast_ref::<Self>().and_then(|timeline| timeline.this.upgrade());
        ours.ok_or_else(|| Error::ForeignObject { device: device.to_owned(), what: "timeline" })
    }

    fn value(&self) -> u64 {
        // Acquire: pairs with the Release in `reach`.
        self.value.load(Ordering::Acquire)
    }

    /// The device's lock is held. The result is there before the value.
    fn reach(&self, value: u64, failures: Vec<(u32, Error)>) {
        let failures = failures.into_iter().map(|(command, error)| CommandFailure { value, command, error });
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).extend(failures);
        // Release: pairs with the Acquire in `value`.
        self.value.fetch_max(value, Ordering::Release);
        self.shared.changed.notify_all();
    }
}

impl Timeline for MockTimeline {
    fn id(&self) -> u64 {
        self.id
    }

    /// Asking lets the device take a step, so that asking again and again ends.
    fn completed(&self) -> u64 {
        self.shared.lock().step(&self.shared.name);
        self.value()
    }

    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.shared.lock();
        while self.value() < value {
            // Relaxed: under the device's lock.
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(false);
            }
            if !state.step(&self.shared.name) {
                state = self.shared.pause(state, deadline.map(until)).0;
            }
        }
        Ok(true)
    }

    fn interrupt(&self) {
        let _state = self.shared.lock();
        // Relaxed: under the device's lock.
        self.interrupted.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
    }

    fn signal(&self, value: u64) {
        let _state = self.shared.lock();
        // Relaxed: under the device's lock.
        if self.promised.load(Ordering::Relaxed) == 0 {
            self.reach(value, Vec::new());
        }
    }

    fn take_failures(&self) -> Vec<CommandFailure> {
        std::mem::take(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn as_any(&self) -> &dyn Any {
        self
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

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seedable, good enough to shuffle with.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests;
