//! A driver that minds how it is left.
//!
//! Like a real one it registers a handler for the exit when it is loaded, and after that it must not be in use: no list
//! may be unfinished, and no thread of the runtime inside a call. In a forked child it must not be called at all, and
//! nothing of it be freed. It complains on stderr, which fails the case.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use thalweg_hal::{
    Device, DeviceInfo, Doorbell, KernelSource, List, Listener, Memory, MemoryKind, Overhead, Pipeline, Queue, Report,
    Result, Submission, Timeline, TimelinePoint,
};

/// A device of the driver.
#[derive(Debug)]
pub struct Driver {
    inner: Arc<dyn Device>,
    info: DeviceInfo,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Threads in `wait_any`, where the runtime's own is nearly all the time.
    waiting: AtomicUsize,
    /// Threads in `submit`.
    submitting: AtomicUsize,
    /// Whatever is not finished when somebody looks: what every list signals.
    signals: Mutex<Vec<TimelinePoint>>,
}

/// Those that have been loaded.
static DEVICES: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());
static TORN_DOWN: AtomicBool = AtomicBool::new(false);

/// The process that loaded the driver.
fn owner() -> u32 {
    static OWNER: OnceLock<u32> = OnceLock::new();
    *OWNER.get_or_init(std::process::id)
}

impl Driver {
    /// Loads the driver, if this is its first device.
    pub fn load(inner: Arc<dyn Device>) -> Arc<Self> {
        static LOADED: AtomicBool = AtomicBool::new(false);
        owner();
        if !LOADED.swap(true, SeqCst) {
            // SAFETY: the handler does not unwind, short of a closed stderr.
            assert_eq!(unsafe { libc::atexit(tear_down) }, 0);
        }
        let shared = Arc::<Shared>::default();
        DEVICES.lock().unwrap().push(Arc::clone(&shared));
        let info = DeviceInfo { driver: "one that minds".to_owned(), ..inner.info().clone() };
        Arc::new(Self { inner, info, shared })
    }
}

extern "C" fn tear_down() {
    TORN_DOWN.store(true, SeqCst);
    if std::process::id() != owner() {
        return; // a forked child has neither threads nor lists
    }
    for device in &*DEVICES.lock().unwrap() {
        let (waiting, submitting) = (device.waiting.load(SeqCst), device.submitting.load(SeqCst));
        let signals = device.signals.lock().unwrap();
        let unfinished = signals.iter().filter(|signal| !signal.is_reached()).count();
        if (waiting, submitting, unfinished) != (0, 0, 0) {
            eprintln!(
                "torn down with {waiting} threads waiting, {submitting} submitting, {unfinished} lists unfinished"
            );
        }
    }
}

/// Complains if the driver may not be called here.
fn called(what: &str) {
    if std::process::id() != owner() {
        eprintln!("a forked child: {what}");
    }
}

/// The same for what the runtime may not do once the process ends.
fn used(what: &str) {
    called(what);
    if TORN_DOWN.load(SeqCst) {
        eprintln!("torn down, then: {what}");
    }
}

/// Counts a thread for as long as it is there.
struct Inside<'a>(&'a AtomicUsize);

impl<'a> Inside<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Device for Driver {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn overhead(&self) -> &Arc<Overhead> {
        self.inner.overhead()
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        called("create_queue");
        let inner = self.inner.create_queue()?;
        let timeline = Arc::new(DriverTimeline(Arc::clone(inner.timeline())));
        Ok(Box::new(DriverQueue { inner, timeline, shared: Arc::clone(&self.shared) }))
    }

    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        called("create_doorbell");
        Ok(Arc::new(DriverDoorbell(self.inner.create_doorbell()?)))
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        called("create_pipeline");
        self.inner.create_pipeline(source)
    }

    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()> {
        called("prepare");
        // SAFETY: passed on to the caller.
        unsafe { self.inner.prepare(list) }
    }

    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        called("allocate");
        Ok(Arc::new(DriverMemory(self.inner.allocate(kind, bytes)?)))
    }

    unsafe fn read(&self, memory: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        called("read");
        // SAFETY: passed on to the caller.
        unsafe { self.inner.read(memory, offset, into) }
    }

    unsafe fn write(&self, memory: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        called("write");
        // SAFETY: passed on to the caller.
        unsafe { self.inner.write(memory, offset, from) }
    }

    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()> {
        used("wait_any");
        let _inside = Inside::new(&self.shared.waiting);
        let points: Vec<TimelinePoint> = points.iter().map(inner).collect();
        let bell = bell.map(|listener| {
            let bell = listener.doorbell.as_any().downcast_ref::<DriverDoorbell>().unwrap();
            Listener { doorbell: Arc::clone(&bell.0), heard: listener.heard }
        });
        self.inner.wait_any(&points, bell.as_ref(), timeout)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        called("the device is dropped");
    }
}

#[derive(Debug)]
struct DriverQueue {
    inner: Box<dyn Queue>,
    timeline: Arc<dyn Timeline>,
    shared: Arc<Shared>,
}

impl Queue for DriverQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        &self.timeline
    }

    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        used("submit");
        let _inside = Inside::new(&self.shared.submitting);
        let Submission { list, waits, value } = submission;
        let waits: Vec<TimelinePoint> = waits.iter().map(inner).collect();
        // SAFETY: passed on to the caller.
        unsafe { self.inner.submit(Submission { list, waits: &waits, value }) }?;
        let timeline = self.inner.timeline();
        let mut signals = self.shared.signals.lock().unwrap();
        signals.retain(|other| other.timeline.id() != timeline.id());
        // Values of one timeline are reached in order.
        signals.push(TimelinePoint { timeline: Arc::clone(timeline), value });
        Ok(())
    }
}

/// As the device inside understands it.
fn inner(point: &TimelinePoint) -> TimelinePoint {
    let timeline = point.timeline.as_any().downcast_ref::<DriverTimeline>().unwrap();
    TimelinePoint { timeline: Arc::clone(&timeline.0), value: point.value }
}

#[derive(Debug)]
struct DriverDoorbell(Arc<dyn Doorbell>);

impl Doorbell for DriverDoorbell {
    fn ring(&self) {
        used("ring");
        self.0.ring();
    }
    fn rings(&self) -> u64 {
        used("rings");
        self.0.rings()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug)]
struct DriverTimeline(Arc<dyn Timeline>);

impl Timeline for DriverTimeline {
    fn id(&self) -> u64 {
        self.0.id()
    }
    fn completed(&self) -> u64 {
        called("completed");
        self.0.completed()
    }
    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        called("wait");
        self.0.wait(value, timeout)
    }
    fn interrupt(&self) {
        called("interrupt");
        self.0.interrupt();
    }
    fn take_reports(&self) -> Vec<Report> {
        called("take_reports");
        self.0.take_reports()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug)]
struct DriverMemory(Arc<dyn Memory>);

impl Memory for DriverMemory {
    fn id(&self) -> u64 {
        self.0.id()
    }
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
    fn kind(&self) -> MemoryKind {
        self.0.kind()
    }
    /// The memory inside, which is what runs commands.
    fn as_any(&self) -> &dyn Any {
        self.0.as_any()
    }
}

impl Drop for DriverMemory {
    fn drop(&mut self) {
        called("memory is freed");
    }
}
