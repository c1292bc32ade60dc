//! The memory against a model of it: random programs, on a device that completes late and refuses allocations.
//!
//! The model knows what is live, where, and what it must hold. What the memory says of itself is compared with that,
//! and with what the device has counted. Where it says that there is no memory, the model looks for some itself.

use super::{balanced, report};
use crate::base::wait_policy::WaitPolicy;
use crate::engine::span::PoolSpan;
use crate::{BlockState, Config, Device, Error, MemorySnapshot, Operand, Pool, SpanState, Storage, Stream, Work};
use proptest::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};

const STREAMS: usize = 3;
const LIMIT: u64 = 1 << 20;
const ALLOCATIONS: u64 = 12;
/// From how many bytes on a block is large for that limit.
const LEAST_LARGE: u64 = 64 << 10;

#[derive(Clone, Debug)]
enum Step {
    /// Allocates on a stream, and fills.
    Make {
        stream: usize,
        bytes: u64,
        pattern: u32,
    },
    /// Without.
    Allocate {
        stream: usize,
        bytes: u64,
    },
    /// Uploads from the host.
    Upload {
        stream: usize,
        bytes: u64,
        pattern: u8,
    },
    Copy {
        stream: usize,
        from: usize,
    },
    Freeze {
        pool: usize,
        bytes: u64,
        pattern: u8,
    },
    Take {
        pool: usize,
        bytes: u64,
    },
    Drop(usize),
    DropPool(usize),
    Flush(usize),
    Wait(usize),
    Look(usize),
    Trim,
    Decay,
    Collect,
}

fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1..2000u64, 3 => 2000..100_000u64, 2 => 100_000..500_000u64, 1 => 500_000..2_000_000u64]
        .prop_map(|bytes| 4 * (bytes / 4).max(1))
}

fn step() -> impl Strategy<Value = Step> {
    let (stream, pool, thing) = (0..STREAMS, 0..4usize, 0..1000usize);
    prop_oneof![
        8 => (stream.clone(), bytes(), any::<u32>())
            .prop_map(|(stream, bytes, pattern)| Step::Make { stream, bytes, pattern }),
        2 => (stream.clone(), bytes()).prop_map(|(stream, bytes)| Step::Allocate { stream, bytes }),
        2 => (stream.clone(), bytes(), any::<u8>())
            .prop_map(|(stream, bytes, pattern)| Step::Upload { stream, bytes, pattern }),
        6 => (stream.clone(), thing.clone()).prop_map(|(stream, from)| Step::Copy { stream, from }),
        3 => (pool.clone(), bytes(), any::<u8>()).prop_map(|(pool, bytes, pattern)| Step::Freeze { pool, bytes, pattern }),
        1 => (pool.clone(), bytes()).prop_map(|(pool, bytes)| Step::Take { pool, bytes }),
        10 => thing.clone().prop_map(Step::Drop),
        1 => pool.prop_map(Step::DropPool),
        2 => stream.clone().prop_map(Step::Flush),
        1 => stream.prop_map(Step::Wait),
        3 => thing.prop_map(Step::Look),
        1 => Just(Step::Trim),
        1 => Just(Step::Decay),
        1 => Just(Step::Collect),
    ]
}

/// Something live.
#[derive(Debug)]
enum Thing {
    /// With what each of its bytes must be, by the byte's place in a word.
    Data(Storage, Option<[u8; 4]>),
    Span(PoolSpan),
}

impl Thing {
    fn place(&self) -> (u64, Range<u64>) {
        let (memory, offset, bytes) = match self {
            Self::Data(storage, _) => (storage.memory(), storage.offset(), storage.bytes()),
            Self::Span(span) => (span.memory(), span.offset(), span.bytes()),
        };
        (memory.id(), offset..offset + bytes)
    }

    fn check(&self) {
        if let Self::Data(storage, Some(pattern)) = self {
            let mut found = vec![0; storage.bytes() as usize];
            storage.read(0, &mut found).unwrap();
            let wrong = found.iter().zip(pattern.iter().cycle()).position(|(found, pattern)| found != pattern);
            assert_eq!(wrong, None, "of {} bytes, {pattern:?}", storage.bytes());
        }
    }
}

struct Model {
    device: Device,
    hal: Arc<MockDevice>,
    faulty: Arc<Faulty>,
    streams: Vec<Stream>,
    pools: Vec<Option<Pool>>,
    live: Vec<Thing>,
}

impl Model {
    fn new(seed: u64, plan: Plan) -> Self {
        let hal = MockDevice::new(MockConfig { seed, max_allocations: ALLOCATIONS + 1, ..MockConfig::default() });
        let faulty = Faulty::new(Arc::<MockDevice>::clone(&hal), plan);
        let config = Config::default().memory_limit(LIMIT).max_allocations(ALLOCATIONS).list_commands(8);
        // Nothing happens by itself, so that what the memory says can be compared with what the model knows.
        let device = Device::without_reaper(Arc::<Faulty>::clone(&faulty), config).unwrap();
        let streams = (0..STREAMS).map(|_| Stream::new(&device).unwrap()).collect();
        Self { device, hal, faulty, streams, pools: vec![None, None, None], live: Vec::new() }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Make { stream, bytes, pattern } => {
                let stream = &self.streams[stream];
                let made = stream.allocate(bytes).map(|mut storage| {
                    stream.record(&Work::Fill(pattern), &[Operand::write(&mut storage)]).unwrap();
                    Thing::Data(storage, Some(pattern.to_ne_bytes()))
                });
                self.enter(true, made);
            }
            Step::Allocate { stream, bytes } => {
                let made = self.streams[stream].allocate(bytes).map(|storage| Thing::Data(storage, None));
                self.enter(true, made);
            }
            Step::Upload { stream, bytes, pattern } => {
                let upload = || Storage::from_bytes(&self.device, &vec![pattern; bytes as usize]);
                let made = self.streams[stream].scope(upload).map(|storage| Thing::Data(storage, Some([pattern; 4])));
                self.enter(true, made);
            }
            Step::Copy { stream, from } => {
                let data = self.live.iter().filter_map(|thing| match thing {
                    Thing::Data(storage, Some(pattern)) => Some((storage, *pattern)),
                    _ => None,
                });
                let data: Vec<_> = data.collect();
                if data.is_empty() {
                    return;
                }
                let (from, pattern) = data[from % data.len()];
                let stream = &self.streams[stream];
                let made = stream.allocate(from.bytes()).map(|mut storage| {
                    let operands = [Operand::read(from, 0, from.bytes()), Operand::write(&mut storage)];
                    stream.record(&Work::Copy, &operands).unwrap();
                    Thing::Data(storage, Some(pattern))
                });
                self.enter(true, made);
            }
            Step::Freeze { pool, bytes, pattern } => {
                let data = vec![pattern; bytes as usize];
                let made = match self.pool(pool) {
                    Some(pool) => Storage::frozen_in(pool, &data),
                    None => self.streams[0].scope(|| Storage::frozen_from_bytes(&self.device, &data)),
                };
                self.enter(false, made.map(|storage| Thing::Data(storage, Some([pattern; 4]))));
            }
            Step::Take { pool, bytes } => {
                if let Some(pool) = self.pool(pool) {
                    let made = pool.take(bytes, WaitPolicy::Forever).map(Thing::Span);
                    self.enter(false, made);
                }
            }
            Step::Drop(at) if !self.live.is_empty() => drop(self.live.swap_remove(at % self.live.len())),
            Step::Drop(_) => {}
            Step::DropPool(at) => drop(self.pools.get_mut(at).and_then(Option::take)),
            Step::Flush(stream) => self.streams[stream].flush().unwrap(),
            Step::Wait(stream) => self.streams[stream].synchronize().unwrap(),
            Step::Look(at) if !self.live.is_empty() => self.live[at % self.live.len()].check(),
            Step::Look(_) => {}
            Step::Trim => self.device.trim(),
            Step::Decay => drop(self.device.engine.memory.decay(&*self.device.engine)),
            Step::Collect => self.device.engine.memory.gather(&*self.device.engine),
        }
    }

    /// One of the pools, made if it is not there; none past the last.
    fn pool(&mut self, at: usize) -> Option<&Pool> {
        let device = &self.device;
        let pool = self.pools.get_mut(at)?;
        Some(pool.get_or_insert_with(|| Pool::new(device, &format!("pool {at}")).unwrap()))
    }

    /// `is_block`: it would have been a block of a stream's.
    fn enter(&mut self, is_block: bool, made: crate::Result<Thing>) {
        match made {
            Ok(thing) => {
                let (memory, range) = thing.place();
                assert_eq!(range.start % 256, 0);
                for other in &self.live {
                    let (other_memory, other) = other.place();
                    let apart = memory != other_memory || range.end <= other.start || other.end <= range.start;
                    assert!(apart, "{range:?} and {other:?} overlap");
                }
                self.live.push(thing);
            }
            Err(error @ Error::OutOfMemory(_)) => {
                let report = report(error);
                // What the device refused for no reason of its own it may refuse wherever it likes.
                if self.faulty.counts().allocations == 0 {
                    let snapshot = balanced(&self.device);
                    assert!(
                        !has_room(&snapshot, report.requested, is_block && report.requested >= LEAST_LARGE),
                        "{report}\n{snapshot:#?}"
                    );
                }
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// What the memory says of itself is what the model knows, and what the device has counted.
    fn check(&self) {
        let stats = balanced(&self.device).stats;
        assert_eq!(self.hal.allocated(), (stats.reserved, stats.allocations), "{stats:?}");
        let (mut live, mut frozen, mut graphs) = (0, 0, 0);
        for thing in &self.live {
            match thing {
                Thing::Data(storage, _) if storage.is_frozen() => frozen += storage.bytes().next_multiple_of(256),
                Thing::Data(storage, _) => {
                    let (block, class) = (storage.block_bytes(), class(storage.bytes()));
                    assert!((class..=class + class / 2).contains(&block), "{block} bytes for a class of {class}");
                    live += block;
                }
                Thing::Span(span) => graphs += span.bytes(),
            }
        }
        assert_eq!((stats.live, stats.frozen, stats.graphs), (live, frozen, graphs), "{stats:?}");
    }
}

/// Eight sizes to an octave, worked out another way than the allocator does.
fn class(bytes: u64) -> u64 {
    let mut step = 256;
    while bytes > 16 * step {
        step *= 2;
    }
    bytes.div_ceil(step) * step
}

/// Whether so many bytes could be had although everything has been tried: a piece of that length that nobody uses, or a
/// new segment once those are gone that nobody uses.
fn has_room(snapshot: &MemorySnapshot, bytes: u64, is_large: bool) -> bool {
    let (mut whole, mut segments, mut longest, mut not_large) = (0, 0, 0, 0);
    for segment in &snapshot.segments {
        let mut run = 0;
        for span in &segment.spans {
            let mut piece = |is_free: bool, bytes: u64| {
                run = if is_free { run + bytes } else { 0 };
                longest = longest.max(run);
            };
            if span.state == SpanState::Stream {
                span.blocks.iter().for_each(|block| piece(block.state == BlockState::Free, block.bytes));
            } else {
                piece(span.state == SpanState::Free, span.bytes);
            }
        }
        if run == segment.bytes {
            whole += run;
        } else {
            segments += 1;
            not_large += if ["blocks", "small blocks"].contains(&&*segment.pool) { segment.bytes } else { 0 };
        }
    }
    let stats = snapshot.stats;
    // A stream's blocks that are large leave something to those that are not.
    let kept = if is_large { (stats.limit / 32).saturating_sub(not_large) } else { 0 };
    longest >= bytes || (stats.reserved - whole + bytes + kept <= stats.limit && segments < stats.max_allocations)
}

fn run(steps: Vec<Step>, seed: u64, plan: Plan) {
    let mut model = Model::new(seed, plan);
    for step in steps {
        model.run(step);
        model.check();
    }
    model.live.iter().for_each(Thing::check);
    // And all of it comes back, to the byte.
    model.live.clear();
    model.pools.clear();
    model.device.synchronize().unwrap();
    model.check();
    model.device.trim();
    model.check();
    assert_eq!(model.hal.allocated(), (0, 0));
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    // audit: C13
    #[test]
    fn the_memory_is_what_a_model_of_it_is(steps in prop::collection::vec(step(), 1..120), seed in any::<u64>()) {
        run(steps, seed, Plan::default());
    }

    // audit: C13
    #[test]
    fn the_same_on_a_device_that_refuses_allocations(
        steps in prop::collection::vec(step(), 1..120),
        seed in any::<u64>(),
        share in 0.0..1.0f64,
    ) {
        run(steps, seed, Plan { seed, allocations: Strike::Share(share), ..Plan::default() });
    }
}
