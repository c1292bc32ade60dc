//! Models of the profiler's rings and sessions. (How a thread finds its writer is in a thread local, which models have
//! not.)

use crate::trace::event::{Event, Kind};
use crate::trace::session::{Session, Writer};
use crate::{ProfileOptions, trace::ring::Ring};
use loom::thread;
use std::sync::Arc;

/// Every word of it says which it is, so that a torn one shows.
fn event(number: u64) -> Event {
    Event { value: number, extra: number, name: number as u32, ..Event::new(Kind::Wait, number, number) }
}

#[track_caller]
fn number(event: Event) -> u64 {
    assert_eq!(event, crate::tests::loom_profile::event(event.value), "a torn event");
    event.value
}

fn bounded(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(run);
}

fn write(writer: &mut Writer, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| writer.push(event(number)));
}

/// A writer against a drain: what was drained is whole, in order, and together with what was dropped all there was.
// audit: F3
#[test]
fn loom_ring_against_drain() {
    bounded(|| {
        let ring = Arc::new(Ring::new(2));
        ring.begin(7);
        let writer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || (0..4).for_each(|number| ring.push(event(number))))
        };
        let mut found = Vec::new();
        let mut take = |thread, event| {
            assert_eq!(thread, 7);
            found.push(number(event));
        };
        ring.drain(&mut take);
        ring.drain(&mut take);
        writer.join().unwrap();
        ring.drain(&mut take);
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
        assert_eq!(found.len() as u64 + ring.dropped(), 4, "{found:?}");
    });
}

/// A thread ends while its ring is drained, and another comes: each event is its own thread's, whether the second has
/// got a ring of its own or the first's.
// audit: F3
#[test]
fn loom_ring_of_a_thread_that_has_ended() {
    bounded(|| {
        let session = Arc::new(Session::new(ProfileOptions::new().ring_events(2)));
        let program = |first: u64| {
            let session = Arc::clone(&session);
            move || {
                let mut writer = session.writer(|| first.to_string()).unwrap();
                write(&mut writer, first..first + 2);
            }
        };
        let (one, two) = (program(10), program(20));
        let both = thread::spawn(move || {
            one();
            two();
        });
        session.drain();
        both.join().unwrap();
        let collected = session.collect();
        let mut found = Vec::new();
        for (thread, event) in collected.events {
            let number = number(event);
            assert_eq!(collected.threads[thread as usize], (number / 10 * 10).to_string(), "another thread's event");
            found.push(number);
        }
        found.sort_unstable();
        assert_eq!(found, [10, 11, 20, 21]);
        assert_eq!(collected.dropped, [0; 3]);
    });
}

/// A session ends while threads write: what was written before it is there or counted, and what comes later disturbs
/// nobody.
// audit: F3
#[test]
fn loom_stop_against_writers() {
    bounded(|| {
        let session = Arc::new(Session::new(ProfileOptions::new().ring_events(2)));
        let mut early = session.writer(|| "early".to_owned()).unwrap();
        write(&mut early, 0..3);
        let late = {
            let session = Arc::clone(&session);
            thread::spawn(move || {
                if let Some(mut writer) = session.writer(|| "late".to_owned()) {
                    write(&mut writer, 10..12);
                }
            })
        };
        session.end();
        let collected = session.collect();
        late.join().unwrap();
        let of = |from: u64| {
            let numbers = collected.events.iter().map(|(_, event)| number(*event));
            numbers.filter(|number| (from..from + 10).contains(number)).collect::<Vec<_>>()
        };
        assert_eq!((of(0).len() as u64 + collected.dropped[0], of(0)), (3, vec![0, 1]));
        assert!([10, 11].starts_with(&of(10)), "not what was written first: {:?}", of(10));
        assert!(session.is_over());
    });
}

/// Two who drain, the drainer and whoever stops, take nothing twice.
// audit: F3
#[test]
fn loom_two_drainers() {
    bounded(|| {
        let session = Arc::new(Session::new(ProfileOptions::new().ring_events(2)));
        let mut writer = session.writer(|| "writer".to_owned()).unwrap();
        let drainer = {
            let session = Arc::clone(&session);
            thread::spawn(move || session.drain())
        };
        write(&mut writer, 0..3);
        drainer.join().unwrap();
        let drainer = {
            let session = Arc::clone(&session);
            thread::spawn(move || session.drain())
        };
        let stopped = session.collect();
        drainer.join().unwrap();
        let rest = session.collect();
        let all = stopped.events.iter().chain(&rest.events);
        let found: Vec<_> = all.map(|(_, event)| number(*event)).collect();
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
        assert_eq!(found.len() as u64 + stopped.dropped[0], 3);
        assert_eq!(rest.events.len(), 0, "the first to stop has everything");
    });
}
