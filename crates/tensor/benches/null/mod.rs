//! A device that runs nothing, so that what is measured is the runtime.
//!
//! A list is complete as soon as it is submitted, or never, as [`Completion`] says. The host's side is that of a real
//! device: memory can be written and read, and who waits for a timeline sleeps and is woken.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use thalweg_hal::host::{HostMemory, HostPipeline, memory};
use thalweg_hal::{
    Device, DeviceInfo, DeviceKind, Doorbell, HostAccess, KernelSource, KernelSupport, Limits, List, Listener, Memory,
    MemoryKind, Overhead, Pipeline, Queue, Report, Result, Submission, Timeline, TimelinePoint, Timestamps, unique_id,
};

const NAME: &str = "null";

/// When a submitted list is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// When `submit` returns.
    AtSubmit,
    /// When the thread that made the device waits for it.
    #[allow(dead_code)] // each benchmark uses its part
    WhenWaitedFor,
    /// Not as long as the device lives: so its work looks to all who ask in the meantime.
    Never,
}

/// The device.
#[derive(Debug)]
pub struct NullDevice {
    info: DeviceInfo,
    overhead: Arc<Overhead>,
    completion: Completion,
    /// The thread that made it.
    owner: thread::ThreadId,
    /// Memories that it was asked for.
    allocated: AtomicU64,
    bell: Arc<Bell>,
}

/// Kernels with names that start with this take so long to compile.
pub const SLOW: (&str, Duration) = ("slow", Duration::from_secs(1));

impl NullDevice {
    /// A device of its own, with a gibibyte of memory.
    pub fn new(completion: Completion) -> Arc<Self> {
        Self::with_memory(completion, 1 << 30)
    }

    /// With as much memory as this, of which what is not used costs nothing.
    pub fn with_memory(completion: Completion, bytes: u64) -> Arc<Self> {
        let limits = Limits {
            max_binding_bytes: bytes,
            max_allocations: 1 << 20,
            memory_bytes: bytes,
            max_lists_in_flight: u64::MAX,
        };
        let (name, kind) = (NAME.to_owned(), DeviceKind::Mock);
        let info = DeviceInfo {
            name,
            kind,
            driver: String::new(),
            parallelism: 1,
            limits,
            support: KernelSupport::NONE,
            timestamps: Timestamps::None,
            waits_are_dear: false,
            host_access: HostAccess::Cached,
            zeroed: true,
            details: Vec::new(),
        };
        Arc::new(Self {
            info,
            overhead: Arc::default(),
            completion,
            owner: thread::current().id(),
            allocated: AtomicU64::new(0),
            bell: Arc::default(),
        })
    }

    /// How many memories it was asked for.
    #[allow(dead_code)] // each benchmark uses its part
    pub fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }
}

impl Device for NullDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn overhead(&self) -> &Arc<Overhead> {
        &self.overhead
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        let (value, interrupted, watchers) = (AtomicU64::new(0), AtomicBool::new(false), AtomicUsize::new(0));
        let (id, on_wait) = (unique_id(), (self.completion == Completion::WhenWaitedFor).then_some(self.owner));
        let bell = Arc::clone(&self.bell);
        let timeline = Arc::new(NullTimeline { id, value, on_wait, interrupted, watchers, bell });
        let handle = Arc::<NullTimeline>::clone(&timeline);
        Ok(Box::new(NullQueue { completion: self.completion, timeline, handle }))
    }

    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        let (rings, listeners) = (AtomicU64::new(0), AtomicUsize::new(0));
        Ok(Arc::new(NullDoorbell { rings, listeners, bell: Arc::clone(&self.bell) }))
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        if source.name.starts_with(SLOW.0) {
            thread::sleep(SLOW.1);
        }
        Ok(Arc::new(HostPipeline::new(source, "null")?))
    }

    unsafe fn prepare(&self, _list: &Arc<List>) -> Result<()> {
        Ok(())
    }

    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        self.allocated.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(HostMemory::new(kind, bytes, NAME)?))
    }

    unsafe fn read(&self, from: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        // SAFETY: nothing writes the range, by the caller's promise; no command of this device ever does.
        into.copy_from_slice(unsafe { memory(&**from, NAME)?.slice(offset, into.len() as u64)? });
        Ok(())
    }

    unsafe fn write(&self, to: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        // SAFETY: nothing else touches the range, by the caller's promise; no command of this device ever does.
        unsafe { memory(&**to, NAME)?.slice_mut(offset, from.len() as u64)? }.copy_from_slice(from);
        Ok(())
    }

    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()> {
        let watched = || points.iter().filter_map(|point| point.timeline.as_any().downcast_ref::<NullTimeline>());
        // Any of them will do.
        if let Some(point) = points.first()
            && let Some(timeline) = watched().next()
        {
            timeline.reach_by_waiting(point.value);
        }
        let doorbell = bell.and_then(|bell| bell.doorbell.as_any().downcast_ref::<NullDoorbell>());
        let counts = || watched().map(|timeline| &timeline.watchers).chain(doorbell.map(|bell| &bell.listeners));
        for count in counts() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let is_rung = || bell.is_some_and(Listener::is_rung);
        self.bell.sleep_until(timeout, || points.iter().any(TimelinePoint::is_reached) || is_rung());
        for count in counts() {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct NullQueue {
    completion: Completion,
    timeline: Arc<NullTimeline>,
    /// The same.
    handle: Arc<dyn Timeline>,
}

impl Queue for NullQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        &self.handle
    }

    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        // Its waits name submitted work, so they are met if anything is.
        if self.completion == Completion::AtSubmit {
            self.timeline.reach(submission.value);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct NullTimeline {
    id: u64,
    value: AtomicU64,
    /// The thread that reaches a value by waiting for it, if there is one.
    on_wait: Option<thread::ThreadId>,
    /// Nobody may wait any more.
    interrupted: AtomicBool,
    /// Threads that sleep until it moves, or are about to.
    watchers: AtomicUsize,
    bell: Arc<Bell>,
}

impl NullTimeline {
    fn reach_by_waiting(&self, value: u64) {
        if self.on_wait == Some(thread::current().id()) {
            self.reach(value);
        }
    }

    fn reach(&self, value: u64) {
        // Release: pairs with the Acquire in `completed`.
        self.value.fetch_max(value, Ordering::Release);
        self.bell.ring_for(&self.watchers);
    }
}

/// What the host rings.
#[derive(Debug)]
struct NullDoorbell {
    rings: AtomicU64,
    /// Threads that sleep until it is rung, or are about to.
    listeners: AtomicUsize,
    bell: Arc<Bell>,
}

impl Doorbell for NullDoorbell {
    fn ring(&self) {
        // Release: pairs with the Acquire in `rings`.
        self.rings.fetch_add(1, Ordering::Release);
        self.bell.ring_for(&self.listeners);
    }

    fn rings(&self) -> u64 {
        self.rings.load(Ordering::Acquire)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Timeline for NullTimeline {
    fn id(&self) -> u64 {
        self.id
    }

    fn completed(&self) -> u64 {
        // Acquire: pairs with the Release in `reach`.
        self.value.load(Ordering::Acquire)
    }

    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        self.reach_by_waiting(value);
        self.watchers.fetch_add(1, Ordering::Relaxed);
        // Relaxed: it carries no data.
        self.bell.sleep_until(timeout, || self.completed() >= value || self.interrupted.load(Ordering::Relaxed));
        self.watchers.fetch_sub(1, Ordering::Relaxed);
        Ok(self.completed() >= value)
    }

    fn interrupt(&self) {
        // Relaxed: as in `wait`; the bell sees to it that a sleeper looks again.
        self.interrupted.store(true, Ordering::Relaxed);
        self.bell.ring();
    }

    fn take_reports(&self) -> Vec<Report> {
        Vec::new()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Where threads sleep until a timeline moves that they watch.
#[derive(Debug, Default)]
struct Bell {
    asleep: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    /// Rings, if anybody of these sleeps. What they sleep for has happened.
    fn ring_for(&self, sleepers: &AtomicUsize) {
        // Pairs with the fence in `sleep_until`: either this sees the sleeper, or the sleeper sees what has happened.
        fence(Ordering::SeqCst);
        if sleepers.load(Ordering::Relaxed) > 0 {
            self.ring();
        }
    }

    fn ring(&self) {
        // Taken for a moment: a sleeper that has looked already is then asleep, and hears it.
        drop(self.asleep.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_all();
    }

    /// Sleeps until `done`, or the timeout is over. The caller has entered itself as a sleeper.
    fn sleep_until(&self, timeout: Option<Duration>, done: impl Fn() -> bool) {
        // Pairs with the fence in `ring_for`.
        fence(Ordering::SeqCst);
        // A timeout too long for the clock is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        while !done() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            asleep = match deadline {
                None => self.rung.wait(asleep).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.rung.wait_timeout(asleep, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
