//! Single promises of the runtime, one test each.

use super::world::{BYTES, COMBINE, Known, faulty, mock, streams};
use crate::{Config, Device, Error, Operand, Storage, Stream, Work};
use std::sync::Arc;
use std::time::Duration;
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::MemoryKind;
use thalweg_hal::check::CommandError;

// audit: C24
#[test]
fn a_failing_kernel_fails_what_depends_on_it_and_nothing_else() {
    let device = mock(MockConfig::default());
    let [ours, other] = streams(&device);
    let even = Known::upload(&device, 2, 0).unwrap();
    let broken = even.odd_copy(&ours).unwrap();
    // On the same stream after it, and on another.
    let dependants = [broken.combine(&even, 1, &ours).unwrap(), broken.copy(&other).unwrap()];
    let grandchild = dependants[1].combine(&even, 3, &ours).unwrap();
    // In the same list, behind it and in its place.
    let stranger = even.combine(&even, 4, &ours).unwrap();
    let mut overwritten = even.odd_copy(&ours).unwrap();
    ours.record(&Work::Fill(2), &[Operand::write(&mut overwritten.storage)]).unwrap();
    let fine = overwritten.copy(&ours).unwrap();
    for storage in [&broken, &dependants[0], &dependants[1], &grandchild] {
        let error = storage.is_right().unwrap_err();
        assert!(matches!(&error, Error::Failed(failure) if failure.stream == ours.id()), "{error}");
        assert!(error.to_string().contains("the first word is 2, expected an odd number"), "{error}");
    }
    assert!(stranger.is_right().unwrap());
    assert!(fine.is_right().unwrap());
    assert!(Known::upload(&device, 3, 0).unwrap().odd_copy(&ours).unwrap().is_right().unwrap());
}

#[test]
fn overwriting_failed_data_is_not_failing() {
    let device = mock(MockConfig::default());
    let [stream] = streams(&device);
    let mut broken = Known::upload(&device, 2, 0).unwrap().odd_copy(&stream).unwrap();
    assert!(broken.is_right().is_err());
    stream.record(&Work::Fill(7), &[Operand::write(&mut broken.storage)]).unwrap();
    let mut word = [0; 4];
    broken.storage.read(0, &mut word).unwrap();
    assert_eq!(u32::from_ne_bytes(word), 7);
}

#[test]
fn a_refused_submission_uses_up_its_value_and_the_stream_goes_on() {
    let (device, faulty) = faulty(Config::default(), Plan { submissions: Strike::Nth(2), ..Plan::default() });
    let [stream, other] = streams(&device);
    let first = Known::fill(&stream, 1).unwrap();
    stream.flush().unwrap();
    let second = first.combine(&first, 2, &stream).unwrap();
    let event = stream.record_event();
    stream.flush().unwrap();
    let third = first.combine(&first, 3, &stream).unwrap();
    // Ordered after the refused list, but reading nothing of it.
    other.wait(&event).unwrap();
    let fourth = first.copy(&other).unwrap();
    assert_eq!(faulty.counts().submissions, 1);
    event.synchronize(None).unwrap();
    assert!(matches!(second.is_right(), Err(Error::Failed(_))));
    assert!(first.is_right().unwrap() && third.is_right().unwrap() && fourth.is_right().unwrap());
}

// audit: C22
#[test]
fn a_lost_device_answers_everybody_and_hangs_nobody() {
    let (device, faulty) = faulty(Config::default(), Plan::default());
    let [stream] = streams(&device);
    let known = Known::fill(&stream, 1).unwrap();
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| stream.synchronize())).collect();
        faulty.lose();
        // A waiter may have been served before.
        waiters.into_iter().for_each(|waiter| drop(waiter.join().unwrap()));
    });
    assert!(known.is_right().is_err());
    // Recording touches no device: the loss is noticed by the first call that does.
    let _ = Known::fill(&stream, 2);
    assert!(matches!(device.synchronize(), Err(Error::Device(_))));
    assert!(matches!(Known::fill(&stream, 3).map(drop), Err(Error::Device(_))));
}

// audit: C17
#[test]
fn an_event_completes_when_its_work_has_and_asking_ends() {
    let device = mock(MockConfig::default());
    let [stream] = streams(&device);
    assert!(stream.record_event().query(), "an event with nothing before it");
    let known = Known::fill(&stream, 1).unwrap();
    let event = stream.record_event();
    // Nobody has submitted it: the question has it submitted.
    while !event.query() {
        std::thread::yield_now();
    }
    event.synchronize(Some(Duration::ZERO)).unwrap();
    assert!(known.is_right().unwrap());
}

// audit: F10
#[test]
fn waiting_for_an_event_has_a_deadline() {
    let (device, faulty) = faulty(Config::default(), Plan { signals: Strike::Always, ..Plan::default() });
    let [stream] = streams(&device);
    let _known = Known::fill(&stream, 1).unwrap();
    let event = stream.record_event();
    assert!(matches!(event.synchronize(Some(Duration::from_millis(5))), Err(Error::Timeout)));
    assert!(!event.query());
    faulty.release();
    event.synchronize(Some(Duration::MAX)).unwrap();
}

// audit: C5, C6
#[test]
fn a_thread_that_ends_gives_its_stream_back_and_hands_over_its_work() {
    let device = Device::new(MockDevice::new(MockConfig::default()), Config::default().pool_streams(2)).unwrap();
    let id = |device: &Device| Stream::current(device).unwrap().id();
    let main = id(&device);
    for round in 0..100 {
        let (device, event, other) = std::thread::scope(|scope| {
            let device = &device;
            scope
                .spawn(move || {
                    let stream = Stream::current(device).unwrap();
                    let known = Known::fill(&stream, round).unwrap();
                    drop(known);
                    (device, stream.record_event(), stream.id())
                })
                .join()
                .unwrap()
        });
        assert_ne!(other, main, "the least loaded stream");
        while !event.query() {
            std::thread::yield_now();
        }
        assert_eq!(id(device), main);
    }
    let panicked = std::thread::scope(|scope| {
        scope.spawn(|| Stream::current(&device).map(|_| panic!("on purpose")).unwrap()).join()
    });
    assert!(panicked.is_err());
    let other = std::thread::scope(|scope| scope.spawn(|| id(&device)).join().unwrap());
    assert_ne!(other, main, "given back by a panic too");
}

// audit: C2
#[test]
fn a_scope_sets_the_stream_and_takes_it_back_also_by_panic() {
    let device = mock(MockConfig::default());
    let [outer, inner] = streams(&device);
    let current = || Stream::current(&device).unwrap().id();
    let before = current();
    outer.scope(|| {
        assert_eq!(current(), outer.id());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            inner.scope(|| {
                assert_eq!(current(), inner.id());
                panic!("on purpose");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(current(), outer.id());
    });
    assert_eq!(current(), before);
}

// audit: C6
#[test]
fn explicit_streams_are_bounded_and_used_again() {
    let device = mock(MockConfig::default());
    for _ in 0..1000 {
        let [stream] = streams(&device);
        assert!(Known::fill(&stream, 1).unwrap().is_right().unwrap());
    }
    let all: Vec<_> = std::iter::repeat_with(|| Stream::new(&device)).take(400).collect();
    let refused = all.iter().find_map(|stream| stream.as_ref().err()).unwrap();
    assert!(matches!(refused, Error::TooManyStreams { limit: 256 }), "{refused}");
    drop(all);
    Stream::new(&device).unwrap();
}

// audit: C30
#[test]
fn memory_is_used_again_and_a_full_budget_is_an_error_with_a_report() {
    let device = Device::new(MockDevice::new(MockConfig::default()), Config::default().memory_limit(1 << 20)).unwrap();
    let [stream, other] = streams(&device);
    let big = |stream: &Stream| stream.allocate(400 << 10);
    for _ in 0..100 {
        drop((big(&stream).unwrap(), Known::fill(&stream, 1).unwrap()));
    }
    // What one stream has cached goes back to the device when another needs it.
    let held = [big(&other).unwrap(), big(&other).unwrap()];
    let error = big(&stream).unwrap_err();
    assert!(error.is_retryable());
    let Error::OutOfMemory(report) = &error else { panic!("{error}") };
    let live: Vec<_> = report.streams.iter().map(|stream| (stream.stream, stream.live)).collect();
    assert_eq!((report.stats.limit, live.as_slice()), (1 << 20, &[(other.id(), 2 * (416 << 10))][..]));
    assert!(error.to_string().contains("Config::memory_limit"), "{error}");
    drop(held);
    big(&stream).unwrap();
    drop((stream, other));
    assert_eq!(device.memory().live, 0);
}

#[test]
fn the_devices_own_shortage_is_an_error_too() {
    let device = mock(MockConfig { memory_bytes: 1 << 20, ..MockConfig::default() });
    let [stream] = streams(&device);
    let error = Storage::frozen_from_bytes(&device, &vec![0; 2 << 20]).map(drop).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory(_)), "{error}");
    assert!(stream.allocate(u64::MAX).is_err());
    stream.allocate(1 << 10).unwrap();
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_no_trace() {
    let device = mock(MockConfig::default());
    let elsewhere = mock(MockConfig::default());
    let [stream] = streams(&device);
    let known = Known::fill(&stream, 1).unwrap();
    let foreign = Known::fill(&Stream::new(&elsewhere).unwrap(), 1).unwrap();
    let mut frozen = Known::freeze(&device, 1, 2).unwrap();
    let mut out = stream.allocate(BYTES).unwrap();
    let before = stream.record_event();
    let fill = Work::Fill(1);
    let refuse = |work: &Work<'_>, operands: &[Operand<'_>]| stream.record(work, operands).unwrap_err();
    let error = refuse(&Work::Copy, &[foreign.read(), Operand::write(&mut out)]);
    assert!(matches!(error, Error::OtherDevice { operand: 0 }), "{error}");
    let error = refuse(&fill, &[Operand::write(&mut frozen.storage)]);
    assert!(matches!(error, Error::Frozen { operand: 0 }), "{error}");
    // Which rules a command has to keep is the HAL's to say and to test; here, that each operation is asked, with all
    // of it.
    let broken = |work: &Work<'_>, operands: &[Operand<'_>]| match refuse(work, operands) {
        Error::Command { operation, source } => (operation, source),
        other => panic!("{other}"),
    };
    let short = Operand::read(&known.storage, 0, BYTES - 4);
    let lengths = CommandError::Lengths { from: BYTES - 4, to: BYTES };
    assert_eq!(broken(&Work::Copy, &[short, Operand::write(&mut out)]), ("copy".to_owned(), lengths));
    let past = Operand::read(&known.storage, 256, BYTES);
    let bounds = CommandError::OutOfBounds { operand: 0, offset: 256, bytes: BYTES, memory_bytes: BYTES };
    assert_eq!(broken(&Work::Copy, &[past, Operand::write(&mut out)]).1, bounds);
    let count = CommandError::OperandCount { given: 0, expected: 1 };
    assert_eq!(broken(&fill, &[]), ("fill".to_owned(), count));
    let combine = device.pipeline(&COMBINE).unwrap();
    let items = BYTES as u32 / 4;
    for (params, extent, expected) in [
        (0, [items, 1, 1], CommandError::ParameterBytes { given: 0, expected: 4 }),
        (4, [0, 1, 1], CommandError::EmptyExtent { extent: [0, 1, 1] }),
        (4, [items, 1, 0], CommandError::EmptyExtent { extent: [items, 1, 0] }),
        (4, [items - 1, 1, 1], CommandError::Uneven { operand: 2, bytes: BYTES, items: items - 1 }),
    ] {
        let work = Work::Dispatch { pipeline: &combine, params: &[0; 4][..params], extent };
        let (operation, error) = broken(&work, &[known.read(), known.read(), Operand::write(&mut out)]);
        assert_eq!((operation, error), (COMBINE.name.clone().into_owned(), expected));
    }
    let aliased = Operand { access: thalweg_hal::Access::Write, ..known.read() };
    let error = refuse(&Work::Copy, &[known.read(), aliased]);
    assert!(matches!(error, Error::Aliased { written: 1, other: 0 }), "{error}");
    assert_eq!(stream.record_event().point(&device.engine).unwrap(), before.point(&device.engine).unwrap());
    assert!(frozen.is_right().unwrap() && known.is_right().unwrap());
}

// audit: F4, C22
#[test]
fn everything_may_be_dropped_in_any_order_with_work_in_flight() {
    for order in 0..24 {
        let device = mock(MockConfig { seed: order, ..MockConfig::default() });
        let [stream, other] = streams(&device);
        let known = Known::fill(&stream, 1).unwrap();
        stream.flush().unwrap();
        let event = stream.record_event();
        let copy = known.copy(&other).unwrap();
        let mut things: Vec<Box<dyn Send>> =
            vec![Box::new(device), Box::new((stream, other)), Box::new(event), Box::new((known, copy))];
        let mut number = order as usize;
        while !things.is_empty() {
            let thing = things.swap_remove(number % things.len());
            number /= things.len() + 1;
            std::thread::spawn(move || drop(thing)).join().unwrap();
        }
    }
}

// audit: C25
#[test]
fn a_device_is_gone_when_its_last_handle_is() {
    let hal = MockDevice::new(MockConfig::default());
    let device = Device::new(Arc::<MockDevice>::clone(&hal), Config::default()).unwrap();
    let known = Known::fill(&Stream::current(&device).unwrap(), 5).unwrap();
    drop(device);
    assert!(known.is_right().unwrap(), "a tensor keeps its device");
    let engine = Arc::downgrade(&known.storage.device().engine);
    drop(known);
    // The reaper may hold it for one more look.
    while engine.strong_count() > 0 {
        std::thread::yield_now();
    }
}

// audit: C6, C31
#[test]
fn lists_in_flight_are_bounded() {
    const LIMIT: u64 = 3;
    let plan = Plan { signals: Strike::Always, ..Plan::default() };
    let faulty = Faulty::new(MockDevice::new(MockConfig::default()), plan);
    let config = Config::default().lists_in_flight(LIMIT);
    let device = Device::new(Arc::<Faulty>::clone(&faulty), config).unwrap();
    let [stream] = streams(&device);
    let state = device.engine.stream(stream.id());
    std::thread::scope(|scope| {
        let recording = scope.spawn(|| {
            (0..10).for_each(|value| {
                drop(Known::fill(&stream, value).unwrap());
                stream.flush().unwrap();
            });
        });
        // Nothing settles, so the credits are used up, and then nothing more is submitted: not by the thread, which
        // waits, and not by the reaper when it is asked.
        while state.in_flight() < LIMIT {
            std::thread::yield_now();
        }
        for _ in 0..1000 {
            device.engine.defer_flush(stream.id());
            std::thread::yield_now();
            assert_eq!(state.submitted(), LIMIT);
        }
        assert!(!recording.is_finished());
        faulty.release();
        recording.join().unwrap();
    });
    device.synchronize().unwrap();
    assert_eq!(state.submitted(), 10);
}

// audit: C31
#[test]
fn no_more_lists_are_in_flight_than_the_device_takes() {
    let mock = MockDevice::new(MockConfig { lists_in_flight: 2, ..MockConfig::default() });
    let device = Device::new(mock, Config::default().lists_in_flight(u64::MAX)).unwrap();
    let [stream] = streams(&device);
    for value in 0..50 {
        let known = Known::fill(&stream, value).unwrap();
        stream.flush().unwrap();
        assert!(value % 10 != 0 || known.is_right().unwrap());
    }
    device.synchronize().unwrap();
}

#[test]
fn an_idle_device_gets_work_after_a_few_commands() {
    let (device, _faulty) = faulty(Config::default(), Plan { signals: Strike::Always, ..Plan::default() });
    let [stream] = streams(&device);
    let mut lengths = Vec::new();
    let mut known = Known::fill(&stream, 1).unwrap();
    for commands in 1.. {
        let before = device.engine.stream(stream.id()).submitted();
        known = known.copy(&stream).unwrap();
        if device.engine.stream(stream.id()).submitted() > before {
            lengths.push(commands);
        }
        if lengths.len() == 7 {
            break;
        }
    }
    let lists: Vec<_> = lengths.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(lengths[0] < 16 && lists.windows(2).all(|pair| pair[0] <= pair[1]), "{lists:?}");
    assert!(lists[5] > 3 * lists[0] && lists[5] <= 256, "{lists:?}");
}

/// A device that makes no queue while told not to, and has queues that may panic.
#[derive(Debug)]
struct Reluctant {
    inner: Arc<MockDevice>,
    refuses: std::sync::atomic::AtomicBool,
    panics: bool,
}

#[derive(Debug)]
struct Panics(Box<dyn thalweg_hal::Queue>);

impl thalweg_hal::Queue for Panics {
    fn timeline(&self) -> &Arc<dyn thalweg_hal::Timeline> {
        self.0.timeline()
    }
    unsafe fn submit(&mut self, _: thalweg_hal::Submission<'_>) -> thalweg_hal::Result<()> {
        panic!("on purpose");
    }
}

impl thalweg_hal::Device for Reluctant {
    fn info(&self) -> &thalweg_hal::DeviceInfo {
        self.inner.info()
    }
    fn overhead(&self) -> &Arc<thalweg_hal::Overhead> {
        self.inner.overhead()
    }
    fn create_queue(&self) -> thalweg_hal::Result<Box<dyn thalweg_hal::Queue>> {
        if self.refuses.load(std::sync::atomic::Ordering::Relaxed) {
            let (device, message) = ("reluctant".to_owned(), "no queue".to_owned());
            return Err(thalweg_hal::Error::Driver { device, call: "create_queue", message });
        }
        let queue = self.inner.create_queue()?;
        Ok(if self.panics { Box::new(Panics(queue)) } else { queue })
    }
    fn create_doorbell(&self) -> thalweg_hal::Result<Arc<dyn thalweg_hal::Doorbell>> {
        self.inner.create_doorbell()
    }
    fn create_pipeline(
        &self,
        source: &thalweg_hal::KernelSource,
    ) -> thalweg_hal::Result<Arc<dyn thalweg_hal::Pipeline>> {
        self.inner.create_pipeline(source)
    }
    unsafe fn prepare(&self, list: &Arc<thalweg_hal::List>) -> thalweg_hal::Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { self.inner.prepare(list) }
    }
    fn allocate(&self, kind: MemoryKind, bytes: u64) -> thalweg_hal::Result<Arc<dyn thalweg_hal::Memory>> {
        self.inner.allocate(kind, bytes)
    }
    unsafe fn read(
        &self,
        memory: &Arc<dyn thalweg_hal::Memory>,
        offset: u64,
        into: &mut [u8],
    ) -> thalweg_hal::Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { self.inner.read(memory, offset, into) }
    }
    unsafe fn write(&self, memory: &Arc<dyn thalweg_hal::Memory>, offset: u64, from: &[u8]) -> thalweg_hal::Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { self.inner.write(memory, offset, from) }
    }
    fn wait_any(
        &self,
        points: &[thalweg_hal::TimelinePoint],
        bell: Option<&thalweg_hal::Listener>,
        timeout: Option<Duration>,
    ) -> thalweg_hal::Result<()> {
        self.inner.wait_any(points, bell, timeout)
    }
}

// audit: C5
#[test]
fn a_stream_that_could_not_be_made_harms_nobody() {
    let refuses = std::sync::atomic::AtomicBool::new(true);
    let hal = Arc::new(Reluctant { inner: MockDevice::new(MockConfig::default()), refuses, panics: false });
    let device = Device::new(Arc::<Reluctant>::clone(&hal), Config::default().pool_streams(2)).unwrap();
    let refused = || std::thread::scope(|scope| scope.spawn(|| Stream::current(&device).is_err()).join().unwrap());
    // An odd number: places that were kept would make the other stream the least loaded.
    assert!((0..11).all(|_| refused()));
    assert!(Stream::new(&device).is_err());
    hal.refuses.store(false, std::sync::atomic::Ordering::Relaxed);
    // The pool's places were given back, and the reaper still does what it is asked for.
    let stream = Stream::current(&device).unwrap();
    assert_eq!(stream.id(), 0);
    let _known = Known::fill(&stream, 1).unwrap();
    let event = stream.record_event();
    while !event.query() {
        std::thread::yield_now();
    }
}

#[test]
fn asking_a_lost_device_ends() {
    let (device, faulty) = faulty(Config::default(), Plan { signals: Strike::Always, ..Plan::default() });
    let [stream] = streams(&device);
    let _known = Known::fill(&stream, 1).unwrap();
    let event = stream.record_event();
    assert!(!event.query());
    faulty.lose();
    while !event.query() {
        std::thread::yield_now();
    }
    assert!(matches!(event.synchronize(None), Err(Error::Device(_))));
    assert!(matches!(Known::fill(&stream, 2).map(drop), Err(Error::Device(_))));
}

// audit: C20, C21
#[test]
fn frozen_memory_counts_until_the_last_list_that_uses_it_has_settled() {
    let limit = 2 << 20;
    let device = Device::new(MockDevice::new(MockConfig::default()), Config::default().memory_limit(limit)).unwrap();
    let [stream] = streams(&device);
    let bytes = vec![1; 1 << 20];
    let weights = Storage::frozen_from_bytes(&device, &bytes).unwrap();
    let mut out = stream.allocate(BYTES).unwrap();
    stream.record(&Work::Copy, &[Operand::read(&weights, 0, BYTES), Operand::write(&mut out)]).unwrap();
    drop(weights);
    assert!(device.memory().reserved >= 1 << 20, "the open list still reads it");
    // What is in the way is waited for.
    let others = Storage::frozen_from_bytes(&device, &vec![2; 3 << 19]).unwrap();
    let mut found = [0];
    out.read(0, &mut found).unwrap();
    assert_eq!(found, [1]);
    drop((out, others));
    device.synchronize().unwrap();
    device.trim();
    while device.memory().reserved > 0 {
        std::thread::yield_now(); // another thread may be recycling the last list
        device.trim();
    }
}

#[test]
fn pipelines_are_their_devices_own() {
    let (device, elsewhere) = (mock(MockConfig::default()), mock(MockConfig::default()));
    let [stream] = streams(&device);
    let known = Known::fill(&stream, 1).unwrap();
    let mut out = stream.allocate(BYTES).unwrap();
    let pipeline = elsewhere.pipeline(&COMBINE).unwrap();
    let work = Work::Dispatch { pipeline: &pipeline, params: &[0; 4], extent: [1; 3] };
    let error = stream.record(&work, &[known.read(), known.read(), Operand::write(&mut out)]).unwrap_err();
    assert!(error.to_string().contains("another device"), "{error}");
    let greedy = thalweg_hal::KernelSource { name: "greedy".into(), params_bytes: 1 << 20, ..COMBINE.clone() };
    assert!(matches!(device.pipeline(&greedy), Err(Error::Device(thalweg_hal::Error::Compile { .. }))));
}

#[test]
fn a_backend_that_panics_in_a_submit_is_lost_and_nobody_waits_for_it() {
    let hal = Reluctant { inner: MockDevice::new(MockConfig::default()), refuses: false.into(), panics: true };
    let device = Device::new(Arc::new(hal), Config::default()).unwrap();
    let [stream, other] = streams(&device);
    let known = Known::fill(&stream, 1).unwrap();
    assert!(matches!(stream.flush(), Ok(()) | Err(Error::Device(_))));
    assert!(matches!(known.is_right(), Err(Error::Device(thalweg_hal::Error::DeviceLost { .. }))));
    assert!(matches!(Known::fill(&other, 1), Err(Error::Device(_))));
    assert!(stream.query());
}
