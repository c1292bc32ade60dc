//! Models of the protocol: the shipped code, in every interleaving that loom finds.
//!
//! The device only takes note of what it is given, and completes it when somebody waits. It sits behind the validator,
//! which knows nothing of the recorder and says of each submission whether everything before it was ordered. loom
//! itself finds deadlocks.

mod memory;
mod transfers;

use crate::base::rank::Rank;
use crate::base::timed_mutex::TimedMutex;
use crate::base::wait_policy::WaitPolicy;
use crate::engine::assignment::Assignment;
use crate::engine::reaper::{self, Watch};
use crate::{Config, Device, Event, Operand, Storage, Stream, Work};
use loom::thread;
use std::any::Any;
use std::borrow::Cow;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::host::{HostMemory, HostPipeline};
use thalweg_hal::validate::Validated;
use thalweg_hal::{
    Access, DeviceInfo, Doorbell, KernelSource, List, Listener, Memory, MemoryKind, Pipeline, Queue, Report, Result,
    Submission, Timeline, TimelinePoint,
};

/// Preemptions in one execution of two threads. The races that we know of need two.
const PREEMPTIONS: usize = 6;
/// The same for three threads: they have many more interleavings.
const PREEMPTIONS_OF_THREE: usize = 3;

/// Takes everything, does nothing, and completes nothing that nobody waits for.
#[derive(Debug)]
pub(super) struct Silent {
    info: DeviceInfo,
    overhead: Arc<thalweg_hal::Overhead>,
    /// The pipelines that it made. A lock of the standard library: not part of what is modelled.
    pub(super) made: Mutex<Vec<Weak<HostPipeline>>>,
}

impl Silent {
    /// What it says of itself is what another says.
    pub(super) fn like(device: &dyn thalweg_hal::Device) -> Self {
        Self { info: device.info().clone(), overhead: Arc::default(), made: Mutex::default() }
    }
}

#[derive(Debug)]
struct SilentQueue {
    timeline: Arc<dyn Timeline>,
    /// The most lists that may be in flight.
    limit: u64,
}

/// One of loom's: that it rises is what others race with.
#[derive(Debug)]
struct SilentDoorbell(loom::sync::atomic::AtomicU64);

impl Doorbell for SilentDoorbell {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
    fn rings(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug)]
struct SilentTimeline {
    id: u64,
    submitted: AtomicU64,
    /// One of loom's: that it rises is what others race with.
    completed: loom::sync::atomic::AtomicU64,
}

impl SilentTimeline {
    fn of(timeline: &Arc<dyn Timeline>) -> &Self {
        timeline.as_any().downcast_ref().unwrap()
    }
}

impl thalweg_hal::Device for Silent {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }
    fn overhead(&self) -> &Arc<thalweg_hal::Overhead> {
        &self.overhead
    }
    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        let timeline = Arc::new(SilentTimeline {
            id: thalweg_hal::unique_id(),
            submitted: AtomicU64::new(0),
            completed: loom::sync::atomic::AtomicU64::new(0),
        });
        Ok(Box::new(SilentQueue { timeline, limit: self.info.limits.max_allocations }))
    }
    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        Ok(Arc::new(SilentDoorbell(loom::sync::atomic::AtomicU64::new(0))))
    }
    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        // Others may run while a driver compiles.
        thread::yield_now();
        let pipeline = Arc::new(HostPipeline::new(source, "null")?);
        self.made.lock().unwrap().push(Arc::downgrade(&pipeline));
        Ok(pipeline)
    }
    unsafe fn prepare(&self, _: &Arc<List>) -> Result<()> {
        Ok(())
    }
    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        Ok(Arc::new(HostMemory::new(kind, bytes, "silent")?))
    }
    unsafe fn read(&self, _: &Arc<dyn Memory>, _: u64, _: &mut [u8]) -> Result<()> {
        Ok(())
    }
    unsafe fn write(&self, _: &Arc<dyn Memory>, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }
    /// As `wait`, for the first that may be waited for.
    fn wait_any(&self, points: &[TimelinePoint], _: Option<&Listener>, _: Option<Duration>) -> Result<()> {
        match points.first() {
            Some(point) => point.timeline.wait(point.value, None).map(drop),
            None => Ok(()),
        }
    }
}

impl Queue for SilentQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        &self.timeline
    }
    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        // Others may run while a driver is at work.
        thread::yield_now();
        let (timeline, value) = (SilentTimeline::of(&self.timeline), submission.value);
        timeline.submitted.store(value, Ordering::Relaxed);
        assert!(value - timeline.completed() <= self.limit, "more in flight than there may be");
        Ok(())
    }
}

impl Timeline for SilentTimeline {
    fn id(&self) -> u64 {
        self.id
    }
    fn completed(&self) -> u64 {
        self.completed.load(Ordering::Acquire)
    }
    /// The device is at work while somebody waits.
    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        if timeout == Some(Duration::ZERO) {
            return Ok(self.completed() >= value);
        }
        thread::yield_now();
        assert!(value <= self.submitted.load(Ordering::Relaxed), "this wait would never end");
        self.completed.fetch_max(value, Ordering::AcqRel);
        Ok(true)
    }
    fn interrupt(&self) {}
    fn take_reports(&self) -> Vec<Report> {
        Vec::new()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub(super) static COMBINE: KernelSource = KernelSource {
    name: Cow::Borrowed("combine"),
    bindings: Cow::Borrowed(&[Access::Read, Access::ReadWrite]),
    params_bytes: 0,
    wgsl: None,
    host: Some(|_| Ok(())),
};

const BYTES: u64 = 4;

/// A device with its streams, each of which has written a storage and not submitted it.
struct World {
    device: Device,
    validated: Arc<Validated>,
    pipeline: crate::Pipeline,
    streams: Vec<Stream>,
    storages: Vec<Storage>,
}

impl World {
    fn new(streams: usize, list_commands: usize) -> Arc<Self> {
        Self::limited(streams, list_commands, 32)
    }

    /// With a bound on the lists in flight.
    fn limited(streams: usize, list_commands: usize, lists_in_flight: u64) -> Arc<Self> {
        Self::on(MockConfig::default(), streams, list_commands, lists_in_flight)
    }

    /// On a device that says of itself what a mock of this configuration would.
    fn on(config: MockConfig, streams: usize, list_commands: usize, lists_in_flight: u64) -> Arc<Self> {
        let mock = MockDevice::new(MockConfig { max_allocations: lists_in_flight, ..config });
        let validated = Validated::new(Arc::new(Silent::like(&*mock)));
        let config = Config::default().list_commands(list_commands).lists_in_flight(lists_in_flight);
        let device = Device::without_reaper(Arc::<Validated>::clone(&validated), config).unwrap();
        let pipeline = device.pipeline(&COMBINE).unwrap();
        let streams: Vec<_> = (0..streams).map(|_| Stream::new(&device).unwrap()).collect();
        let written = |stream: &Stream| {
            let mut storage = stream.allocate(BYTES).unwrap();
            stream.record(&Work::Fill(1), &[Operand::write(&mut storage)]).unwrap();
            storage
        };
        let storages = streams.iter().map(written).collect();
        Arc::new(Self { device, validated, pipeline, streams, storages })
    }

    /// storage[to] = f(storage[to], storage[from]) on a stream. Writes what others may name: what is under test is that
    /// even then both orders are orders.
    fn combine(&self, stream: usize, from: usize, to: usize) {
        let operand = |at: usize, access| Operand { access, ..Operand::read(&self.storages[at], 0, BYTES) };
        let work = Work::Dispatch { pipeline: &self.pipeline, params: &[], extent: [1; 3] };
        let operands = [operand(from, Access::Read), operand(to, Access::ReadWrite)];
        self.streams[stream].record(&work, &operands).unwrap();
    }

    /// Records something on the first stream that concerns no other.
    fn combine_own(&self) {
        let mut storage = self.streams[0].allocate(BYTES).unwrap();
        self.streams[0].record(&Work::Fill(1), &[Operand::write(&mut storage)]).unwrap();
    }

    /// Hands everything over and asks the validator.
    fn judge(&self) {
        self.streams.iter().for_each(|stream| stream.flush().unwrap());
        self.device.check().unwrap();
        let report = self.validated.report();
        assert_eq!(report.violations, 0, "{report:?}");
        assert!(report.submissions > 0);
    }
}

pub(super) fn model(run: impl Fn() + Send + Sync + 'static) {
    bounded(PREEMPTIONS, run);
}

pub(super) fn bounded(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

/// Runs a program in a thread of its own.
fn spawn(world: &Arc<World>, program: fn(&World)) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || program(&world))
}

fn join<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Runs each program in a thread of its own, then judges.
fn threads<const N: usize>(world: &Arc<World>, programs: [fn(&World); N]) {
    join(programs.map(|program| spawn(world, program)));
    world.judge();
}

/// (I2) B = f(A) on one stream against A = g(B) on the other.
// audit: F8, C11
#[test]
fn loom_crossed_operations() {
    model(|| {
        let world = World::new(2, 100);
        threads(&world, [|world| world.combine(0, 0, 1), |world| world.combine(1, 1, 0)]);
    });
}

/// (I1, I3) A stream that seals and submits by itself, because its lists are full after one command, against a foreign
/// flush of what it has recorded.
// audit: F1, C1
#[test]
fn loom_seal_and_submit_against_a_foreign_flush() {
    model(|| {
        let world = World::new(2, 2);
        threads(
            &world,
            [
                |world| {
                    world.combine(0, 1, 0);
                    world.streams[0].flush().unwrap();
                },
                |world| world.combine(1, 0, 1),
            ],
        );
    });
}

/// (I1) A wait for an event of a stream that somebody else is flushing.
// audit: F1, C3
#[test]
fn loom_event_against_flush() {
    model(|| {
        let world = World::new(2, 100);
        threads(
            &world,
            [
                |world| world.streams[0].flush().unwrap(),
                |world| {
                    let event: Event = world.streams[0].record_event();
                    world.streams[1].wait(&event).unwrap();
                    world.combine(1, 0, 1);
                },
            ],
        );
    });
}

/// What somebody asked to have submitted is submitted, or the reaper's wait ends and it looks again; also if somebody
/// else is submitting on that stream while the reaper tries.
// audit: C9
#[test]
fn loom_deferred_flush() {
    model(|| {
        let world = World::new(1, 100);
        let others = [
            spawn(&world, |world| world.device.engine.defer_flush(world.streams[0].id())),
            spawn(&world, |world| world.streams[0].flush().unwrap()),
        ];
        let engine = &world.device.engine;
        let next = engine.doorbell.listen();
        engine.submit_deferred();
        join(others);
        let looks_again = next.is_rung() || engine.doorbell.is_ticking();
        assert!(looks_again || !engine.has_deferred(), "the request is forgotten");
        world.judge();
    });
}

/// What the reaper could not submit for want of a credit, it submits or comes back to, also if the credit comes while
/// it looks and nothing else is in flight then.
// audit: C6
#[test]
fn loom_deferred_flush_without_credit() {
    model(|| {
        let world = World::limited(1, 100, 1);
        world.streams[0].flush().unwrap();
        world.combine_own();
        let engine = &world.device.engine;
        let mut watch = Watch::default();
        // Has counted the list that is in flight.
        reaper::round(engine, &mut watch);
        engine.defer_flush(world.streams[0].id());
        let device = spawn(&world, |world| {
            let timeline = &world.device.engine.stream(world.streams[0].id()).timeline;
            SilentTimeline::of(timeline).completed.store(1, Ordering::Release);
        });
        reaper::round(engine, &mut watch);
        device.join().unwrap();
        let looks_again = engine.doorbell.is_ticking() || engine.doorbell.is_rung();
        assert!(looks_again || !engine.has_deferred(), "the request is forgotten");
    });
}

/// Nobody rings unheard: after the reaper has listened, the first ring is heard.
// audit: C9
#[test]
fn loom_doorbell() {
    model(|| {
        let world = World::new(1, 100);
        let ring = || {
            let world = Arc::clone(&world);
            thread::spawn(move || world.device.engine.doorbell.ring())
        };
        let early = ring();
        let bell = &world.device.engine.doorbell;
        let _before = bell.listen();
        early.join().unwrap();
        let late = [ring(), ring()];
        let next = bell.listen();
        join(late);
        // The two may both have rung before the reaper listened; one more then must be heard.
        bell.ring();
        assert!(next.is_rung());
    });
}

/// (I2) Two streams read what a third writes: both orders are orders, for each reader.
// audit: F8, C11, C14
#[test]
fn loom_two_readers_and_a_writer() {
    bounded(PREEMPTIONS_OF_THREE, || {
        let world = World::new(3, 100);
        threads(
            &world,
            [|world| world.combine(1, 0, 1), |world| world.combine(2, 0, 2), |world| world.combine(0, 1, 0)],
        );
    });
}

/// Of two threads that share their streams with others, one alone moves to the stream that becomes free; and all places
/// are given back.
// audit: F11, C5
#[test]
fn loom_assign_move_and_release() {
    model(|| {
        let pool = Arc::new(Assignment::new(3));
        let [a, b, free, with_a, with_b] = std::array::from_fn(|_| pool.assign());
        assert_eq!((a, b), (with_a, with_b));
        let program = |stream: u32| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.move_away(stream, || true).unwrap_or(stream))
        };
        let movers = [program(a), program(b)];
        pool.release(free);
        let [now_a, now_b] = movers.map(|thread| thread.join().unwrap());
        assert!(pool.moves() <= 1, "both have moved, to {now_a} and {now_b}");
        [now_a, now_b, with_a, with_b].into_iter().for_each(|stream| pool.release(stream));
        assert_eq!(pool.load(), (vec![0; 3], 3));
    });
}

/// A stream of one's own has one owner at a time.
// audit: C5
#[test]
fn loom_one_owner() {
    model(|| {
        let pool = Arc::new(Assignment::new(1));
        let owned = Arc::new([const { AtomicU64::new(0) }; 3]);
        let program = || {
            let (pool, owned) = (Arc::clone(&pool), Arc::clone(&owned));
            thread::spawn(move || {
                let own = pool.take_explicit().unwrap();
                assert_eq!(owned[own as usize].fetch_add(1, Ordering::Relaxed), 0, "two owners");
                thread::yield_now();
                owned[own as usize].fetch_sub(1, Ordering::Relaxed);
                pool.release_explicit(own);
            })
        };
        join([program(), program()]);
    });
}

/// The submitter's turn is handed on, also past somebody who stops waiting for it.
// audit: C5
#[test]
fn loom_turn_past_one_who_gives_up() {
    bounded(PREEMPTIONS_OF_THREE, || {
        let turn = Arc::new(TimedMutex::new(Rank::Growth, 0));
        let take = |policy: fn() -> WaitPolicy| {
            let turn = Arc::clone(&turn);
            thread::spawn(move || turn.take(policy()).map(|mut value| *value += 1).is_ok())
        };
        let gives_up = take(|| WaitPolicy::Never);
        let patient = take(|| WaitPolicy::Forever);
        let here = turn.take(WaitPolicy::Forever).map(|mut value| *value += 1).is_ok();
        let got = [gives_up, patient].map(|thread| thread.join().unwrap());
        assert!(here && got[1], "waited for ever, or in vain");
        assert_eq!(*turn.take(WaitPolicy::Never).unwrap(), 2 + i32::from(got[0]));
    });
}

/// Two streams that each wait on the host, in their submitters' turns, for what the other has handed over.
#[test]
fn loom_waits_on_the_host() {
    model(|| {
        let world = World::on(MockConfig { waits_are_dear: true, ..MockConfig::default() }, 2, 100, 32);
        let program = |own: usize, other: usize| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.combine(own, other, own);
                world.streams[own].flush().unwrap();
            })
        };
        join([program(0, 1), program(1, 0)]);
        world.judge();
    });
}

/// A stream never has more lists in flight than it may, on whichever thread submits. A thread that waits for a credit
/// gets it.
// audit: C31
#[test]
fn loom_credits() {
    bounded(PREEMPTIONS_OF_THREE, || {
        let world = World::limited(1, 100, 1);
        let program = |world: &World| {
            world.combine_own();
            world.streams[0].flush().unwrap();
        };
        threads(&world, [program, program]);
    });
}

/// A waker that counts.
#[derive(Debug, Default)]
struct Woken(AtomicU64);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A task that waits for a list, against the device that completes it and the reaper that looks then: the task is
/// woken, or has seen by itself that it is done. If it gives up instead, nothing of it stays behind.
fn task_against_reaper(gives_up: bool) {
    let world = World::new(1, 100);
    world.streams[0].flush().unwrap();
    let event = world.streams[0].record_event();
    let reaper = spawn(&world, |world| {
        let engine = &world.device.engine;
        let timeline = &engine.stream(world.streams[0].id()).timeline;
        SilentTimeline::of(timeline).completed.store(1, Ordering::Release);
        reaper::round(engine, &mut Watch::default()).wakers.into_iter().for_each(std::task::Waker::wake);
    });
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let mut finished = event.finished();
    let ready = std::pin::Pin::new(&mut finished).poll(&mut std::task::Context::from_waker(&waker)).is_ready();
    if gives_up {
        drop(finished);
    }
    reaper.join().unwrap();
    let engine = &world.device.engine;
    if engine.doorbell.is_rung() {
        reaper::round(engine, &mut Watch::default()).wakers.into_iter().for_each(std::task::Waker::wake);
    }
    if !gives_up {
        assert!(ready || woken.0.load(Ordering::Relaxed) > 0, "nobody wakes the task");
    }
    if gives_up || !ready {
        assert_eq!(world.device.engine.stream(world.streams[0].id()).waiters.len(), 0, "a waker stays behind");
    }
}

// audit: C18
#[test]
fn loom_task_against_reaper() {
    model(|| task_against_reaper(false));
}

// audit: C18
#[test]
fn loom_task_that_gives_up() {
    model(|| task_against_reaper(true));
}

/// The reaper does not rest while a list is in flight that it has not seen.
// audit: C9
#[test]
fn loom_submit_against_rest() {
    model(|| {
        let world = World::new(1, 100);
        let engine = &world.device.engine;
        // Rings for what is recorded already, and looks.
        engine.doorbell.ring();
        let submitter = spawn(&world, |world| world.streams[0].flush().unwrap());
        reaper::round(engine, &mut Watch::default());
        submitter.join().unwrap();
        let looks_again = engine.doorbell.is_ticking() || engine.doorbell.is_rung();
        assert!(looks_again, "a list that nobody settles");
    });
}

/// A device that is closed has run what was recorded, and records nothing more: against a thread that records, and the
/// reaper that submits what that thread left behind.
// audit: C9, C22
#[test]
fn loom_deferred_flush_against_close() {
    bounded(PREEMPTIONS_OF_THREE, || {
        let world = World::new(1, 100);
        let recorder = spawn(&world, |world| {
            let mut storage = match world.streams[0].allocate(BYTES) {
                Err(error) => return assert!(matches!(error, crate::Error::Closed), "{error}"),
                Ok(storage) => storage,
            };
            let recorded = world.streams[0].record(&Work::Fill(1), &[Operand::write(&mut storage)]);
            assert!(matches!(recorded, Ok(()) | Err(crate::Error::Closed)), "{recorded:?}");
            world.device.engine.defer_flush(world.streams[0].id());
        });
        let reaper = spawn(&world, |world| drop(reaper::round(&world.device.engine, &mut Watch::default())));
        world.device.engine.close(WaitPolicy::Forever).unwrap();
        join([recorder, reaper]);
        let stream = world.device.engine.stream(world.streams[0].id());
        assert!(stream.is_idle(), "something was recorded and never ran");
        assert_eq!(world.validated.report().violations, 0);
    });
}
