//! What the memory promises beyond one allocation.

mod fits;
mod model;

use super::world::{BYTES, Known, faulty, fresh_seed, streams};
use crate::base::wait_policy::WaitPolicy;
use crate::{
    BlockState, Config, Device, Error, MemorySnapshot, Operand, OutOfMemory, Pool, SpanState, Storage, Stream, Work,
};
use fastrand::Rng;
use std::time::{Duration, Instant};
use thalweg_doubles::faulty::{Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::HostAccess;

const KIB: u64 = 1 << 10;

/// On the mock, with nothing that decays by itself.
fn with(config: Config) -> Device {
    let hal = MockDevice::new(MockConfig { seed: fresh_seed(), ..MockConfig::default() });
    Device::new(hal, config.decay(Duration::ZERO)).unwrap()
}

/// A snapshot that adds up to the byte, without gaps and overlaps.
fn balanced(device: &Device) -> MemorySnapshot {
    let snapshot = device.memory_snapshot();
    let stats = snapshot.stats;
    let mut sums = [0; 6];
    let mut add = |state: usize, bytes: u64| sums[state] += bytes;
    for segment in &snapshot.segments {
        let mut end = 0;
        for span in &segment.spans {
            assert_eq!(span.offset, end, "{segment:?}");
            assert!(span.bytes > 0 && span.offset % 256 == 0, "{segment:?}");
            end += span.bytes;
            match span.state {
                SpanState::Stream => {
                    let mut inner = span.offset;
                    for block in &span.blocks {
                        assert!(block.offset == inner && block.bytes > 0, "{segment:?}");
                        inner += block.bytes;
                        add(if block.state == BlockState::Live { 0 } else { 1 }, block.bytes);
                    }
                    assert_eq!(inner, end, "{segment:?}");
                }
                SpanState::Frozen => add(2, span.bytes),
                SpanState::Graph => add(3, span.bytes),
                SpanState::Limbo => add(4, span.bytes),
                SpanState::Free => add(5, span.bytes),
            }
        }
        assert_eq!(end, segment.bytes, "{segment:?}");
        let free = |at: usize| segment.spans[at].state == SpanState::Free;
        assert!((1..segment.spans.len()).all(|at| !free(at - 1) || !free(at)), "free neighbours: {segment:?}");
    }
    assert_eq!(sums, [stats.live, stats.cached, stats.frozen, stats.graphs, stats.limbo, stats.free], "{stats:?}");
    assert_eq!(sums.iter().sum::<u64>() + stats.in_transit + stats.overhead, stats.reserved, "{stats:?}");
    assert!(stats.reserved <= stats.limit && stats.allocations <= stats.max_allocations, "{stats:?}");
    assert!(stats.live <= stats.peak_live && stats.reserved <= stats.peak_reserved, "{stats:?}");
    snapshot
}

/// Until a list that is being dropped has been.
fn await_reserved(device: &Device, bytes: u64) {
    while device.memory().reserved > bytes {
        std::thread::yield_now();
    }
}

fn report(error: Error) -> OutOfMemory {
    match error {
        Error::OutOfMemory(report) => *report,
        error => panic!("{error}"),
    }
}

// audit: C9, C11, C25
#[test]
fn the_snapshot_adds_up_to_the_byte_while_everybody_works() {
    let seed = fresh_seed();
    println!("seed {seed}");
    let device = with(Config::default().memory_limit(64 << 20));
    let pool = Pool::new(&device, "shared").unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (device, pool) = (&device, &pool);
                scope.spawn(move || {
                    let mut random = Rng::with_seed(seed ^ thread);
                    let stream = Stream::new(device).unwrap();
                    let (mut held, mut frozen) = (Vec::new(), Vec::new());
                    for _ in 0..300 {
                        match random.u32(..8) {
                            0 => frozen.push(Storage::frozen_in(pool, &vec![1; random.usize(..9000)]).unwrap()),
                            1 => frozen.truncate(random.usize(..4)),
                            2 => held.truncate(random.usize(..8)),
                            3 => drop(device.engine.memory.decay(&*device.engine)),
                            4 => device.trim(),
                            _ => {
                                let mut storage = stream.allocate(4 * random.u64(1..100 * KIB)).unwrap();
                                stream.record(&Work::Fill(1), &[Operand::write(&mut storage)]).unwrap();
                                held.push(storage);
                            }
                        }
                    }
                })
            })
            .collect();
        while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            balanced(&device);
        }
    });
    drop(pool);
    device.synchronize().unwrap();
    device.trim();
    await_reserved(&device, 0);
    let stats = balanced(&device).stats;
    assert!(stats.hits > 0 && stats.misses > 0 && stats.reclaimed > 0, "seed {seed}: {stats:?}");
}

#[test]
fn the_snapshot_says_what_each_piece_is_used_for_and_is_json() {
    let (device, faulty) = faulty(Config::default(), Plan { signals: Strike::Always, ..Plan::default() });
    let [stream] = streams(&device);
    let pool = Pool::new(&device, "a \"name\"").unwrap();
    let graph = pool.take(300, WaitPolicy::Forever).unwrap();
    assert_eq!((graph.bytes(), graph.offset() % 256), (512, 0));
    let live = stream.allocate(1000).unwrap();
    let (weights, gone) = (Known::freeze(&device, 1, 2).unwrap(), Known::freeze(&device, 3, 4).unwrap());
    // Dropped with a list in flight that the host has not seen run.
    let pending = gone.copy(&stream).unwrap();
    stream.flush().unwrap();
    drop((pending, gone));
    let snapshot = balanced(&device);
    let states = |pool: &str| {
        let segments = snapshot.segments.iter().filter(|segment| segment.pool == pool);
        segments.flat_map(|segment| &segment.spans).map(|span| (span.state, span.bytes)).collect::<Vec<_>>()
    };
    assert!(states(pool.name()).contains(&(SpanState::Graph, 512)));
    assert!(
        states("default").contains(&(SpanState::Frozen, 512)) && states("default").contains(&(SpanState::Limbo, 512))
    );
    let blocks = || snapshot.segments.iter().flat_map(|segment| &segment.spans).flat_map(|span| &span.blocks);
    let sizes = |state| blocks().filter(|block| block.state == state).map(|block| block.bytes).collect::<Vec<_>>();
    assert_eq!((sizes(BlockState::Live), sizes(BlockState::Pending)), (vec![1024], vec![512]));
    let json: serde_json::Value = serde_json::from_str(&snapshot.to_json()).unwrap();
    assert_eq!(json["stats"]["reserved"], snapshot.stats.reserved);
    assert_eq!(json["segments"].as_array().unwrap().len(), snapshot.segments.len());
    let names: Vec<_> = json["segments"].as_array().unwrap().iter().map(|segment| &segment["pool"]).collect();
    assert!(names.contains(&&serde_json::json!(pool.name())), "{names:?}");
    faulty.release();
    assert!(weights.is_right().unwrap());
    drop((live, graph));
    stream.synchronize().unwrap();
    device.trim();
    let stats = balanced(&device).stats;
    assert_eq!((stats.live, stats.graphs, stats.limbo, stats.frozen), (0, 0, 0, 512));
}

// audit: C30
#[test]
fn an_idle_stream_gives_back_what_it_has_cached_and_a_busy_one_does_not() {
    let device = with(Config::default());
    let [idle, busy] = streams(&device);
    let cached = |stream: &Stream| device.engine.memory.heap(stream.id()).usage(stream.id()).cached;
    drop([&idle, &busy].map(|stream| stream.allocate(BYTES).unwrap()));
    assert!(device.engine.memory.decay(&*device.engine));
    let before = [&idle, &busy].map(cached);
    assert!(before[0] > 0 && before[1] > 0);
    drop(busy.allocate(BYTES).unwrap());
    assert!(device.engine.memory.decay(&*device.engine));
    assert_eq!([&idle, &busy].map(cached), [0, before[1]]);
    // Now the other is idle too. What is wholly free then goes a period later.
    assert!(device.engine.memory.decay(&*device.engine));
    assert_eq!([&idle, &busy].map(cached), [0, 0]);
    let reserved = device.memory().reserved;
    assert!(reserved > 0);
    assert!(!device.engine.memory.decay(&*device.engine), "there is nothing left to look for");
    let stats = balanced(&device).stats;
    assert_eq!((stats.reserved, stats.decayed), (0, reserved));
}

// audit: C30
#[test]
fn the_reaper_gives_back_by_itself_what_nobody_uses() {
    let hal = MockDevice::new(MockConfig { seed: fresh_seed(), ..MockConfig::default() });
    let device = Device::new(hal, Config::default().decay(Duration::from_millis(1))).unwrap();
    for _ in 0..3 {
        // Nothing is recorded, so that nothing but the memory wakes it.
        drop(Stream::current(&device).unwrap().allocate(BYTES).unwrap());
        await_reserved(&device, 0);
    }
    assert!(device.memory().decayed > 0);
}

// audit: C30
#[test]
fn above_the_soft_limit_what_nobody_uses_goes_back_long_before_it_decays() {
    let hal = MockDevice::new(MockConfig { seed: fresh_seed(), ..MockConfig::default() });
    let config = Config::default().memory_limit(64 << 20).memory_soft_limit(1 << 20).decay(Duration::from_secs(3600));
    let device = Device::new(hal, config).unwrap();
    let [busy, idle] = streams(&device);
    for _ in 0..3 {
        // What is small, common and large for the limit.
        let burst = [KIB, 40 * KIB, 500 * KIB, 3 << 20, 5 << 20].map(|bytes| {
            let mut storage = idle.allocate(bytes).unwrap();
            idle.record(&Work::Fill(1), &[Operand::write(&mut storage)]).unwrap();
            storage
        });
        drop(burst);
        idle.synchronize().unwrap();
        let begun = Instant::now();
        await_reserved(&device, 1 << 20);
        eprintln!("what was above the soft limit was back after {:?}", begun.elapsed());
        drop(busy.allocate(BYTES).unwrap());
    }
}

// audit: C30
#[test]
fn what_is_above_the_soft_limit_goes_back_though_nothing_is_submitted() {
    let hal = MockDevice::new(MockConfig { seed: fresh_seed(), ..MockConfig::default() });
    let config = Config::default().memory_limit(64 << 20).memory_soft_limit(1 << 20).decay(Duration::from_secs(3600));
    let device = Device::new(hal, config).unwrap();
    let [stream] = streams(&device);
    // Now it means to look again in an hour.
    while device.engine.doorbell.is_soon() {
        std::thread::yield_now();
    }
    // Nothing is recorded: nothing but the memory wakes it.
    drop([500 * KIB, 3 << 20, 5 << 20].map(|bytes| stream.allocate(bytes).unwrap()));
    await_reserved(&device, 1 << 20);
}

/// Whether a list that was recorded before some weights were dropped reads what others wrote to their bytes.
fn reads_of_others(device: &Device) -> bool {
    let [stream] = streams(device);
    let weights = Storage::frozen_from_bytes(device, &vec![1; 600 << 10]).unwrap();
    let mut out = stream.allocate(BYTES).unwrap();
    stream.record(&Work::Copy, &[Operand::read(&weights, 0, BYTES), Operand::write(&mut out)]).unwrap();
    drop(weights);
    let others = Storage::frozen_from_bytes(device, &vec![2; 600 << 10]).unwrap();
    let mut found = [0];
    out.read(0, &mut found).unwrap();
    drop(others);
    found != [1]
}

// audit: C13
#[test]
fn frozen_memory_is_not_used_again_while_a_list_may_read_it() {
    let device = with(Config::default().memory_limit(1 << 20));
    assert!(!reads_of_others(&device));
    assert!(device.memory().waits > 0, "the list was not in the way");
}

// audit: C13, C28
#[test]
fn falsify_limbo() {
    let device = with(Config::default().memory_limit(1 << 20));
    device.engine.sabotage.empty_limbo_at_once();
    assert!(reads_of_others(&device), "the memory was used again, and nobody noticed");
}

// audit: C30
#[test]
fn what_others_have_cached_is_used_before_more_is_taken() {
    let device = with(Config::default().memory_limit(1 << 30));
    let [first, second] = streams(&device);
    // In pieces that are merged, and cut elsewhere.
    let pieces = [300 * KIB, 200 * KIB, 300 * KIB].map(|bytes| first.allocate(bytes).unwrap());
    drop(pieces);
    let before = device.memory();
    let held = [500 * KIB, 250 * KIB].map(|bytes| second.allocate(bytes).unwrap());
    let after = balanced(&device).stats;
    assert_eq!((after.reserved, after.allocations), (before.reserved, before.allocations), "{after:?}");
    assert!(after.reclaimed > 0 && after.live >= 750 * KIB, "{after:?}");
    drop(held);
}

/// What is not settled stays where it is, for its own stream alone.
#[test]
fn what_a_list_still_uses_is_used_again_by_its_own_stream_alone() {
    let (device, faulty) = faulty(Config::default(), Plan { signals: Strike::Always, ..Plan::default() });
    let [own, other] = streams(&device);
    let write = |stream: &Stream, bytes: u64| {
        let mut storage = stream.allocate(bytes).unwrap();
        stream.record(&Work::Fill(1), &[Operand::write(&mut storage)]).unwrap();
        storage
    };
    drop([300 * KIB, 200 * KIB].map(|bytes| write(&own, bytes)));
    own.flush().unwrap();
    let before = device.memory().reserved;
    let (first, second) = (write(&own, 450 * KIB), write(&other, 450 * KIB));
    let place = |storage: &Storage| (storage.memory().id(), storage.offset());
    assert_ne!(place(&first), place(&second));
    assert!(device.memory().reserved > before, "the other had nothing to take");
    faulty.release();
    assert!([&own, &other].iter().all(|stream| stream.synchronize().is_ok()));
    balanced(&device);
}

#[test]
fn what_is_large_for_the_limit_is_not_split_and_goes_back_whole() {
    let device = with(Config::default().memory_limit(32 << 20));
    let [stream] = streams(&device);
    // Each leaves what the next has no use for, until there is no room for both.
    for bytes in (1..=20).chain((1..=20).rev()).map(|mib| mib << 20) {
        let held = stream.allocate(bytes).unwrap();
        let small = stream.allocate(KIB).unwrap();
        let snapshot = balanced(&device);
        assert!(snapshot.segments.iter().filter(|segment| segment.pool == "large blocks").all(|s| s.spans.len() == 1));
        drop((held, small));
    }
    drop(stream.allocate(30 << 20).unwrap());
}

// audit: C30
#[test]
fn above_the_soft_limit_what_is_wholly_free_goes_back_at_once() {
    let device = with(Config::default().memory_limit(16 << 20).memory_soft_limit(KIB));
    let [first, second] = streams(&device);
    let held = first.allocate(400 * KIB).unwrap();
    drop((first.allocate(500 * KIB).unwrap(), held));
    let _small = second.allocate(KIB).unwrap();
    let snapshot = balanced(&device);
    let is_free = |spans: &[crate::SpanSnapshot]| spans.iter().all(|span| span.state == SpanState::Free);
    assert!(!snapshot.segments.iter().any(|segment| is_free(&segment.spans)), "{snapshot:?}");
}

// audit: C32
#[test]
fn the_number_of_allocations_is_bounded() {
    let device = with(Config::default().memory_limit(16 << 20).max_allocations(2));
    let [stream] = streams(&device);
    let held = [stream.allocate(3 << 20).unwrap(), stream.allocate(3 << 20).unwrap()];
    let report = report(stream.allocate(3 << 20).unwrap_err());
    assert_eq!((report.stats.allocations, report.stats.max_allocations), (2, 2));
    assert!(report.stats.limit - report.stats.reserved >= 3 << 20, "{report}");
    drop(held);
    stream.allocate(4 << 20).unwrap();
    // Never more than the device allows.
    let hal = MockDevice::new(MockConfig { max_allocations: 3, ..MockConfig::default() });
    let device = Device::new(hal, Config::default().max_allocations(7)).unwrap();
    assert_eq!(device.memory().max_allocations, 3);
}

// audit: C32
#[test]
fn there_are_few_allocations_however_many_tensors() {
    let device = with(Config::default());
    let streams: [Stream; 8] = streams(&device);
    // 60 MiB in 200 tensors that are large, and as many that are small.
    let allocate = |at: usize| [300 * KIB, KIB].map(|bytes| streams[at % 8].allocate(bytes).unwrap());
    let held: Vec<_> = (0..200).map(allocate).collect();
    let stats = balanced(&device).stats;
    assert!(stats.allocations < 40, "{stats:?}");
    drop(held);
    assert!(balanced(&device).stats.live == 0);
}

// audit: F10, C12
#[test]
fn a_list_that_is_withheld_keeps_nobody_waiting_whom_another_can_serve() {
    let plan = Plan { signals: Strike::Nth(1), ..Plan::default() };
    let (device, faulty) = faulty(Config::default().memory_limit(1 << 20).decay(Duration::ZERO), plan);
    let [held, third, other] = streams(&device);
    for stream in [&held, &third] {
        let mut storage = stream.allocate(400 * KIB).unwrap();
        stream.record(&Work::Fill(1), &[Operand::write(&mut storage)]).unwrap();
    }
    held.flush().unwrap();
    // Comes back although the first list never does, as far as the host can see; and the second is not even submitted.
    let storage = other.allocate(450 * KIB).unwrap();
    assert!(!held.query());
    assert!(matches!(other.or_busy().allocate(450 * KIB), Err(Error::Busy)));
    balanced(&device);
    faulty.release();
    drop((storage, other.allocate(450 * KIB).unwrap()));
}

/// While one waits for a list, others take its memory, use it and free it: it is waited for again.
// audit: C25
#[test]
fn what_others_take_and_free_while_one_waits_is_waited_for_again() {
    let plan = Plan { signals: Strike::Always, ..Plan::default() };
    let (device, faulty) = faulty(Config::default().memory_limit(1 << 20).decay(Duration::ZERO), plan);
    let [busy, waiting] = streams(&device);
    let take_and_free = || {
        let mut storage = busy.allocate(700 * KIB).unwrap();
        busy.record(&Work::Fill(1), &[Operand::write(&mut storage)]).unwrap();
    };
    take_and_free();
    busy.flush().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| waiting.allocate(700 * KIB).map(drop));
        while device.memory().waits == 0 {
            std::thread::yield_now();
        }
        // In a list that is not even submitted.
        take_and_free();
        faulty.release();
        waiter.join().unwrap().expect("nothing is live");
    });
    balanced(&device);
}

// audit: C25
#[test]
fn memory_that_is_short_is_reported_with_whoever_has_it() {
    let device = with(Config::default().memory_limit(1 << 20));
    let [stream, other] = streams(&device);
    let pool = Pool::new(&device, "weights of a model").unwrap();
    let _weights = Storage::frozen_in(&pool, &vec![1; 300 << 10]).unwrap();
    let mut live = stream.allocate(500 * KIB).unwrap();
    stream.record(&Work::Fill(1), &[Operand::write(&mut live)]).unwrap();
    let error = other.allocate(500 * KIB).unwrap_err();
    let text = error.to_string();
    let report = report(error);
    assert!(report.waited && report.refusals == 0 && report.device.is_none(), "{report:?}");
    assert_eq!((report.requested, report.stats.frozen, report.retry_can_help), (512 * KIB, 300 * KIB, true));
    let pools: Vec<_> = report.pools.iter().map(|pool| (&*pool.name, pool.reserved - pool.free)).collect();
    assert_eq!(pools, [("large blocks", 512 * KIB), ("weights of a model", 300 * KIB)]);
    assert_eq!(report.streams.iter().map(|stream| stream.live).collect::<Vec<_>>(), [512 * KIB]);
    for part in ["weights of a model", "Config::memory_limit", "524288 bytes asked for", "stream", "Try again"] {
        assert!(text.contains(part), "{text}");
    }
    drop(live);
    // It fits in the limit, and never beside the weights.
    for bytes in [800 * KIB, u64::MAX] {
        let error = other.allocate(bytes).unwrap_err();
        assert!(!error.is_retryable() && error.to_string().contains("No retry can help"), "{error}");
    }
    drop(other.allocate(500 * KIB).unwrap());
}

/// What a retry can do depends on what the memory is for: staging has a limit of its own, and what is kept for it is
/// nobody else's.
// audit: C25
#[test]
fn whether_a_retry_can_help_takes_staging_into_account() {
    let hal = MockDevice::new(MockConfig { host_access: HostAccess::None, ..MockConfig::default() });
    let config = Config::default().memory_limit(64 << 20).staging_limit(4 << 20).decay(Duration::ZERO);
    let device = Device::new(hal, config).unwrap();
    let [stream] = streams(&device);
    let weights = Storage::frozen_from_bytes(&device, &vec![0; 40 << 20]).unwrap();
    let mut data = stream.allocate(3 << 20).unwrap();
    stream.record(&Work::Fill(1), &[Operand::write(&mut data)]).unwrap();
    // More weights than staging has: they are not in its way, a download that somebody keeps is.
    let kept = data.download(0, 3 << 20).unwrap();
    assert!(data.download(0, 3 << 20).unwrap_err().is_retryable());
    drop(kept);
    data.download(0, 3 << 20).unwrap().wait().unwrap();
    let too_long = stream.allocate(22 << 20).unwrap_err();
    assert!(!too_long.is_retryable(), "{too_long}");
    drop((weights, data));
    // 60 MiB, beside 2 for what is not large and 2 for staging.
    drop(stream.allocate(60 << 20).unwrap());
    let device = {
        let hal = MockDevice::new(MockConfig { host_access: HostAccess::None, ..MockConfig::default() });
        Device::new(hal, Config::default().memory_limit(63 << 20).decay(Duration::ZERO)).unwrap()
    };
    let [stream] = streams(&device);
    let too_long = stream.allocate(60 << 20).unwrap_err();
    assert!(!too_long.is_retryable(), "{too_long}");
}

// audit: C25
#[test]
fn the_memory_of_a_pool_goes_back_with_the_pool() {
    let device = with(Config::default());
    let [stream] = streams(&device);
    let pool = Pool::new(&device, "model").unwrap();
    let weights = Storage::frozen_in(&pool, &vec![7; 3 << 20]).unwrap();
    let mut out = stream.allocate(BYTES).unwrap();
    stream.record(&Work::Copy, &[Operand::read(&weights, 0, BYTES), Operand::write(&mut out)]).unwrap();
    drop(pool.clone());
    drop((pool, weights));
    assert!(device.memory().limbo >= 3 << 20, "an open list reads it");
    let mut found = [0];
    out.read(0, &mut found).unwrap();
    assert_eq!(found, [7]);
    // Nobody asks for memory; the reaper alone sees that it has settled.
    while device.memory_snapshot().segments.iter().any(|segment| segment.pool == "model") {
        std::thread::yield_now();
    }
    while device.memory().in_transit > 0 {
        std::thread::yield_now();
    }
    assert!(balanced(&device).stats.reserved < 3 << 20);
}

// audit: C13
#[test]
fn a_span_of_a_pool_is_nobody_elses_and_rests_in_limbo() {
    let (device, faulty) = faulty(Config::default(), Plan { signals: Strike::Always, ..Plan::default() });
    let [stream] = streams(&device);
    let pool = Pool::new(&device, "graph").unwrap();
    let spans = [1000, 2000].map(|bytes| pool.take(bytes, WaitPolicy::Forever).unwrap());
    let range = |span: &crate::engine::span::PoolSpan| span.offset()..span.offset() + span.bytes();
    assert_eq!(spans[0].memory().id(), spans[1].memory().id());
    assert!(range(&spans[0]).end <= range(&spans[1]).start || range(&spans[1]).end <= range(&spans[0]).start);
    let (first, _second) = (range(&spans[0]), range(&spans[1]));
    let _known = Known::fill(&stream, 1).unwrap();
    stream.flush().unwrap();
    drop(spans);
    device.trim();
    assert!(device.memory().limbo > 0);
    assert_ne!(range(&pool.take(1000, WaitPolicy::Forever).unwrap()), first);
    faulty.release();
    stream.synchronize().unwrap();
    device.trim();
    assert_eq!(device.memory().limbo, 0);
    assert!(matches!(pool.take(u64::MAX, WaitPolicy::Forever), Err(Error::OutOfMemory(_))));
    balanced(&device);
}
