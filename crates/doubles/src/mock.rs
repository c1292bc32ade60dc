//! A device as weak as the contract allows.
//!
//! The CPU and software drivers run lists in order and so hide every missing barrier and wait. This device does what a
//! real one might:
//!
//! - between two barriers, it runs commands in a random order;
//! - lists of one hardware queue overlap unless a barrier orders them, and queues overlap freely;
//! - a list that still waits holds up those behind it on its hardware queue;
//! - a list that has run is signalled late, and streams advance out of step;
//! - a timestamp is a command like others, and taken when its turn comes, or skipped ([`MockConfig::timestamps`]);
//! - a list more than [`MockConfig::lists_in_flight`] is refused;
//! - new memory is full of NaN if told so ([`MockConfig::zeroed`]), and so are always bytes that a kernel is about to
//!   write ([`Access::Write`](thalweg_hal::Access::Write)): what it had to write and did not, or reads before it has
//!   written it, is seen;
//! - if told so, the host sees only memory of its own kind ([`MockConfig::host_access`]).
//!
//! It has no thread. It advances only while somebody waits, polls or submits, by a random number of steps, so a program
//! that would need the device to be fast, or slow, finds out. The order is drawn from a seed: the same single-threaded
//! program runs the same way again. Its clock counts steps, a nanosecond each, and so comes from the seed as well.

mod schedule;
#[cfg(test)]
mod tests;
mod timeline;

use schedule::State;
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use thalweg_hal::{
    Device, DeviceInfo, DeviceKind, Doorbell, Error, HostAccess, KernelSource, KernelSupport, Limits, List, Listener,
    Memory, MemoryKind, Overhead, Pipeline, Queue, Result, Submission, Timeline, TimelinePoint, Timestamps, Violation,
    host,
};
use timeline::{MockTimeline, peek};

/// The pattern of undefined bytes: a NaN as f32, far out of range as an index.
pub(crate) const POISON: u8 = 0xff;
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
    /// The longest binding, in bytes.
    pub max_binding_bytes: u64,
    /// Number of allocations that may exist.
    pub max_allocations: u64,
    /// Lists of one queue that may be submitted and not be signalled; at least 1.
    pub lists_in_flight: u64,
    /// Where it takes the time.
    pub timestamps: Timestamps,
    /// Whether it says that the waits of submissions are dear; they are as cheap as otherwise.
    pub waits_are_dear: bool,
    /// How the host sees the memory that kernels use.
    pub host_access: HostAccess,
    /// Whether new memory holds zeros, and not NaN.
    pub zeroed: bool,
}

impl MockConfig {
    /// As a GPU with memory of its own that the host does not see: what is in new memory is undefined, there is one
    /// hardware queue, and few allocations.
    pub fn discrete(seed: u64) -> Self {
        let host_access = HostAccess::None;
        Self { seed, queues: 1, max_allocations: 3072, host_access, zeroed: false, ..Self::default() }
    }
}

impl Default for MockConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            queues: 4,
            memory_bytes: 1 << 30,
            max_binding_bytes: u64::MAX,
            max_allocations: 1 << 16,
            lists_in_flight: u64::MAX,
            timestamps: Timestamps::ByCommand,
            waits_are_dear: false,
            host_access: HostAccess::Cached,
            zeroed: true,
        }
    }
}

/// The mock device. See the [module](self).
pub struct MockDevice {
    info: DeviceInfo,
    overhead: Arc<Overhead>,
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    limits: Limits,
    state: Mutex<State>,
    /// Something was submitted or signalled, or a doorbell was rung.
    changed: Condvar,
    /// Written without `state`, since a list may drop the last owner of a memory under that lock.
    allocated: Mutex<Allocated>,
}

#[derive(Debug, Default)]
struct Allocated {
    bytes: u64,
    memories: u64,
}

impl fmt::Debug for MockDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MockDevice({})", self.info.name)
    }
}

impl MockDevice {
    /// A device of its own.
    pub fn new(config: MockConfig) -> Arc<Self> {
        let limits = Limits {
            max_binding_bytes: config.max_binding_bytes.min(config.memory_bytes),
            max_allocations: config.max_allocations,
            memory_bytes: config.memory_bytes,
            max_lists_in_flight: config.lists_in_flight.max(1),
        };
        let queues = config.queues.max(1);
        let info = DeviceInfo {
            name: format!("mock (seed {})", config.seed),
            kind: DeviceKind::Mock,
            driver: "mock".to_owned(),
            parallelism: queues as u32,
            timestamps: config.timestamps,
            waits_are_dear: config.waits_are_dear,
            host_access: config.host_access,
            zeroed: config.zeroed,
            limits,
            support: KernelSupport::NONE,
            details: Vec::new(),
        };
        let shared = Shared {
            name: info.name.clone(),
            limits,
            state: Mutex::new(State::new(config.seed, queues, config.timestamps)),
            changed: Condvar::new(),
            allocated: Mutex::default(),
        };
        Arc::new(Self { info, overhead: Arc::default(), shared: Arc::new(shared) })
    }

    /// How many points the submissions so far were to wait for.
    pub fn device_waits(&self) -> usize {
        self.shared.lock().waits()
    }

    /// Bytes and number of the allocations that exist.
    pub fn allocated(&self) -> (u64, u64) {
        let allocated = self.shared.allocated();
        (allocated.bytes, allocated.memories)
    }

    fn check_visible(&self, access: &'static str, memory: &Arc<dyn Memory>) -> Result<()> {
        if self.info.host_access == HostAccess::None && memory.kind() == MemoryKind::Device {
            return Err(Violation::NotVisible { access, memory: memory.id() }.into());
        }
        Ok(())
    }
}

impl Device for MockDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn overhead(&self) -> &Arc<Overhead> {
        &self.overhead
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        let index = self.shared.lock().create_queue();
        Ok(Box::new(MockQueue {
            index,
            timeline: MockTimeline::create(&self.shared),
            shared: Arc::clone(&self.shared),
        }))
    }

    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        Ok(Arc::new(MockDoorbell { rings: AtomicU64::new(0), shared: Arc::clone(&self.shared) }))
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        Ok(Arc::new(host::HostPipeline::new(source, "mock")?))
    }

    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()> {
        debug_assert_eq!(list.check_inner(&self.info.limits), Ok(()), "a promise of `Device::prepare`");
        Ok(())
    }

    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        let shared = &self.shared;
        let mut allocated = shared.allocated();
        let (total, limits) = (allocated.bytes.checked_add(bytes), &self.info.limits);
        if total.is_none_or(|total| total > limits.memory_bytes) || allocated.memories >= limits.max_allocations {
            return Err(Error::OutOfMemory { device: self.info.name.clone(), bytes });
        }
        let memory = host::HostMemory::new(kind, bytes, &self.info.name)?;
        if !self.info.zeroed {
            // SAFETY: nobody else knows the memory yet.
            unsafe { memory.slice_mut(0, bytes)? }.fill(POISON);
        }
        allocated.bytes += bytes;
        allocated.memories += 1;
        Ok(Arc::new(MockMemory { memory, shared: Arc::clone(shared) }))
    }

    unsafe fn read(&self, memory: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        self.check_visible("reads", memory)?;
        let _exclusive = self.shared.lock();
        let memory = host::memory(&**memory, &self.info.name)?;
        // SAFETY: every access to the device's bytes happens under its lock.
        into.copy_from_slice(unsafe { memory.slice(offset, into.len() as u64)? });
        Ok(())
    }

    unsafe fn write(&self, memory: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        self.check_visible("writes", memory)?;
        let _exclusive = self.shared.lock();
        let memory = host::memory(&**memory, &self.info.name)?;
        // SAFETY: as in `read`.
        unsafe { memory.slice_mut(offset, from.len() as u64)? }.copy_from_slice(from);
        Ok(())
    }

    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()> {
        if points.is_empty() && bell.is_none() && timeout.is_none() {
            return Ok(());
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.shared.lock();
        loop {
            let over = deadline.is_some_and(|deadline| deadline <= Instant::now());
            let reached = || points.iter().any(|point| peek(&*point.timeline) >= point.value);
            if over || bell.is_some_and(Listener::is_rung) || reached() {
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

/// Rung under the device's lock; a listener looks under it too.
struct MockDoorbell {
    rings: AtomicU64,
    shared: Arc<Shared>,
}

impl fmt::Debug for MockDoorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MockDoorbell(on {})", self.shared.name)
    }
}

impl Doorbell for MockDoorbell {
    fn ring(&self) {
        let _state = self.shared.lock();
        // Release: pairs with the Acquire in `rings`.
        self.rings.fetch_add(1, Ordering::Release);
        self.shared.changed.notify_all();
    }

    fn rings(&self) -> u64 {
        self.rings.load(Ordering::Acquire)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct MockQueue {
    index: usize,
    timeline: Arc<dyn Timeline>,
    shared: Arc<Shared>,
}

impl fmt::Debug for MockQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MockQueue({} of {})", self.index, self.shared.name)
    }
}

impl Queue for MockQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        &self.timeline
    }

    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        let Submission { list, waits, value } = submission;
        let name = &self.shared.name;
        debug_assert_eq!(list.check(&self.shared.limits), Ok(()), "a promise of `Queue::submit`");
        let mut state = self.shared.lock();
        let limit = self.shared.limits.max_lists_in_flight;
        if state.in_flight(self.index) >= limit {
            return Err(Violation::TooManyInFlight { limit }.into());
        }
        let waits = waits.iter().map(|wait| Ok((MockTimeline::of(&*wait.timeline, name)?, wait.value)));
        let waits = waits.collect::<Result<Vec<_>>>()?;
        let timeline = MockTimeline::of(&*self.timeline, name)?;
        state.push(self.index, list, waits, (timeline, value), name);
        self.shared.changed.notify_all();
        Ok(())
    }
}

/// Host memory that counts against the mock's limits.
struct MockMemory {
    memory: host::HostMemory,
    shared: Arc<Shared>,
}

impl fmt::Debug for MockMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.memory.fmt(f)
    }
}

impl Memory for MockMemory {
    fn id(&self) -> u64 {
        self.memory.id()
    }
    fn bytes(&self) -> u64 {
        self.memory.bytes()
    }
    fn kind(&self) -> MemoryKind {
        self.memory.kind()
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
