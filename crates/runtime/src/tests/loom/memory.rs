//! The memory: frees against allocations, and growth against its end.

use super::*;
use crate::Error;
use crate::engine::reaper::{Decay, SOON};

/// Streams of a device with so many bytes, and none that are written.
struct Short {
    world: World,
    /// Whether anything is recorded.
    writes: bool,
}

impl Short {
    fn new(bytes: u64, writes: bool) -> Arc<Self> {
        let validated = Validated::new(Arc::new(Silent::like(&*MockDevice::new(MockConfig::default()))));
        let config = Config::default().memory_limit(bytes);
        let device = Device::without_reaper(Arc::<Validated>::clone(&validated), config).unwrap();
        let pipeline = device.pipeline(&COMBINE).unwrap();
        let streams = (0..2).map(|_| Stream::new(&device).unwrap()).collect();
        Arc::new(Self { world: World { device, validated, pipeline, streams, storages: Vec::new() }, writes })
    }

    fn make(&self, stream: usize, bytes: u64) -> crate::Result<Storage> {
        let stream = &self.world.streams[stream];
        let mut storage = stream.allocate(bytes)?;
        stream.record(&Work::Fill(1), &[Operand::write(&mut storage)])?;
        Ok(storage)
    }

    /// Everything has run and been given back, and nothing was out of order.
    fn end(&self) {
        let device = &self.world.device;
        if self.writes {
            self.world.judge();
        }
        device.synchronize().unwrap();
        device.trim();
        let stats = device.memory_snapshot().stats;
        assert_eq!((stats.reserved, stats.live, stats.allocations), (0, 0, 0), "{stats:?}");
    }
}

/// A block comes back from another thread while its owner allocates. The other thread's stream still reads the block:
/// the owner gets it with its uses, or gets another.
// audit: C15
#[test]
fn loom_foreign_free_against_allocation() {
    bounded(PREEMPTIONS_OF_THREE, || {
        // Two blocks, of which the other stream has one.
        let short = Short::new(512, true);
        let [from, mut to] = [short.make(0, 256), short.world.streams[1].allocate(256)].map(Result::unwrap);
        let operands = [Operand::read(&from, 0, 256), Operand::write(&mut to)];
        short.world.streams[1].record(&Work::Copy, &operands).unwrap();
        let free = thread::spawn(move || drop(from));
        let made = short.make(0, 256);
        free.join().unwrap();
        assert!(matches!(made, Ok(_) | Err(Error::OutOfMemory(_))), "{made:?}");
        drop((made, to));
        short.end();
    });
}

/// Where each thread is: 0 before it asks, 1 from then on, 2 when it has given back what it got.
type Phases = [loom::sync::atomic::AtomicU64; 2];

/// Two threads, and memory for one. Each gets it, or is told that there is none while the other has it.
fn one_of_two(limit: u64, bytes: [u64; 2], writes: bool) {
    use loom::sync::atomic::Ordering::SeqCst;
    let short = Short::new(limit, writes);
    let phases: Arc<Phases> = Arc::new(std::array::from_fn(|_| loom::sync::atomic::AtomicU64::new(0)));
    let program = |own: usize| {
        let (short, phases) = (Arc::clone(&short), Arc::clone(&phases));
        thread::spawn(move || {
            let other = &phases[1 - own];
            let before = other.load(SeqCst);
            phases[own].store(1, SeqCst);
            let made = if writes { short.make(own, bytes[own]) } else { short.world.streams[own].allocate(bytes[own]) };
            match made {
                Ok(storage) => drop(storage),
                Err(Error::OutOfMemory(report)) => {
                    let after = other.load(SeqCst);
                    assert!(before < 2 && after > 0, "nobody had it: {report}");
                }
                Err(error) => panic!("{error}"),
            }
            phases[own].store(2, SeqCst);
        })
    };
    join([program(0), program(1)]);
    short.end();
}

/// The span goes from one stream to the other.
// audit: C25
#[test]
fn loom_growth_against_out_of_memory() {
    bounded(PREEMPTIONS_OF_THREE, || one_of_two(256, [256, 256], false));
}

/// A list that has to run first.
// audit: F10
#[test]
fn loom_growth_against_work_that_is_in_the_way() {
    bounded(2, || one_of_two(256, [256, 256], true));
}

/// The segment goes back to the device, because the other is longer.
// audit: F10
#[test]
fn loom_growth_against_a_segment_that_leaves() {
    bounded(PREEMPTIONS_OF_THREE, || one_of_two(512, [256, 512], false));
}

/// What nobody uses is had, wherever it is on its way to: a stream's span goes to the arena, and its segment to the
/// device, by somebody else's hand.
fn trim_against_allocation(limit: u64, bytes: u64) {
    let short = Short::new(limit, false);
    drop(short.world.streams[0].allocate(256).unwrap());
    let trimmer = {
        let short = Arc::clone(&short);
        thread::spawn(move || short.world.device.trim())
    };
    let made = short.world.streams[1].allocate(bytes);
    trimmer.join().unwrap();
    assert!(made.is_ok(), "nobody had it: {made:?}");
    drop(made);
    short.end();
}

// audit: C11
#[test]
fn loom_trim_against_allocation() {
    bounded(PREEMPTIONS_OF_THREE, || trim_against_allocation(256, 256));
}

/// The segment itself is too short.
// audit: C30
#[test]
fn loom_trim_against_growth() {
    bounded(PREEMPTIONS_OF_THREE, || trim_against_allocation(512, 512));
}

/// More is taken than should be, while the reaper is about to rest for as long as memory takes to decay: it rests no
/// longer than a moment, or is rung for.
// audit: C30
#[test]
fn loom_growth_above_the_soft_limit_against_the_reapers_rest() {
    bounded(PREEMPTIONS_OF_THREE, || {
        let hal = Arc::new(Silent::like(&*MockDevice::new(MockConfig::default())));
        let device = Device::without_reaper(hal, Config::default().memory_soft_limit(0)).unwrap();
        let stream = Stream::new(&device).unwrap();
        let engine = Arc::clone(&device.engine);
        let (mut watch, mut decay) = (Watch::default(), Decay::default());
        // Nobody rings before it has looked once: it will.
        let grow = thread::spawn(move || stream.allocate(256).unwrap());
        reaper::round(&engine, &mut watch);
        let looks_soon = decay.look(&engine).is_some_and(|pause| pause <= SOON);
        let storage = grow.join().unwrap();
        assert!(looks_soon || engine.doorbell.is_rung());
        drop(storage);
    });
}
