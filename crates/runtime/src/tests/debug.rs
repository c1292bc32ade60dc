//! What `{:?}` shows of a public type: a line for people. Handlers print their arguments, so the line is short whatever
//! is behind a handle, and nothing is locked for it.

use super::world::COMBINE;
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::listener::{Detail, Listener, Options};
use crate::{
    BlockState, Cache, Config, Device, Error, Failure, Graph, MemoryStats, MutableStorage, Operand, OutOfMemory,
    Pending, Pool, PoolMemory, Step, Storage, Stream, StreamMemory, Work, range,
};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;
use thalweg_cpu::CpuDevice;
use thalweg_doubles::faulty::{Faulty, Plan};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::validate::Validated;
use thalweg_hal::{KernelFailure, List, MemoryKind, Submission, TimelinePoint};

/// What a type shows is shorter, in bytes.
const LIMIT: usize = 200;
const BYTES: u64 = 1 << 20;
const MANY: usize = 200;

/// Records one kernel more often than a line could list.
fn work_hard(device: &Device, stream: &Stream, from: &Storage) -> crate::Result<Storage> {
    let mut last = stream.allocate(BYTES)?;
    for salt in 0..MANY as u32 {
        let mut next = stream.allocate(BYTES)?;
        let (pipeline, params) = (&device.pipeline(&COMBINE)?, &salt.to_ne_bytes());
        let operands = [Operand::read(from, 0, BYTES), Operand::read(from, 0, BYTES), Operand::write(&mut next)];
        stream.record(&Work::Dispatch { pipeline, params, extent: [BYTES as u32 / 4, 1, 1] }, &operands)?;
        last = next;
    }
    Ok(last)
}

/// What each value shows, with the name of its type.
macro_rules! shown {
    ($($name:ident: $value:expr),* $(,)?) => {
        vec![$((stringify!($name), format!("{:?}", $value))),*]
    };
}

/// A report with as much as there can be in it.
fn shortage() -> OutOfMemory {
    let stream = StreamMemory { stream: 127, live: 1 << 36, cached: 1 << 36 };
    let pool = PoolMemory { name: "all-MiniLM-L6-v2".into(), reserved: 1 << 36, free: 1 << 36 };
    let (limit, reserved, frozen, free) = (1 << 37, 1 << 37, 1 << 36, 1 << 36);
    let stats = MemoryStats { limit, reserved, frozen, free, ..MemoryStats::default() };
    let (streams, pools) = (vec![stream; 128], vec![pool; 16]);
    OutOfMemory { requested: 1 << 36, stats, streams, pools, ..Default::default() }
}

fn failure() -> Failure {
    let failure = KernelFailure::new("index 30522 of 12 asked for; the table has 30522 rows");
    let source = thalweg_hal::Error::Kernel { kernel: "embedding_f32".into(), failure };
    Failure { operation: "embedding_f32".into(), stream: 127, value: 1 << 20, source: Arc::new(source) }
}

/// The types that a file exports or declares, by name.
fn exported(source: &'static str) -> BTreeSet<&'static str> {
    let exports = source.split(';').filter_map(|item| item.trim().strip_prefix("pub use "));
    let names = exports.flat_map(|path| path.rsplit("::").next().unwrap_or(path).split([',', '{', '}', ' ', '\n']));
    let declared = source.lines().filter_map(|line| line.strip_prefix("pub struct "));
    let declared = declared.filter_map(|line| line.split([' ', '<', '(', ';']).next());
    // Neither a module or a function nor a constant; and a result has the types of its parts.
    let is_type = |name: &&str| name.starts_with(char::is_uppercase) && !["Result", "NEVER"].contains(name);
    names.chain(declared).filter(is_type).collect()
}

fn check(name: &str, line: &str) {
    let bytes = line.len();
    assert!(bytes < LIMIT && !line.contains('\n'), "{name} shows {bytes} bytes: {line:.1000}");
}

#[test]
fn every_public_type_shows_itself_in_a_short_line_and_locks_nothing() {
    let device = Device::new(CpuDevice::open().unwrap(), Config::default()).unwrap();
    let options = Options { detail: Detail::Full, ..Options::default() };
    let (mut listener, mut reader) = Listener::new(&device, options).unwrap();
    listener.open();
    let stream = Stream::new(&device).unwrap();
    let pool = Pool::new(&device, "all-MiniLM-L6-v2").unwrap();
    let frozen = Storage::frozen_in(&pool, &vec![1; BYTES as usize]).unwrap();
    let graph = Graph::capture(&device, &[BYTES], |inputs| {
        Ok::<_, Error>(vec![work_hard(&device, &Stream::current(&device)?, &inputs[0])?])
    });
    let graph = graph.unwrap();
    let storage = work_hard(&device, &stream, &frozen).unwrap();
    let parts = MutableStorage::new(stream.allocate(BYTES).unwrap(), BYTES / 256).unwrap();
    let pipeline = &device.pipeline(&COMBINE).unwrap();
    let dispatch = Work::Dispatch { pipeline, params: &[0xff; 128], extent: [u32::MAX; 3] };
    let pending = stream.scope(|| storage.download(0, BYTES as usize)).unwrap();
    let all = Pending::all((0..MANY).map(|_| pending.clone()));
    let cache = Cache::<u64, Vec<u64>, Error>::new(512, 1 << 30, |_, value| value.len() as u64);
    cache.get(&1, || Ok(vec![1; MANY])).unwrap();
    let event = stream.record_event();
    let timed = stream.record_timed_event().unwrap();
    let snapshot = device.memory_snapshot();
    let segment = snapshot.segments.iter().max_by_key(|segment| segment.spans.len()).unwrap();
    let spans = || snapshot.segments.iter().flat_map(|segment| &segment.spans);
    let span = spans().max_by_key(|span| span.blocks.len()).unwrap();
    let config = Config::default().memory_limit(1 << 40).staging_limit(1 << 30).decay(Duration::from_millis(1500));
    let (cache_stats, counters, named) = (cache.stats(), device.counters(), range("tokenize"));
    let report = shortage();
    let error = Error::OutOfMemory(Box::new(report.clone()));

    let (mut listened, dropped, sample) = (Vec::new(), reader.dropped(), reader.memory().unwrap());
    reader.drain(|_, event| listened.push(event));

    // Of the last rank: whoever takes another lock now panics.
    let last = Mutex::new(Rank::Exchange, ());
    let held = last.lock();
    let shown: Vec<(&str, String)> = shown![
        Attached: stream.attach(std::future::ready(())),
        Awaited: all.clone().into_future(),
        BlockSnapshot: span.blocks[0],
        BlockState: BlockState::Pending,
        Cache: cache,
        CacheStats: cache_stats,
        Config: config,
        Counters: counters,
        Device: device,
        Error: error,
        Event: timed,
        Failure: failure(),
        Finished: event.finished(),
        Graph: graph,
        MemorySnapshot: snapshot,
        MemoryStats: snapshot.stats,
        MutableStorage: parts,
        Operand: parts.read(1..2).unwrap(),
        OutOfMemory: report,
        Pending: all,
        Pipeline: pipeline,
        Pool: pool,
        Step: Step::after(&Pending::ready(1)) as Step<u32>,
        PoolMemory: report.pools[0],
        Range: named,
        SegmentSnapshot: segment,
        SpanSnapshot: span,
        SpanState: span.state,
        Storage: frozen,
        Stream: stream.or_busy(),
        StreamMemory: report.streams[0],
        Work: dispatch,
    ];
    let listening: Vec<(&str, String)> = shown![
        Detail: Detail::Full,
        Dropped: dropped,
        Event: listened[0],
        Kind: listened[0].kind,
        Listener: listener,
        MemorySample: sample,
        Options: Options::default(),
        Reader: reader,
    ];
    drop(held);

    assert_eq!(shown.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), exported(include_str!("../lib.rs")));
    assert_eq!(
        listening.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(),
        exported(include_str!("../api/listener.rs"))
    );
    shown.iter().chain(&listening).for_each(|(name, line)| check(name, line));
}

/// What a backend makes is behind handles of programs and in errors of tests.
#[test]
fn what_backends_make_shows_itself_in_a_short_line() {
    let (cpu, mock) = (CpuDevice::open().unwrap(), MockDevice::new(MockConfig::default()));
    let doubles =
        [Validated::new(cpu.clone()) as Arc<dyn thalweg_hal::Device>, Faulty::new(mock.clone(), Plan::default())];
    let gpus = [thalweg_vulkan::testing::device().map(|gpu| gpu as _), thalweg_metal::testing::device()];
    for hal in [cpu as Arc<dyn thalweg_hal::Device>, mock].into_iter().chain(doubles).chain(gpus.into_iter().flatten())
    {
        let (memory, pipeline) =
            (hal.allocate(MemoryKind::Device, BYTES).unwrap(), hal.create_pipeline(&COMBINE).unwrap());
        let (queue, doorbell) = (hal.create_queue().unwrap(), hal.create_doorbell().unwrap());
        let waits = vec![TimelinePoint { timeline: Arc::clone(queue.timeline()), value: 1 << 20 }; MANY];
        let list = Arc::new(List { memories: vec![Arc::clone(&memory); MANY], ..List::default() });
        let submission = Submission { list: &list, waits: &waits, value: 1 << 20 };
        let made: [&dyn Debug; 10] = [
            &hal,
            &hal.info(),
            &hal.info().limits,
            &memory,
            &pipeline,
            &queue,
            &doorbell,
            &waits[0],
            &list,
            &submission,
        ];
        made.iter().for_each(|made| check(&hal.info().name, &format!("{made:?}")));
        check("a kernel", &format!("{COMBINE:?}, {:?}", COMBINE.wgsl));
    }
}
