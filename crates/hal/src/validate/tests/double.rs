//! An inner device for the tests of the wrappers: runs each list at once and in order, and reaches values when told.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use thalweg_hal::host::{self, HostMemory, HostPipeline};
use thalweg_hal::{
    Command, Device, DeviceInfo, DeviceKind, Doorbell, Error, HostAccess, KernelSource, KernelSupport, Limits, List,
    Listener, Memory, MemoryKind, Overhead, Pipeline, Queue, Report, Reported, Result, Submission, Timeline,
    TimelinePoint, Timestamps, unique_id,
};

/// Called inside the next `submit`; says whether the device accepts it.
type Hook = Box<dyn FnOnce() -> bool + Send>;

pub(crate) struct Double {
    info: DeviceInfo,
    overhead: Arc<Overhead>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Values are reached by `reach` only.
    held: bool,
    hook: Option<Hook>,
    received: Vec<Received>,
    prepared: Vec<Arc<List>>,
    host_accesses: usize,
    timestamps: u64,
    /// Memories and pipelines.
    created: usize,
}

impl Shared {
    /// The device's clock: counts the timestamps.
    fn tick(&self) -> Duration {
        let mut state = self.state.lock().unwrap();
        state.timestamps += 1;
        Duration::from_nanos(state.timestamps)
    }
}

/// What reached the device.
#[derive(Clone)]
pub(crate) struct Received {
    pub(crate) list: Arc<List>,
    pub(crate) waits: Vec<TimelinePoint>,
}

impl Double {
    /// A device that reaches a value when its list is submitted, or (`held`) by [`reach`](Self::reach) only.
    pub(crate) fn new(held: bool) -> Arc<Self> {
        let limits = Limits {
            max_binding_bytes: 1 << 20,
            max_allocations: 1 << 20,
            memory_bytes: 1 << 40,
            max_lists_in_flight: u64::MAX,
        };
        let info = DeviceInfo {
            name: "double".to_owned(),
            kind: DeviceKind::Mock,
            driver: String::new(),
            parallelism: 1,
            timestamps: Timestamps::ByCommand,
            waits_are_dear: false,
            host_access: HostAccess::Cached,
            zeroed: true,
            limits,
            support: KernelSupport::NONE,
            details: Vec::new(),
        };
        let shared = Arc::new(Shared::default());
        shared.state.lock().unwrap().held = held;
        Arc::new(Self { info, overhead: Arc::default(), shared })
    }

    /// Raises a timeline of this device.
    pub(crate) fn reach(&self, timeline: &Arc<dyn Timeline>, value: u64) {
        timeline.as_any().downcast_ref::<DoubleTimeline>().unwrap().reach(value);
    }

    /// Calls `hook` inside the next submit, with no lock held; the list is accepted if it returns true.
    pub(crate) fn at_next_submit(&self, hook: impl FnOnce() -> bool + Send + 'static) {
        self.shared.state.lock().unwrap().hook = Some(Box::new(hook));
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.state.lock().unwrap().received.clone()
    }

    /// What it was told will be run often.
    pub(crate) fn prepared(&self) -> Vec<Arc<List>> {
        self.shared.state.lock().unwrap().prepared.clone()
    }

    /// How many memories and pipelines were asked for.
    pub(crate) fn created(&self) -> usize {
        self.shared.state.lock().unwrap().created
    }

    pub(crate) fn host_accesses(&self) -> usize {
        self.shared.state.lock().unwrap().host_accesses
    }
}

impl std::fmt::Debug for Double {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Double")
    }
}

impl Device for Double {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn overhead(&self) -> &Arc<Overhead> {
        &self.overhead
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        let (value, reports) = (AtomicU64::new(0), Mutex::default());
        let timeline = Arc::new(DoubleTimeline { id: unique_id(), value, reports, shared: self.shared.clone() });
        Ok(Box::new(DoubleQueue { handle: timeline.clone(), timeline }))
    }

    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        Ok(Arc::new(DoubleDoorbell { rings: AtomicU64::new(0), shared: self.shared.clone() }))
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        self.shared.state.lock().unwrap().created += 1;
        Ok(Arc::new(HostPipeline::new(source, "double")?))
    }

    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()> {
        self.shared.state.lock().unwrap().prepared.push(list.clone());
        Ok(())
    }

    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        self.shared.state.lock().unwrap().created += 1;
        Ok(Arc::new(HostMemory::new(kind, bytes, "double")?))
    }

    unsafe fn read(&self, memory: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        self.shared.state.lock().unwrap().host_accesses += 1;
        // SAFETY: passed on to the caller.
        into.copy_from_slice(unsafe { host::memory(&**memory, "double")?.slice(offset, into.len() as u64)? });
        Ok(())
    }

    unsafe fn write(&self, memory: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        self.shared.state.lock().unwrap().host_accesses += 1;
        // SAFETY: passed on to the caller.
        unsafe { host::memory(&**memory, "double")?.slice_mut(offset, from.len() as u64)? }.copy_from_slice(from);
        Ok(())
    }

    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.shared.state.lock().unwrap();
        while !points.iter().any(TimelinePoint::is_reached) && !bell.is_some_and(Listener::is_rung) {
            let left = deadline.map_or(Duration::from_secs(60), |deadline| deadline - Instant::now().min(deadline));
            let (guard, timed_out) = self.shared.changed.wait_timeout(state, left).unwrap();
            assert!(deadline.is_some() || !timed_out.timed_out(), "an unlimited wait was not woken");
            if timed_out.timed_out() {
                break;
            }
            state = guard;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct DoubleDoorbell {
    rings: AtomicU64,
    shared: Arc<Shared>,
}

impl Doorbell for DoubleDoorbell {
    fn ring(&self) {
        let _state = self.shared.state.lock().unwrap();
        self.rings.fetch_add(1, Ordering::SeqCst);
        self.shared.changed.notify_all();
    }

    fn rings(&self) -> u64 {
        self.rings.load(Ordering::SeqCst)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug)]
struct DoubleTimeline {
    id: u64,
    value: AtomicU64,
    reports: Mutex<Vec<Report>>,
    shared: Arc<Shared>,
}

impl DoubleTimeline {
    fn reach(&self, value: u64) {
        let _state = self.shared.state.lock().unwrap();
        self.value.fetch_max(value, Ordering::SeqCst);
        self.shared.changed.notify_all();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Timeline for DoubleTimeline {
    fn interrupt(&self) {}
    fn id(&self) -> u64 {
        self.id
    }

    fn completed(&self) -> u64 {
        self.value.load(Ordering::SeqCst)
    }

    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        let state = self.shared.state.lock().unwrap();
        let left = timeout.unwrap_or(Duration::from_secs(60));
        let waiting = self.shared.changed.wait_timeout_while(state, left, |_| self.completed() < value);
        Ok(!waiting.unwrap().1.timed_out())
    }

    fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut *self.reports.lock().unwrap())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug)]
struct DoubleQueue {
    timeline: Arc<DoubleTimeline>,
    /// The same.
    handle: Arc<dyn Timeline>,
}

impl Queue for DoubleQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        &self.handle
    }

    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        let Submission { list, waits, value } = submission;
        let (timeline, shared) = (&*self.timeline, &*self.timeline.shared);
        let hook = shared.state.lock().unwrap().hook.take();
        if hook.is_some_and(|hook| !hook()) {
            return Err(Error::Driver { device: "double".to_owned(), call: "submit", message: "as told".to_owned() });
        }
        for (index, command) in list.commands.iter().enumerate() {
            // SAFETY: everything here runs one after the other, on the submitting thread; tests that submit from
            // several threads use disjoint memory, or kernels that touch none.
            let result = unsafe { host::execute(list, command, 0..host::items(command), "double") };
            let time = (*command == Command::Timestamp).then(|| Reported::Time(shared.tick()));
            if let Some(what) = result.err().map(Reported::Failed).or(time) {
                timeline.reports.lock().unwrap().push(Report { value, command: index as u32, what });
            }
        }
        let mut state = shared.state.lock().unwrap();
        state.received.push(Received { list: list.clone(), waits: waits.to_vec() });
        let held = state.held;
        drop(state);
        if !held {
            timeline.reach(value);
        }
        Ok(())
    }
}
