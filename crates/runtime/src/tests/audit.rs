//! Defects that runtimes of this kind have had, one test each, where no other test would see them. `docs/audit.md` says
//! which.

use super::world::{ADVANCE, BYTES, COMBINE, Known, faulty, fresh_seed, mock, streams};
use crate::order::point::Point;
use crate::{Config, Device, Error, Operand, Storage, Stream, Work};
use fastrand::Rng;
use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use thalweg_doubles::faulty::{Delays, Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};

/// Longer than anything here takes; what would hang fails instead.
const LONG: Duration = Duration::from_secs(60);

/// Until so many calls of the device are held up.
fn await_delayed(faulty: &Faulty, calls: u64) {
    while faulty.delayed() < calls {
        std::thread::yield_now();
    }
}

// audit: F5, C8, C21
#[test]
fn threads_that_want_one_kernel_at_once_compile_it_once() {
    const THREADS: usize = 8;
    // The first compilation takes its time; a second would fail.
    let delays = Delays { pipelines: Strike::Nth(1), ..Delays::default() };
    let (device, faulty) = faulty(Config::default(), Plan { pipelines: Strike::Every(2), delays, ..Plan::default() });
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                device.pipeline(&COMBINE).unwrap();
            });
        }
        await_delayed(&faulty, 1);
        // For the others to come.
        (0..1000).for_each(|_| std::thread::yield_now());
        faulty.release();
    });
    // Those threads have ended, and what they compiled is there.
    std::thread::scope(|scope| scope.spawn(|| drop(device.pipeline(&COMBINE).unwrap())).join().unwrap());
    assert_eq!(faulty.counts().pipelines, 0);
}

// audit: FB
#[test]
fn a_kernel_that_did_not_compile_is_tried_again() {
    let (device, faulty) = faulty(Config::default(), Plan { pipelines: Strike::Nth(1), ..Plan::default() });
    assert!(matches!(device.pipeline(&COMBINE), Err(Error::Device(_))));
    device.pipeline(&COMBINE).unwrap();
    assert_eq!(faulty.counts().pipelines, 1);
}

// audit: F7, C12
#[test]
fn a_slow_compile_holds_up_nobody_who_wants_another_kernel() {
    let delays = Delays { pipelines: Strike::Nth(1), ..Delays::default() };
    let (device, faulty) = faulty(Config::default(), Plan { delays, ..Plan::default() });
    std::thread::scope(|scope| {
        let compiling = scope.spawn(|| drop(device.pipeline(&COMBINE).unwrap()));
        await_delayed(&faulty, 1);
        let stream = Stream::current(&device).unwrap();
        device.pipeline(&ADVANCE).unwrap();
        let mut known = Known::fill(&stream, 7).unwrap();
        known.advance(1, &stream).unwrap();
        assert!(known.is_right().unwrap());
        assert!(!compiling.is_finished());
        faulty.release();
    });
}

// audit: F10, C12
#[test]
fn a_slow_driver_allocation_holds_up_nobody_who_needs_none() {
    let (device, faulty) = faulty(Config::default(), Plan::default());
    let [stream, other] = streams(&device);
    let mut known = Known::fill(&stream, 7).unwrap();
    let delays = Delays { allocations: Strike::Nth(1), ..Delays::default() };
    faulty.set(Plan { delays, ..Plan::default() });
    std::thread::scope(|scope| {
        let allocating = scope.spawn(|| drop(stream.allocate(1 << 20).unwrap()));
        await_delayed(&faulty, 1);
        // On the very stream that waits for memory, and on another, which needs memory of its own.
        known.advance(1, &stream).unwrap();
        assert!(known.copy(&stream).unwrap().is_right().unwrap());
        assert!(known.copy(&other).unwrap().is_right().unwrap());
        assert!(!allocating.is_finished());
        faulty.release();
    });
}

// audit: F10, C12
#[test]
fn a_wait_for_the_device_keeps_nobody_else_waiting() {
    let (device, faulty) = faulty(Config::default(), Plan { signals: Strike::Nth(1), ..Plan::default() });
    let [held, other] = streams(&device);
    let first = Known::fill(&held, 1).unwrap();
    let event = held.record_event();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| event.synchronize(None).unwrap());
        while device.engine.stream(held.id()).submitted() == 0 {
            std::thread::yield_now();
        }
        // The same stream takes operations, lists and allocations, and so does everybody else.
        for salt in 0..100 {
            let more = first.copy(&held).unwrap();
            drop(more.combine(&first, salt, &held).unwrap());
            assert!(Known::fill(&other, salt).unwrap().is_right().unwrap());
        }
        held.flush().unwrap();
        device.trim();
        assert!(device.memory().live > 0 && !waiting.is_finished());
        faulty.release();
    });
}

/// A waker that uses the device, on the thread that wakes it.
struct Busybody {
    stream: Stream,
    says: SyncSender<bool>,
}

impl Wake for Busybody {
    fn wake(self: Arc<Self>) {
        let made = Known::fill(&self.stream, 5).unwrap();
        // Left behind where the waker that is running came from, and taken back.
        let mut finished = self.stream.record_event().finished();
        let _ = std::pin::Pin::new(&mut finished).poll(&mut Context::from_waker(Waker::noop()));
        drop(finished);
        self.stream.synchronize().unwrap();
        self.says.send(made.is_right().unwrap()).unwrap();
    }
}

// audit: F12, C2, C11, C16
#[test]
fn a_waker_may_record_wait_and_read() {
    let (device, faulty) = faulty(Config::default(), Plan { signals: Strike::Nth(1), ..Plan::default() });
    let [stream] = streams(&device);
    let known = Known::fill(&stream, 1).unwrap();
    stream.flush().unwrap();
    let (says, hears) = mpsc::sync_channel(1);
    let waker = Waker::from(Arc::new(Busybody { stream: stream.clone(), says }));
    let mut finished = stream.record_event().finished();
    assert!(std::pin::Pin::new(&mut finished).poll(&mut Context::from_waker(&waker)).is_pending());
    faulty.release();
    assert!(hears.recv_timeout(LONG).unwrap());
    assert!(known.is_right().unwrap());
}

/// Not ready the first time it is asked.
#[derive(Default)]
struct Later(bool);

impl Future for Later {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

// audit: C7
#[test]
fn an_attached_future_has_its_stream_on_every_thread() {
    const STEPS: usize = 4;
    let device = mock(MockConfig::default());
    let [home, elsewhere] = streams(&device);
    let current = || Stream::current(&device).unwrap().id();
    let mut future = Box::pin(home.attach(async {
        let mut seen = Vec::new();
        for _ in 0..STEPS {
            seen.push(current());
            Later::default().await;
        }
        seen
    }));
    let mut seen = None;
    for _ in 0..=STEPS {
        // Each step on a thread that never was before, and that is in the scope of another stream.
        let step = || {
            elsewhere.scope(|| {
                if let Poll::Ready(all) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    seen = Some(all);
                }
                assert_eq!(current(), elsewhere.id());
            });
        };
        std::thread::scope(|scope| scope.spawn(step).join().unwrap());
    }
    assert_eq!(seen.unwrap(), vec![home.id(); STEPS]);
}

// audit: C5, C17, C24
#[test]
fn a_stream_that_is_taken_again_starts_clean() {
    let (device, faulty) = faulty(Config::default(), Plan::default());
    let [first, bystander] = streams(&device);
    let id = first.id();
    let failed = Known::upload(&device, 2, 0).unwrap().odd_copy(&first).unwrap();
    first.synchronize().unwrap();
    assert!(failed.is_right().is_err());
    drop(failed);
    // One stream's failure keeps no other from synchronizing.
    bystander.synchronize().unwrap();
    device.synchronize().unwrap();
    drop(first);
    let [second] = streams(&device);
    assert_eq!(second.id(), id);
    second.synchronize().unwrap();
    // What the stream signalled for its first owner says nothing of the second's work.
    faulty.set(Plan { signals: Strike::Always, ..Plan::default() });
    let known = Known::fill(&second, 3).unwrap();
    second.flush().unwrap();
    assert!(!second.record_event().query());
    faulty.release();
    assert!(known.is_right().unwrap());
}

// audit: C19
#[test]
fn the_stream_that_is_named_is_the_one_and_the_device_is_all_of_them() {
    let device = mock(MockConfig::default());
    let [current, named, third] = streams(&device);
    let submitted = |stream: &Stream| device.engine.stream(stream.id()).submitted();
    current.scope(|| {
        let known = Known::fill(&named, 1).unwrap();
        assert_eq!(current.record_event().point(&device.engine).unwrap(), Point { stream: current.id(), value: 0 });
        assert_eq!(named.record_event().point(&device.engine).unwrap(), Point { stream: named.id(), value: 1 });
        let _other = Known::fill(&third, 2).unwrap();
        let mine = Known::fill(&Stream::current(&device).unwrap(), 3).unwrap();
        named.synchronize().unwrap();
        assert_eq!([&current, &named, &third].map(submitted), [0, 1, 0]);
        assert!(known.is_right().unwrap());
        device.synchronize().unwrap();
        for stream in [&current, &named, &third] {
            assert!(device.engine.stream(stream.id()).is_idle(), "stream {}", stream.id());
        }
        assert!(mine.is_right().unwrap());
    });
}

// audit: C13, C20
#[test]
fn operands_may_be_dropped_as_soon_as_they_are_recorded() {
    let seed = fresh_seed();
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    for _ in 0..200 {
        let device = mock(MockConfig { seed: random.u64(..), ..MockConfig::default() });
        let [stream] = streams(&device);
        let wrong = stream.scope(|| {
            let mut operand = || {
                let (start, slope) = (random.u32(..), random.u32(..));
                let make = if random.bool() { Known::upload } else { Known::freeze };
                make(&device, start, slope).unwrap()
            };
            // Nothing is free but what the operands, the result and one other tensor take.
            let mut held = vec![stream.allocate(BYTES).unwrap()];
            let memory = device.memory();
            held.extend((4..memory.cached / memory.live).map(|_| stream.allocate(BYTES).unwrap()));
            let mut operands = vec![operand(), operand()];
            let made = operands[0].combine(&operands[1], 9, &stream).unwrap();
            drop(operands.swap_remove(random.usize(..2)));
            drop(operands);
            // Of these, some have the operands' bytes.
            let others: Vec<_> = (0..4).map(|_| Known::fill(&stream, random.u32(..)).unwrap()).collect();
            let frozen = Known::freeze(&device, random.u32(..), 1).unwrap();
            !made.is_right().unwrap()
                || !frozen.is_right().unwrap()
                || others.iter().any(|other| !other.is_right().unwrap())
        });
        assert!(!wrong, "seed {seed}");
    }
}

// audit: C25, C32
#[test]
fn memory_that_many_threads_are_short_of_is_an_error_and_nothing_worse() {
    const LIMIT: u64 = 2 << 20;
    const ALLOCATIONS: u64 = 6;
    let seed = fresh_seed();
    println!("seed {seed}");
    let hal = MockDevice::new(MockConfig { seed, max_allocations: ALLOCATIONS, ..MockConfig::default() });
    let device = Device::new(hal, Config::default().memory_limit(LIMIT).pool_streams(4)).unwrap();
    let (made, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (device, made, refused) = (&device, &made, &refused);
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed ^ thread);
                let mut held = Vec::<Storage>::new();
                for _ in 0..200 {
                    let stream = Stream::current(device).unwrap();
                    let filled = Known::fill(&stream, random.u32(..));
                    let large = stream.allocate(random.u64(1..600 << 10)).map(|storage| held.push(storage));
                    let right = filled.and_then(|known| known.is_right());
                    for outcome in [right, large.map(|()| true)] {
                        match outcome {
                            Ok(right) => assert!(right, "seed {seed}"),
                            Err(Error::OutOfMemory(_)) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => panic!("seed {seed}: {error}"),
                        }
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                    let memory = device.memory();
                    assert!(memory.reserved <= LIMIT && memory.allocations <= ALLOCATIONS, "seed {seed}: {memory:?}");
                    held.truncate(random.usize(..4));
                }
            });
        }
    });
    assert!(refused.into_inner() > 0 && made.into_inner() > 0, "seed {seed}: memory was never short");
    assert_eq!(device.memory().live, 0);
    drop(Stream::current(&device).unwrap().allocate(LIMIT / 2).unwrap());
}

// audit: F5, C25, C30, C32
#[test]
fn short_lived_threads_leave_memory_flat() {
    const THREADS: usize = 64;
    const WAVES: usize = 157; // 10,048 requests
    let device = Device::new(MockDevice::new(MockConfig::default()), Config::default().pool_streams(8)).unwrap();
    for wave in 0..WAVES {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let device = &device;
                scope.spawn(move || {
                    let stream = Stream::current(device).unwrap();
                    let known = Known::fill(&stream, (wave * THREADS + thread) as u32).unwrap();
                    let copy = known.copy(&stream).unwrap();
                    assert!(known.combine(&copy, 1, &stream).unwrap().is_right().unwrap());
                });
            }
        });
    }
    // A stream that is new may grow once for each of the threads that begin on it together. Of all the blocks that were
    // asked for, three a request, there would be hundreds of segments.
    let memory = device.memory();
    assert!(memory.live == 0 && memory.allocations <= THREADS as u64, "{memory:?}");
    while device.memory().reserved > 0 {
        std::thread::yield_now(); // threads that are ending, or the reaper, may be holding a list
        device.synchronize().unwrap();
        device.trim();
    }
}

/// How many operations an idle stream records before it hands them over.
fn operations_of_a_list(stream: &Stream) -> usize {
    let submitted = || stream.device().engine.stream(stream.id()).submitted();
    let before = submitted();
    (1..).find(|_| Known::fill(stream, 1).map(drop).is_ok() && submitted() > before).unwrap()
}

// audit: F11, C27
#[test]
fn lists_are_short_again_when_the_device_is_idle_again() {
    let (device, faulty) = faulty(Config::default(), Plan { signals: Strike::Always, ..Plan::default() });
    let [stream] = streams(&device);
    let first = operations_of_a_list(&stream);
    let loaded = [(); 3].map(|()| operations_of_a_list(&stream))[2];
    assert!(loaded > 3 * first, "{first}, then {loaded}");
    faulty.release();
    stream.synchronize().unwrap();
    assert_eq!(operations_of_a_list(&stream), first);
}

// audit: C10
#[test]
fn a_pipeline_of_a_device_that_is_gone_is_foreign_to_the_next() {
    for _ in 0..20 {
        let device = mock(MockConfig::default());
        let pipeline = device.pipeline(&ADVANCE).unwrap();
        let gone = Arc::downgrade(&device.engine);
        drop(device);
        // The reaper may hold it for one more look.
        while gone.strong_count() > 0 {
            std::thread::yield_now();
        }
        drop(gone);
        // Perhaps at the same address.
        let next = mock(MockConfig::default());
        let [stream] = streams(&next);
        let mut storage = stream.allocate(BYTES).unwrap();
        let work = Work::Dispatch { pipeline: &pipeline, params: &[0; 4], extent: [1; 3] };
        let error = stream.record(&work, &[Operand::update(&mut storage)]).unwrap_err();
        assert!(error.to_string().contains("another device"), "{error}");
    }
}

/// Uses a device when it is dropped.
struct AtTheEnd {
    device: Device,
    says: SyncSender<bool>,
}

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        let right = Stream::current(&self.device).and_then(|stream| Known::fill(&stream, 3)?.is_right());
        self.says.send(right.unwrap_or(false)).unwrap();
    }
}

// audit: F12, C7
#[test]
fn a_thread_that_is_ending_may_use_the_device() {
    thread_local! {
        static AT_THE_END: Cell<Option<AtTheEnd>> = const { Cell::new(None) };
    }
    let device = mock(MockConfig::default());
    // Dropped before what the runtime keeps for the thread, or after it.
    for first in [true, false] {
        let (says, hears) = mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let at_the_end = AtTheEnd { device: device.clone(), says };
                if first {
                    AT_THE_END.set(Some(at_the_end));
                    Stream::current(&device).unwrap();
                } else {
                    Stream::current(&device).unwrap();
                    AT_THE_END.set(Some(at_the_end));
                }
            });
        });
        assert!(hears.recv_timeout(LONG).unwrap());
    }
}
