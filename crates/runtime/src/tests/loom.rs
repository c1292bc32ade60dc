//! Models of the protocol: the shipped code, in every interleaving that loom finds.
//!
//! The device only takes note of what it is given. It sits behind the validator, which knows nothing of the recorder and
//! says of each submission whether everything before it was ordered. loom itself finds deadlocks.

use crate::{Config, Device, Event, Operand, Storage, Stream, Work};
use loom::thread;
use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thalweg_hal::host::{HostMemory, HostPipeline};
use thalweg_hal::mock::{MockConfig, MockDevice};
use thalweg_hal::validate::Validated;
use thalweg_hal::{
    Access, DeviceInfo, KernelSource, Memory, Pipeline, Queue, Report, Result, Submission, Timeline, Wait,
};

/// Preemptions in one execution. The races that we know of need two.
const PREEMPTIONS: usize = 4;

/// Takes everything, does nothing, completes nothing: every use stays outstanding.
#[derive(Debug)]
struct Silent(DeviceInfo);

#[derive(Debug)]
struct SilentQueue;

/// Completes nothing; keeps what the host signals.
#[derive(Debug)]
struct SilentTimeline {
    id: u64,
    signalled: AtomicU64,
}

impl thalweg_hal::Device for Silent {
    fn info(&self) -> &DeviceInfo {
        &self.0
    }
    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        Ok(Box::new(SilentQueue))
    }
    fn create_timeline(&self) -> Result<Arc<dyn Timeline>> {
        Ok(Arc::new(SilentTimeline { id: thalweg_hal::unique_id(), signalled: AtomicU64::new(0) }))
    }
    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        Ok(Arc::new(HostPipeline::new(source)))
    }
    fn allocate(&self, bytes: u64) -> Result<Arc<dyn Memory>> {
        Ok(Arc::new(HostMemory::new(bytes, "silent")?))
    }
    unsafe fn read(&self, _: &Arc<dyn Memory>, _: u64, _: &mut [u8]) -> Result<()> {
        Ok(())
    }
    unsafe fn write(&self, _: &Arc<dyn Memory>, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }
    unsafe fn discard(&self, _: &Arc<dyn Memory>, _: u64, _: u64) {}
    fn wait_any(&self, _: &[Wait], _: Option<Duration>) -> Result<()> {
        Ok(())
    }
}

impl Queue for SilentQueue {
    unsafe fn submit(&mut self, _: Submission<'_>) -> Result<()> {
        // Others may run while a driver is at work.
        thread::yield_now();
        Ok(())
    }
}

impl Timeline for SilentTimeline {
    fn id(&self) -> u64 {
        self.id
    }
    fn completed(&self) -> u64 {
        self.signalled.load(Ordering::Relaxed)
    }
    fn wait(&self, _: u64, _: Option<Duration>) -> Result<bool> {
        Ok(false)
    }
    fn signal(&self, value: u64) {
        self.signalled.store(value, Ordering::Relaxed);
    }
    fn take_reports(&self) -> Vec<Report> {
        Vec::new()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

static COMBINE: KernelSource = KernelSource {
    name: Cow::Borrowed("combine"),
    bindings: Cow::Borrowed(&[Access::Read, Access::ReadWrite]),
    params_bytes: 0,
    host: |_| Ok(()),
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
        let info = MockDevice::new(MockConfig::default());
        let validated = Validated::new(Arc::new(Silent(thalweg_hal::Device::info(&*info).clone())));
        let config = Config::default().list_commands(list_commands);
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
        let operand = |at: usize, access| Operand { storage: &self.storages[at], access, offset: 0, bytes: BYTES };
        let work = Work::Dispatch { pipeline: &self.pipeline, params: &[], extent: [1; 3] };
        let operands = [operand(from, Access::Read), operand(to, Access::ReadWrite)];
        self.streams[stream].record(&work, &operands).unwrap();
    }

    /// Hands everything over and asks the validator.
    fn judge(&self) {
        self.streams.iter().for_each(Stream::flush);
        assert!(self.device.core.check_lost().is_ok());
        let report = self.validated.report();
        assert_eq!(report.violations, 0, "{report:?}");
        assert!(report.submissions > 0);
    }
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(run);
}

/// Runs each program in a thread of its own, then judges.
fn threads<const N: usize>(world: &Arc<World>, programs: [fn(&World); N]) {
    let spawn = |program: fn(&World)| {
        let world = Arc::clone(world);
        thread::spawn(move || program(&world))
    };
    programs.map(spawn).map(|handle| handle.join().unwrap());
    world.judge();
}

/// (I2) B = f(A) on one stream against A = g(B) on the other.
#[test]
fn loom_crossed_operations() {
    model(|| {
        let world = World::new(2, 100);
        threads(&world, [|world| world.combine(0, 0, 1), |world| world.combine(1, 1, 0)]);
    });
}

/// (I1, I3) A stream that seals and submits by itself, because its lists are full after one command, against a foreign
/// flush of what it has recorded.
#[test]
fn loom_seal_and_submit_against_a_foreign_flush() {
    model(|| {
        let world = World::new(2, 2);
        threads(
            &world,
            [
                |world| {
                    world.combine(0, 1, 0);
                    world.streams[0].flush();
                },
                |world| world.combine(1, 0, 1),
            ],
        );
    });
}

/// (I1) A wait for an event of a stream that somebody else is flushing.
#[test]
fn loom_event_against_flush() {
    model(|| {
        let world = World::new(2, 100);
        threads(
            &world,
            [
                |world| world.streams[0].flush(),
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
#[test]
fn loom_deferred_flush() {
    model(|| {
        let world = World::new(1, 100);
        let spawn = |program: fn(&World)| {
            let world = Arc::clone(&world);
            thread::spawn(move || program(&world))
        };
        let others = [
            spawn(|world| world.device.core.defer_flush(world.streams[0].id())),
            spawn(|world| world.streams[0].flush()),
        ];
        let core = &world.device.core;
        let next = core.doorbell.listen();
        core.submit_deferred();
        others.map(|other| other.join().unwrap());
        let looks_again = next.timeline.completed() >= next.value;
        assert!(looks_again || !core.has_deferred(), "the request is forgotten");
        world.judge();
    });
}

/// Nobody rings unheard: after the reaper has listened, the first ring reaches its value.
#[test]
fn loom_doorbell() {
    model(|| {
        let world = World::new(1, 100);
        let ring = || {
            let world = Arc::clone(&world);
            thread::spawn(move || world.device.core.doorbell.ring())
        };
        let early = ring();
        let bell = &world.device.core.doorbell;
        let _before = bell.listen();
        early.join().unwrap();
        let late = [ring(), ring()];
        let next = bell.listen();
        late.map(|late| late.join().unwrap());
        // The two may both have rung before the reaper listened; one more then must be heard.
        bell.ring();
        assert!(next.timeline.completed() >= next.value);
    });
}
