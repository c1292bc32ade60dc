//! What a trace says of programs of which every step is known, and that they run as they do without a profiler.

use super::known::{self, BYTES, COMBINE, Known, fresh_seed};
use super::trace::Trace;
use crate::{Detail, Profile, ProfileOptions, Profiler};
use fastrand::Rng;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use thalweg_cpu::CpuDevice;
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::Timestamps;
use thalweg_hal::validate::Validated;
use thalweg_runtime::listener::{Kind, NEVER};
use thalweg_runtime::{Config, Device, Error, Operand, Result, Stream, Work, range};

/// Ranges are for every session of the process, so one test at a time has sessions.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn full() -> ProfileOptions {
    ProfileOptions::new().detail(Detail::Full).ring_events(1 << 18)
}

/// Operations on tensors of the thread's own and on one that all share; every result is checked. Gives their number.
fn work(device: &Device, shared: &Known, random: &mut Rng, steps: usize) -> usize {
    let stream = Stream::current(device).unwrap();
    let mut known = Known::fill(&stream, random.u32(..)).unwrap();
    for step in 0..steps {
        match random.u8(..5) {
            0 => known = known.copy(&stream).unwrap(),
            1 => known.advance(random.u32(..), &stream).unwrap(),
            2 => known = Known::fill(&stream, random.u32(..)).unwrap(),
            _ => known = known.combine(shared, random.u32(..), &stream).unwrap(),
        }
        if step % 50 == 49 {
            assert!(known.is_right().unwrap());
        }
    }
    assert!(known.is_right().unwrap());
    steps + 1
}

/// Eight threads at work; gives the number of operations.
fn eight(device: &Device, seed: u64) -> usize {
    let shared = &Known::upload(device, seed as u32, 3).unwrap();
    let started = &Barrier::new(8);
    let worker = move |index: u64| {
        let _range = range("a thread's work");
        // All have their streams before one has ended and given its own back.
        let _stream = Stream::current(device).unwrap();
        started.wait();
        work(device, shared, &mut Rng::with_seed(seed ^ index), 200)
    };
    thread::scope(|scope| {
        let spawn = |index| {
            let builder = thread::Builder::new().name(format!("worker {index}"));
            builder.spawn_scoped(scope, move || worker(index)).unwrap()
        };
        let threads: Vec<_> = (0..8).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn devices(seed: u64) -> [(Device, bool); 2] {
    let mock = MockDevice::new(MockConfig { seed, ..MockConfig::default() });
    [
        (Device::new(mock, Config::default()).unwrap(), false),
        (Device::new(CpuDevice::open().unwrap(), Config::default()).unwrap(), true),
    ]
}

// audit: F3
#[test]
fn a_trace_of_eight_threads_has_what_a_person_looks_for() {
    let _alone = alone();
    let seed = fresh_seed();
    println!("seed {seed}");
    for (options, exact) in [(full(), false), (full().serialize_kernels(true), true)] {
        for (device, one_clock) in devices(seed) {
            let profiler = Profiler::start(&device, options).unwrap();
            let operations = eight(&device, seed);
            device.synchronize().unwrap();
            device.trim();
            let reserved = device.memory().reserved;
            let profile = profiler.stop();
            let trace = Trace::of(&profile);
            trace.assert_whole(&profile);
            assert_eq!(trace.count("operation"), operations);
            assert_eq!(profile.kernels().kernels.iter().map(|kernel| kernel.count).sum::<u64>(), operations as u64);
            // Threads, each with its range around what it did; and streams.
            for index in 0..8 {
                let name = format!("worker {index}");
                let track =
                    *trace.tracks.iter().find(|(_, track)| **track == name).expect("a worker without a track").0;
                let on_track = || trace.slices.iter().filter(|slice| slice.track == track);
                let range = on_track().find(|slice| slice.name == "a thread's work").unwrap();
                assert!(on_track().all(|slice| range.start <= slice.start && slice.end <= range.end), "{name}");
                assert_eq!(on_track().filter(|slice| slice.cat == "operation").count(), 201);
            }
            let streams = trace.tracks.iter().filter(|(track, name)| track.0 == 2 && name.starts_with("stream "));
            assert!(streams.count() >= 8, "{:?}", trace.tracks);
            assert_eq!(trace.named("compile combine") + trace.named("compile advance"), 2);
            // Memory ends at what is true, as the changes say it too.
            let [.., before, last] = trace.memory[..] else { panic!("no memory") };
            assert_eq!((last.0, before.0), (0, 0), "live bytes: what is true, and what the changes come to");
            // A list that the reaper is about to let go may keep memory a moment longer.
            let reserved = device.memory().reserved..=reserved;
            assert!(reserved.contains(&last.1) && reserved.contains(&before.1), "{before:?}, {last:?}, {reserved:?}");
            assert!(trace.memory.iter().any(|(live, _)| *live >= 3 * BYTES));
            let moved = |name| {
                trace.slices.iter().filter(|slice| slice.name == name).map(|slice| slice.bytes.unwrap()).sum::<u64>()
            };
            assert_eq!(moved("driver allocation") - moved("driver free"), before.1);
            assert_order(&trace, &profile, one_clock, exact);
        }
    }
}

/// Lists run inside what their kernels' slices say, and one after the other; nothing runs before it is called.
fn assert_order(trace: &Trace, profile: &Profile, one_clock: bool, exact: bool) {
    let mut lists: Vec<_> = trace.of_cat("list").collect();
    lists.sort_by_key(|list| list.list);
    for pair in lists.windows(2).filter(|pair| pair[0].list.0 == pair[1].list.0) {
        assert!(pair[0].end <= pair[1].start, "lists of one stream overlap: {pair:?}");
    }
    for kernel in trace.of_cat("kernel") {
        let around = lists[lists.binary_search_by_key(&kernel.list, |list| list.list).unwrap()];
        assert!(around.start <= kernel.start && kernel.end <= around.end, "{kernel:?} is not in {around:?}");
        // Only where nothing overlaps does each stream have one track.
        assert!(!exact || kernel.track == around.track, "{kernel:?} beside {around:?}");
    }
    if one_clock {
        // Two readings that are each so far off; and a nanosecond for rounding.
        let slack = profile.clock_uncertainty().unwrap().as_nanos() as u64 + 1;
        for (from, to) in &trace.arrows {
            assert!(from.start <= to.start + slack, "{to:?} before {from:?}, clocks within {slack} ns");
        }
    }
}

#[test]
fn coarse_has_lists_and_no_operations() {
    let _alone = alone();
    let seed = fresh_seed();
    println!("seed {seed}");
    for (device, one_clock) in devices(seed) {
        let profiler = Profiler::start(&device, ProfileOptions::new()).unwrap();
        let operations = eight(&device, seed);
        device.synchronize().unwrap();
        let profile = profiler.stop();
        let trace = Trace::of(&profile);
        trace.assert_whole(&profile);
        assert_eq!(trace.count("operation"), 0);
        assert!(trace.count("list") < operations && trace.count("list") > 0 && trace.count("wait") > 0);
        assert_eq!(*trace.memory.last().unwrap(), (0, device.memory().reserved));
        assert_order(&trace, &profile, one_clock, true);
        assert!(profile.kernels().kernels.is_empty());
    }
}

/// A program of one thread on two streams, on a device that sees every missing order. Gives what it read, and what the
/// streams did.
fn program(seed: u64, options: Option<ProfileOptions>) -> (Vec<Vec<u8>>, u64, u64) {
    let validated = Validated::new(MockDevice::new(MockConfig { seed, ..MockConfig::default() }));
    // So short that how busy the device is says nothing.
    let device = Device::new(Arc::<Validated>::clone(&validated), Config::default().list_commands(9)).unwrap();
    let streams = [Stream::new(&device).unwrap(), Stream::new(&device).unwrap()];
    let profiler = options.map(|options| Profiler::start(&device, options).unwrap());
    let before = device.counters().lists;
    let mut random = Rng::with_seed(seed);
    let mut all: Vec<Known> = (0..4).map(|at| Known::upload(&device, random.u32(..), at).unwrap()).collect();
    for _ in 0..300 {
        let (at, from, stream) = (random.usize(..4), random.usize(..4), &streams[random.usize(..2)]);
        match random.u8(..4) {
            0 => all[at] = all[from].copy(stream).unwrap(),
            1 => all[at].advance(random.u32(..), stream).unwrap(),
            2 => all[at] = Known::fill(stream, random.u32(..)).unwrap(),
            _ => all[at] = all[at].combine(&all[from], random.u32(..), stream).unwrap(),
        }
    }
    device.synchronize().unwrap();
    let lists = device.counters().lists - before;
    let read = |known: &Known| {
        let mut bytes = vec![0; BYTES as usize];
        known.storage.read(0, &mut bytes).unwrap();
        assert!(known.is(&bytes), "seed {seed}");
        bytes
    };
    let bytes = all.iter().map(read).collect();
    if let Some(profiler) = profiler {
        let profile = profiler.stop();
        Trace::of(&profile).assert_whole(&profile);
    }
    (bytes, lists, validated.report().violations)
}

// audit: F3
#[test]
fn results_and_lists_are_those_without_a_profiler() {
    let _alone = alone();
    for _ in 0..10 {
        let seed = fresh_seed();
        let off = program(seed, None);
        assert_eq!(off.2, 0, "seed {seed}");
        for options in [ProfileOptions::new(), full(), full().serialize_kernels(true)] {
            let (read, lists, violations) = program(seed, Some(options));
            assert!(read == off.0, "other values, seed {seed}, {options:?}");
            assert_eq!(violations, 0, "seed {seed}, {options:?}");
            // Where kernels are serialized, hazards need fewer barriers of their own, and a list has room for more.
            let serialized = options.listener.detail == Detail::Full && options.listener.serialize_kernels;
            let fewer = serialized && lists < off.1;
            assert!(lists == off.1 || fewer, "{lists} lists for {}, seed {seed}, {options:?}", off.1);
        }
    }
}

// audit: F3
#[test]
fn failures_are_those_without_a_profiler() {
    let _alone = alone();
    for options in [ProfileOptions::new(), full(), full().serialize_kernels(true)] {
        for strikes in [
            Plan { submissions: Strike::Nth(1), ..Plan::default() },
            Plan { failures: Strike::Nth(1), ..Plan::default() },
        ] {
            let (device, faulty) = known::faulty(Plan::default());
            let [stream, other] = known::streams(&device);
            let profiler = Profiler::start(&device, options).unwrap();
            let source = Known::upload(&device, 3, 5).unwrap();
            // The end of a list is the profiler's. One that fails there is nobody's failure.
            let copied = source.copy(&stream).unwrap();
            faulty.set(strikes.clone());
            stream.flush().unwrap();
            stream.synchronize().unwrap();
            drop(copied);
            // The first that failed is the program's.
            faulty.set(strikes);
            let broken = source.combine(&source, 1, &stream).unwrap();
            stream.flush().unwrap();
            stream.synchronize().unwrap();
            faulty.set(Plan::default());
            let dependant = broken.copy(&other).unwrap();
            let failed = dependant.is_right().unwrap_err();
            assert!(
                matches!(&failed, Error::Failed(failure) if failure.operation == "combine"),
                "{options:?}: {failed}"
            );
            assert!(source.copy(&other).unwrap().is_right().unwrap());
            // What the device said of the program's own timestamps reaches the program.
            let events = [other.record_timed_event().unwrap(), other.record_timed_event().unwrap()];
            assert!(events[1].elapsed_since(&events[0]).is_ok());
            Trace::of(&profiler.stop());
        }
    }
}

// audit: F3
#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let _alone = alone();
    let device = known::mock();
    let write = |ranges: u64| (0..ranges).for_each(|_| drop(range("r")));
    let found = |options: ProfileOptions, ranges| {
        let profiler = Profiler::start(&device, options).unwrap();
        thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| write(ranges))));
        });
        let profile = profiler.stop();
        (Trace::of(&profile).named("r") as u64, profile.dropped())
    };
    let (kept, dropped) = found(ProfileOptions::new().ring_events(8), 100_000);
    assert_eq!(kept + dropped.ring_full, 400_000);
    assert!(dropped.ring_full > 0 && kept >= 4 * 8, "{kept}, {dropped:?}");
    assert_eq!(dropped.total(), dropped.ring_full);
    let (kept, dropped) = found(ProfileOptions::new().max_events(50), 100);
    assert_eq!((kept, dropped.profile_full, dropped.total()), (50, 350, 350));
}

#[test]
fn operations_that_do_not_fit_are_counted_too() {
    let _alone = alone();
    let device = known::mock();
    let known = Known::upload(&device, 1, 1).unwrap();
    let [stream] = known::streams(&device);
    let profiler = Profiler::start(&device, full().ring_events(8)).unwrap();
    let made: Vec<_> = (0..5000).map(|salt| known.combine(&known, salt, &stream).unwrap()).collect();
    device.synchronize().unwrap();
    let profile = profiler.stop();
    let trace = Trace::of(&profile);
    assert!(profile.dropped().ring_full > 0);
    // An allocation, an operation and a kernel each; and what there is of lists and waits.
    assert!(profile.events() as u64 + profile.dropped().total() >= 15_000, "{:?}", profile.dropped());
    assert_eq!(*trace.memory.last().unwrap(), (device.memory().live, device.memory().reserved));
    assert!(made.iter().all(|known| known.is_right().unwrap()));
}

#[test]
fn a_device_has_one_profiler_and_the_next_can_start_when_it_is_over() {
    let _alone = alone();
    let (device, other) = (known::mock(), known::mock());
    let first = Profiler::start(&device, full()).unwrap();
    let refused = Profiler::start(&device.clone(), full()).map(drop);
    assert!(matches!(&refused, Err(Error::Profiling { device }) if device.contains("mock")), "{refused:?}");
    // Another device is another's.
    let second = Profiler::start(&other, full()).unwrap();
    let known = Known::fill(&Stream::current(&other).unwrap(), 7).unwrap();
    assert!(known.is_right().unwrap());
    let (first, second) = (first.stop(), second.stop());
    assert_eq!((Trace::of(&first).count("operation"), Trace::of(&second).count("operation")), (0, 1));
    drop(Profiler::start(&device, full()).unwrap());
    assert_eq!(Trace::of(&Profiler::start(&device, full()).unwrap().stop()).slices.len(), 0);
}

#[test]
fn devices_that_end_are_profiled_up_to_there() {
    let _alone = alone();
    let faulty = Faulty::new(MockDevice::new(MockConfig::default()), Plan::default());
    let lost = Device::new(Arc::<Faulty>::clone(&faulty), Config::default()).unwrap();
    let closed = known::mock();
    let operate =
        |device: &Device| assert!(Known::fill(&Stream::current(device).unwrap(), 7).unwrap().is_right().unwrap());
    for device in [&lost, &closed] {
        let profiler = Profiler::start(device, full()).unwrap();
        operate(device);
        if std::ptr::eq(device, &lost) {
            faulty.lose();
            assert!(device.synchronize().is_err() || Known::fill(&Stream::current(device).unwrap(), 1).is_ok());
        } else {
            device.close(Duration::from_secs(100)).unwrap();
        }
        let profile = profiler.stop();
        assert_eq!(Trace::of(&profile).count("kernel"), 1);
        assert!(profile.clock_uncertainty().is_some(), "one reading is enough");
    }
    assert!(matches!(Profiler::start(&closed, full()), Err(Error::Closed)));
}

/// Operations of eight threads on a mock that takes the time where it is told to, and no kernel's.
fn without_kernels(timestamps: Timestamps) -> (Profile, Trace) {
    let seed = fresh_seed();
    println!("seed {seed}");
    let mock = MockDevice::new(MockConfig { seed, timestamps, ..MockConfig::default() });
    let device = Device::new(mock, Config::default()).unwrap();
    let profiler = Profiler::start(&device, full()).unwrap();
    let operations = eight(&device, seed);
    device.synchronize().unwrap();
    let profile = profiler.stop();
    let trace = Trace::of(&profile);
    assert_eq!((trace.count("operation"), trace.count("kernel")), (operations, 0));
    assert_eq!((trace.count("list"), trace.arrows.len()), (trace.count("submit"), trace.count("submit")));
    (profile, trace)
}

#[test]
fn a_device_without_a_clock_has_lists_by_the_hosts() {
    let _alone = alone();
    let (profile, trace) = without_kernels(Timestamps::None);
    assert!(trace.arrows.iter().all(|(from, to)| from.start <= to.start), "a list before its submit");
    assert!(trace.about["device_times"].as_str().unwrap().starts_with("none"), "{}", trace.about);
    assert_eq!(profile.clock_uncertainty(), None);
}

#[test]
fn a_device_that_takes_the_time_by_list_has_lists_by_its_own_and_no_kernels() {
    let _alone = alone();
    let (profile, trace) = without_kernels(Timestamps::ByList);
    // Of each list, what only the device can have said: no end is before its beginning, and nothing else was asked of
    // it.
    let lists = || profile.events.iter().filter(|(_, event)| event.kind == Kind::List);
    assert!(
        lists().count() > 0 && lists().all(|(_, list)| list.start < list.end && list.end != NEVER),
        "a list untimed"
    );
    assert!(trace.about["device_times"].as_str().unwrap().starts_with("of lists"), "{}", trace.about);
    assert!(profile.clock_uncertainty().is_some());
}

/// What an operation needs that is not in `Known`.
fn refused_operation(device: &Device, stream: &Stream) -> Result<()> {
    let pipeline = device.pipeline(&COMBINE)?;
    stream.record(&Work::Dispatch { pipeline: &pipeline, params: &[], extent: [1; 3] }, &[] as &[Operand<'_>])
}

#[test]
fn an_operation_that_was_refused_has_not_happened() {
    let _alone = alone();
    let device = known::mock();
    let [stream] = known::streams(&device);
    let profiler = Profiler::start(&device, full()).unwrap();
    assert!(matches!(refused_operation(&device, &stream), Err(Error::Command { .. })));
    assert_eq!(Trace::of(&profiler.stop()).count("operation"), 0);
}

/// More threads than streams at work, while sessions of every sort start and stop at random.
// audit: F3
#[test]
fn stress_sessions_come_and_go() {
    let _alone = alone();
    let seed = fresh_seed();
    println!("seed {seed}");
    let validated = Validated::new(MockDevice::new(MockConfig { seed, ..MockConfig::default() }));
    let config = Config::default().pool_streams(3);
    let device = &Device::new(Arc::<Validated>::clone(&validated), config).unwrap();
    let shared = &Known::upload(device, seed as u32, 3).unwrap();
    let (mut random, over, rounds) = (Rng::with_seed(seed), &AtomicBool::new(false), &AtomicU64::new(0));
    thread::scope(|scope| {
        let worker = |index: u64| {
            let mut random = Rng::with_seed(seed ^ index << 32);
            move || {
                while !over.load(Ordering::Relaxed) {
                    let _range = range("a round");
                    work(device, shared, &mut random, 30);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let threads: Vec<_> = (0..10).map(|index| scope.spawn(worker(index))).collect();
        // Also if this thread panics, the others end.
        let _end = End(over);
        let mut operations = 0;
        for _ in 0..60 {
            let detail = if random.bool() { Detail::Full } else { Detail::Coarse };
            let options = ProfileOptions::new().detail(detail).serialize_kernels(random.bool());
            let options = options.ring_events(if random.bool() { 16 } else { 16_384 });
            let profiler = Profiler::start(device, options).unwrap();
            let until = rounds.load(Ordering::Relaxed) + random.u64(..3);
            while rounds.load(Ordering::Relaxed) < until {
                assert!(threads.iter().all(|thread| !thread.is_finished()), "a worker has failed, seed {seed}");
                thread::yield_now();
            }
            if random.u8(..4) == 0 {
                continue; // dropped
            }
            operations += Trace::of(&profiler.stop()).count("operation");
        }
        assert!(operations > 0, "no session has an operation, seed {seed}");
    });
    assert_eq!(validated.report().violations, 0, "seed {seed}: {:?}", validated.report());
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
