//! What a listener is told, and what of it the device's work must not notice.

use super::world::{self, Known};
use crate::listener::{Detail, Dropped, Event, Kind, Listener, NEVER, Options, Reader};
use crate::{Config, Device, Error, range};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::Timestamps;
use thalweg_hal::validate::Validated;

/// Ranges are for every listener of the process, so one test at a time has any.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Told everything, or the default.
pub(crate) fn options(detail: Detail) -> Options {
    Options { detail, ..Options::default() }
}

/// A listener that is open.
pub(crate) fn open(device: &Device, options: Options) -> (Listener, Reader) {
    let (mut listener, reader) = Listener::new(device, options).unwrap();
    listener.open();
    (listener, reader)
}

/// What was written, with its name.
pub(crate) fn drain(reader: &mut Reader) -> Vec<(String, Event)> {
    let (mut events, mut names) = (Vec::new(), Vec::new());
    reader.drain(|_, event| events.push(event));
    reader.names(&mut names);
    events.into_iter().map(|event| (names[event.name as usize].to_string(), event)).collect()
}

/// A listener beside whatever else happens: a thread drains it.
#[derive(Debug)]
pub(crate) struct Beside {
    listener: Listener,
    end: Sender<()>,
    thread: JoinHandle<u64>,
}

impl Beside {
    pub(crate) fn start(device: &Device, options: Options) -> Self {
        let (listener, mut reader) = open(device, options);
        let (end, ended) = channel::<()>();
        let thread = thread::spawn(move || {
            let mut events = 0;
            while ended.recv_timeout(Duration::from_millis(2)) == Err(RecvTimeoutError::Timeout) {
                reader.drain(|_, _| events += 1);
            }
            reader.drain(|_, _| events += 1);
            events
        });
        Self { listener, end, thread }
    }

    /// How much was written.
    pub(crate) fn stop(self) -> u64 {
        let Self { listener, end, thread } = self;
        drop((listener, end));
        thread.join().unwrap()
    }
}

#[test]
fn nothing_is_told_before_it_is_open_nor_after_it_is_closed() {
    let _alone = alone();
    let device = world::mock(MockConfig::default());
    let [stream] = world::streams(&device);
    let (mut listener, mut reader) = Listener::new(&device, options(Detail::Full)).unwrap();
    let fill = |pattern| {
        let known = Known::fill(&stream, pattern).unwrap();
        drop(range("a range"));
        stream.synchronize().unwrap();
        known
    };
    let first = fill(1);
    listener.open();
    listener.open();
    let second = fill(2);
    listener.close();
    let third = fill(3);
    listener.open();
    let fourth = fill(4);
    let told = drain(&mut reader);
    let count = |kind| told.iter().filter(|(_, event)| event.kind == kind).count();
    let kinds = [Kind::Operation, Kind::Submit, Kind::Kernel, Kind::List, Kind::Allocate, Kind::Range];
    assert_eq!(kinds.map(count), [1; 6], "{told:?}");
    assert!(told.iter().any(|(name, event)| event.kind == Kind::Range && name == "a range"));
    // The operation, the kernel that it became, and the list that they were in are told by the same numbers.
    let of = |kind| told.iter().find(|(_, event)| event.kind == kind).unwrap().1;
    let (operation, kernel, list, submit) = (of(Kind::Operation), of(Kind::Kernel), of(Kind::List), of(Kind::Submit));
    let place = |event: Event| (event.stream, event.value, event.command);
    assert_eq!((place(operation), operation.name), (place(kernel), kernel.name));
    assert_eq!((operation.stream, operation.value, 1), place(list));
    assert_eq!(place(list), place(submit));
    assert!(list.start <= kernel.start && kernel.start <= kernel.end && kernel.end <= list.end && list.end != NEVER);
    assert!(submit.end <= list.extra && operation.end <= submit.start);
    assert_eq!(drain(&mut reader), [], "each event comes once");
    assert_eq!(reader.dropped(), Dropped::default());
    // The reader keeps nothing alive.
    let memory = reader.memory().unwrap();
    assert_eq!((memory.live, memory.reserved), (device.memory().live, device.memory().reserved));
    drop((listener, first, second, third, fourth, stream, device));
    let deadline = Instant::now() + Duration::from_secs(60);
    while reader.memory().is_some() {
        // The device's own thread may hold it for a moment.
        assert!(Instant::now() < deadline, "the reader keeps the device");
        thread::yield_now();
    }
}

#[test]
fn rings_of_any_size_are_within_bounds() {
    let _alone = alone();
    let device = world::mock(MockConfig::default());
    for ring_events in [0, 1, 1 << 20, usize::MAX] {
        let (_listener, mut reader) = open(&device, Options { ring_events, ..Options::default() });
        drop(range("fits"));
        assert_eq!(drain(&mut reader).len(), 1, "{ring_events} events");
    }
}

/// Its listener is open still, and threads go on.
#[test]
fn a_session_without_a_reader_takes_no_more_memory() {
    let _alone = alone();
    let device = world::mock(MockConfig::default());
    let (_listener, reader) = open(&device, options(Detail::Full));
    let session = Arc::clone(&reader.session);
    drop(range("here"));
    assert_eq!(session.rings(), 1);
    drop(reader);
    for _ in 0..4 {
        thread::scope(|scope| scope.spawn(|| drop(range("there"))).join().unwrap());
    }
    assert_eq!(session.rings(), 0);
}

#[test]
fn a_device_has_one_listener_until_that_is_dropped() {
    let _alone = alone();
    let device = world::mock(MockConfig::default());
    let (mut listener, reader) = Listener::new(&device, Options::default()).unwrap();
    let refused = |device: &Device| matches!(Listener::new(device, Options::default()), Err(Error::Profiling { .. }));
    assert!(refused(&device), "before it is open");
    listener.open();
    assert!(refused(&device) && refused(&device.clone()));
    listener.close();
    assert!(refused(&device), "until it is dropped");
    drop(listener);
    drop(Listener::new(&device, Options::default()).unwrap());
    drop(reader);
    device.close(Duration::from_secs(100)).unwrap();
    assert!(matches!(Listener::new(&device, Options::default()), Err(Error::Closed)));
}

#[test]
fn names_and_threads_are_appended_to_those_that_are_known() {
    let _alone = alone();
    let device = world::mock(MockConfig::default());
    let (_listener, mut reader) = open(&device, Options::default());
    let (mut names, mut threads) = (Vec::new(), Vec::new());
    for round in 0..4 {
        let name = format!("round {round}");
        let body = || drop(range(name.clone()));
        thread::scope(|scope| thread::Builder::new().name(name.clone()).spawn_scoped(scope, body).unwrap().join())
            .unwrap();
        let mut told = Vec::new();
        reader.drain(|thread, event| told.push((thread, event.name)));
        reader.names(&mut names);
        reader.threads(&mut threads);
        let [(thread, number)] = told[..] else { panic!("{told:?}") };
        assert_eq!((&threads[thread as usize], &*names[number as usize]), (&name, &*name));
        assert_eq!(threads.len(), round + 1);
    }
}

// audit: F12
#[test]
fn threads_that_end_leave_their_rings_to_others() {
    let _alone = alone();
    let device = world::mock(MockConfig::default());
    let (listener, mut reader) = open(&device, Options::default());
    let mut told = Vec::new();
    for batch in 0..300 {
        let run = |index: u64| {
            let name = format!("{batch}.{index}");
            let body = || drop(range("short"));
            thread::Builder::new().name(name).spawn(body).unwrap()
        };
        (0..10).map(run).collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        reader.drain(|thread, _| told.push(thread));
    }
    assert!(reader.session.rings() <= 10, "{} rings", reader.session.rings());
    drop(listener);
    assert_eq!(reader.dropped(), Dropped::default());
    let mut threads = Vec::new();
    reader.threads(&mut threads);
    let mut names: Vec<_> = told.iter().map(|thread| &threads[*thread as usize]).collect();
    names.sort();
    names.dedup();
    assert_eq!((names.len(), told.len()), (3000, 3000), "each thread has a number of its own");
    // A thread may keep the session for long, but not its rings.
    let session = Arc::clone(&reader.session);
    drop(reader);
    assert_eq!(session.rings(), 0);
}

// audit: C10
#[test]
fn nothing_of_one_session_gets_into_the_next() {
    let _alone = alone();
    let device = world::mock(MockConfig::default());
    let names = |reader| drain(reader).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let (listener, mut reader) = open(&device, Options::default());
    drop(range("first"));
    // Began in the first session, ends in the second: belongs to neither.
    let (late, stranger) = (device.engine.trace.begin(), device.engine.trace.begin());
    let crossing = range("crossing");
    drop(listener);
    let first = names(&mut reader);
    let (listener, mut second) = open(&device, Options::default());
    late.compiled("late");
    // On a thread that has not met the first.
    thread::scope(|scope| drop(scope.spawn(|| stranger.compiled("stranger"))));
    drop(crossing);
    drop(range("second"));
    device.engine.trace.begin().compiled("in time");
    drop(listener);
    drop(range("nowhere"));
    assert_eq!(first, ["first"]);
    assert_eq!(names(&mut second), ["second", "in time"]);
}

#[test]
fn timestamps_stand_where_the_device_takes_the_time() {
    let _alone = alone();
    // Six operations, each of which needs what the one before it wrote, are 12 commands with the barrier at the start.
    for (timestamps, added) in [(Timestamps::None, 0), (Timestamps::ByList, 4), (Timestamps::ByCommand, 4 + 2 * 6)] {
        let mock = MockDevice::new(MockConfig { timestamps, ..MockConfig::default() });
        let validated = Validated::new(mock);
        let device = Device::new(Arc::<Validated>::clone(&validated), Config::default()).unwrap();
        let [stream] = world::streams(&device);
        let _listening = open(&device, options(Detail::Full));
        let before = validated.report().commands;
        let mut known = Known::fill(&stream, 1).unwrap();
        (0..5).for_each(|salt| known.advance(salt, &stream).unwrap());
        stream.synchronize().unwrap();
        assert_eq!(validated.report().commands - before, 12 + added, "{timestamps:?}");
    }
}
