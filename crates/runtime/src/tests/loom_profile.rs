//! Models of rings and sessions. (How a thread finds its writer is in a thread local, which models have not.)

use crate::listener::{Dropped, Event, Kind, Options};
use crate::trace::ring::Ring;
use crate::trace::session::{Session, Writer};
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

/// A session with rings of two events.
fn session() -> Arc<Session> {
    Arc::new(Session::new(Options { ring_events: 2, ..Options::default() }))
}

/// What was drained: the numbers of the threads, and of the events.
fn drain(session: &Session) -> Vec<(u32, u64)> {
    let mut found = Vec::new();
    session.drain(|thread, event| found.push((thread, number(event))));
    found
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
        let session = session();
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
        let mut drained = drain(&session);
        both.join().unwrap();
        drained.extend(drain(&session));
        let mut threads = Vec::new();
        session.threads(&mut threads);
        let mut found = Vec::new();
        for (thread, number) in drained {
            assert_eq!(threads[thread as usize], (number / 10 * 10).to_string(), "another thread's event");
            found.push(number);
        }
        found.sort_unstable();
        assert_eq!(found, [10, 11, 20, 21]);
        assert_eq!(session.dropped(), Dropped::default());
    });
}

/// A session ends while threads write: what was written before it is there or counted, and what comes later disturbs
/// nobody.
// audit: F3
#[test]
fn loom_stop_against_writers() {
    bounded(|| {
        let session = session();
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
        let drained = drain(&session);
        let dropped = session.dropped();
        session.forget_rings();
        late.join().unwrap();
        let of = |from: u64| {
            let numbers = drained.iter().map(|(_, number)| *number);
            numbers.filter(|number| (from..from + 10).contains(number)).collect::<Vec<_>>()
        };
        assert_eq!((of(0).len() as u64 + dropped.ring_full, of(0)), (3, vec![0, 1]));
        assert!([10, 11].starts_with(&of(10)), "not what was written first: {:?}", of(10));
        assert!(session.is_over());
    });
}

/// Two threads drain one after the other, the first of them beside the writer: nothing comes twice, and nothing is
/// missing.
// audit: F3
#[test]
fn loom_two_drainers() {
    bounded(|| {
        let session = session();
        let writer = {
            let session = Arc::clone(&session);
            thread::spawn(move || write(&mut session.writer(|| "writer".to_owned()).unwrap(), 0..3))
        };
        let drainer = {
            let session = Arc::clone(&session);
            thread::spawn(move || drain(&session))
        };
        let mut found = drainer.join().unwrap();
        found.extend(drain(&session));
        writer.join().unwrap();
        found.extend(drain(&session));
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
        assert_eq!(found.len() as u64 + session.dropped().ring_full, 3);
    });
}
