//! A device that is held up: a list that does not end. No call waits for it, except where its documentation says so.

use super::world::{COMBINE, fresh_seed};
use crate::{
    Cache, Config, Device, Error, Event, Graph, MutableStorage, Operand, Pending, Pool, Result, Storage, Stream, Work,
};
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};

/// More than any call takes on a machine that is busy with other things; less than somebody watches a test for.
const IN_TIME: Duration = Duration::from_secs(60);

/// A discrete device of which nothing that is submitted from now on is seen to end.
fn held() -> (Device, Arc<Faulty>) {
    let faulty = Faulty::new(MockDevice::new(MockConfig::discrete(fresh_seed())), Plan::default());
    let device = Device::new(faulty.clone(), Config::default()).unwrap();
    faulty.set(Plan { signals: Strike::Always, ..Plan::default() });
    (device, faulty)
}

/// What the calls are made with.
struct Held {
    device: Device,
    /// Has a list in flight that does not end, and commands behind it.
    stream: Stream,
    /// What that list writes.
    written: Storage,
    event: Event,
    pending: Pending<Vec<u8>>,
    graph: Graph,
}

impl Held {
    fn new(device: &Device) -> Self {
        let stream = Stream::new(device).unwrap();
        let mut written = stream.allocate(4096).unwrap();
        stream.record(&Work::Fill(1), &[Operand::write(&mut written)]).unwrap();
        stream.flush().unwrap();
        let pending = stream.scope(|| written.download(0, 4096)).unwrap();
        let graph = stream.scope(|| {
            Graph::capture(device, &[4096], |inputs| {
                let stream = Stream::current(device)?;
                let mut copy = stream.allocate(4096)?;
                stream.record(&Work::Copy, &[Operand::read(&inputs[0], 0, 4096), Operand::write(&mut copy)])?;
                Ok::<_, Error>(vec![copy])
            })
        });
        let event = stream.record_event();
        Self { device: device.clone(), stream, written, event, pending, graph: graph.unwrap() }
    }

    fn input(&self) -> Operand<'_> {
        Operand::read(&self.written, 0, 4096)
    }
}

/// A name, and a call that returns at once, whatever it answers.
type Call = (&'static str, fn(&Held) -> Result<()>);

fn returned<T>(_: T) -> Result<()> {
    Ok(())
}

fn not(done: bool) -> Result<()> {
    assert!(!done);
    Ok(())
}

const CALLS: &[Call] = &[
    ("Device::info", |held| returned(held.device.info().clone())),
    ("Device::memory", |held| returned(held.device.memory())),
    ("Device::memory_snapshot", |held| returned(held.device.memory_snapshot())),
    ("Device::pipeline", |held| held.device.pipeline(&COMBINE).map(drop)),
    ("Device::pipeline_cache", |held| returned(held.device.pipeline_cache())),
    ("Device::counters", |held| returned(held.device.counters())),
    ("Device::trim", |held| {
        held.device.trim();
        Ok(())
    }),
    ("Device::check", |held| held.device.check()),
    ("Stream::new", |held| Stream::new(&held.device).map(drop)),
    ("Stream::current", |held| Stream::current(&held.device).map(drop)),
    ("Stream::allocate", |held| Stream::current(&held.device)?.allocate(70_000).map(drop)),
    ("Stream::record", |held| {
        let stream = Stream::current(&held.device)?;
        let mut copy = stream.allocate(4096)?;
        stream.record(&Work::Copy, &[held.input(), Operand::write(&mut copy)])
    }),
    ("Stream::record_event", |held| returned(Stream::current(&held.device)?.record_event())),
    ("Stream::record_timed_event", |held| Stream::current(&held.device)?.record_timed_event().map(drop)),
    ("Stream::wait", |held| Stream::current(&held.device)?.wait(&held.event)),
    ("Stream::query", |held| not(held.stream.query())),
    ("Stream::flush", |held| Stream::current(&held.device)?.flush()),
    ("Event::query", |held| not(held.event.query())),
    ("Event::synchronize with a timeout", |held| match held.event.synchronize(Some(Duration::from_millis(1))) {
        Err(Error::Timeout) => Ok(()),
        other => panic!("{other:?}"),
    }),
    // In several pieces.
    ("Storage::from_bytes", |held| Storage::from_bytes(&held.device, &vec![1; 3 << 20]).map(drop)),
    ("Storage::download", |held| held.written.download(0, 4096).map(drop)),
    ("MutableStorage::new", |held| {
        let storage = MutableStorage::new(Stream::current(&held.device)?.allocate(1024)?, 256)?;
        Stream::current(&held.device)?.record(&Work::Fill(0), &[storage.write(0..2)?])
    }),
    ("Pending::is_done", |held| not(held.pending.is_done())),
    ("Pending::map and all", |held| {
        let halves = [(); 2].map(|()| held.pending.clone().map(|bytes| bytes.len()));
        not(Pending::all(halves).is_done())
    }),
    ("Pending::wait_until", |held| match held.pending.wait_until(Instant::now()) {
        Err(Error::Timeout) => Ok(()),
        other => panic!("{other:?}"),
    }),
    ("Pool::new", |held| Pool::new(&held.device, "pool").map(drop)),
    ("Graph::capture", |held| {
        let made = Graph::capture(&held.device, &[256], Ok::<_, Error>);
        made.map(drop)
    }),
    ("Graph::replay", |held| held.graph.replay(&[held.input()]).map(drop)),
    ("Graph::replay_if_idle", |held| held.graph.replay_if_idle(&[held.input()]).map(drop)),
    ("Cache", |held| {
        let cache = Cache::<u32, u32, Error>::new(4, 1 << 10, |_, _| 4);
        let graph = held.graph.clone();
        cache.get(&1, || Ok(graph.commands() as u32)).map(drop)
    }),
];

/// Futures: each is polled once, by hand, and is not ready.
fn futures(held: &Held) {
    fn pending<F: Future>(name: &str, future: F) {
        let mut future = pin!(future);
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "{name}");
    }
    pending("Device::finished", held.device.finished());
    pending("Stream::finished", held.stream.finished());
    pending("Event::finished", held.event.finished());
    pending("Storage::read_async", held.written.read_async(0, 4096));
    pending("Pending", held.pending.clone().into_future());
    // That is only until it has been handed over.
    let mut waits = pin!(held.stream.wait_async(&held.event));
    let _ = waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

/// Runs each in a thread of its own, so that the one that does not return is named.
fn in_time<T: Send + 'static>(name: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(call()));
    is_done.recv_timeout(IN_TIME).unwrap_or_else(|_| panic!("{name} waits for the device"))
}

// audit: C12
#[test]
fn no_call_waits_for_a_device_that_is_held_up_unless_it_says_so() {
    let (device, _faulty) = held();
    let held = Arc::new(Held::new(&device));
    for (name, call) in CALLS {
        let own = Arc::clone(&held);
        in_time(name, move || call(&own)).unwrap_or_else(|error| panic!("{name}: {error}"));
        // And the same where nothing may wait, not even for a credit or for somebody's turn.
        let own = Arc::clone(&held);
        let answer = in_time(name, move || Stream::new(&own.device)?.or_busy().scope(|| call(&own)));
        assert!(matches!(answer, Ok(()) | Err(Error::Busy)), "{name}: {answer:?}");
    }
    let own = Arc::clone(&held);
    in_time("a future", move || futures(&own));
    // Those that say that they wait, where they may not.
    let own = Arc::clone(&held);
    in_time("what waits", move || {
        let refusing = Stream::new(&own.device).unwrap().or_busy();
        refusing.scope(|| {
            assert!(matches!(Storage::frozen_from_bytes(&own.device, &[1; 300]), Err(Error::Busy)));
            assert!(matches!(Storage::frozen_in(&Pool::new(&own.device, "pool")?, &[1; 300]), Err(Error::Busy)));
            Ok::<_, Error>(())
        })
    })
    .unwrap();
}

// audit: C12
#[test]
fn a_close_ends_in_time_and_releases_those_who_wait() {
    let (device, _faulty) = held();
    let held = Arc::new(Held::new(&device));
    let waits: [Call; 6] = [
        ("Storage::read", |held| held.written.read(0, &mut [0; 4])),
        ("Storage::frozen_from_bytes", |held| Storage::frozen_from_bytes(&held.device, &[1; 300]).map(drop)),
        ("Pending::wait", |held| held.pending.wait().map(drop)),
        ("Stream::synchronize", |held| held.stream.synchronize()),
        ("Event::synchronize", |held| held.event.synchronize(None)),
        ("Device::synchronize", |held| held.device.synchronize()),
    ];
    let (answers, answered) = mpsc::channel();
    for (name, call) in waits {
        let (held, answers) = (Arc::clone(&held), answers.clone());
        thread::spawn(move || answers.send((name, call(&held))));
    }
    let own = device.clone();
    let closed = in_time("Device::close", move || own.close(Duration::from_millis(100)));
    assert!(matches!(closed, Err(Error::Unfinished { .. })), "{closed:?}");
    for _ in waits {
        let (name, answer) = answered.recv_timeout(IN_TIME).expect("everybody is answered");
        assert!(matches!(answer, Err(Error::Closed)), "{name}: {answer:?}");
    }
    // Dropping waits for nothing either.
    in_time("drops", move || drop((held, device)));
}
