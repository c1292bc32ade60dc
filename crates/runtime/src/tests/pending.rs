//! Values that are made in steps, by whoever waits for them.

use super::world::{Known, fresh_seed};
use crate::{Config, Device, Error, Graph, Pending, Result, Step, Storage, Stream};
use std::collections::VecDeque;
use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};

#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A device that does nothing before it is let go.
fn held(config: Config) -> (Device, Arc<Faulty>) {
    let plan = Plan { signals: Strike::Always, ..Plan::default() };
    let faulty = Faulty::new(MockDevice::new(MockConfig { seed: fresh_seed(), ..MockConfig::default() }), plan);
    (Device::new(faulty.clone(), config).unwrap(), faulty)
}

fn mock() -> Device {
    Device::new(MockDevice::new(MockConfig { seed: fresh_seed(), ..MockConfig::default() }), Config::default()).unwrap()
}

/// What the passes of a value gave: pass `i` fills memory with `i`, and two are recorded at a time.
fn passes(device: &Device, count: u32, recorded: &Arc<AtomicU32>) -> Pending<Vec<u32>> {
    let (own, recorded) = (device.clone(), Arc::clone(recorded));
    let mut flying: VecDeque<Pending<Vec<u32>>> = VecDeque::new();
    let mut found = Vec::new();
    Pending::in_steps(device, move || {
        if let Some(first) = flying.front() {
            if !first.is_done() {
                return Ok(Step::after(first));
            }
            found.push(flying.pop_front().unwrap().wait()?[0]);
        }
        while flying.len() < 2 && recorded.load(Ordering::SeqCst) < count {
            let number = recorded.load(Ordering::SeqCst);
            let stream = Stream::current(&own)?;
            match filled(&stream, number) {
                Err(Error::Busy) if !flying.is_empty() => break,
                filled => flying.push_back(filled?),
            }
            recorded.fetch_add(1, Ordering::SeqCst);
        }
        Ok(match flying.front() {
            Some(first) => Step::after(first),
            None => Step::done(std::mem::take(&mut found)),
        })
    })
}

fn filled(stream: &Stream, value: u32) -> Result<Pending<Vec<u32>>> {
    let known = Known::fill(stream, value)?;
    let storage: Arc<Storage> = Arc::new(known.storage);
    let pending = storage.fetch::<u32>(0, 1)?;
    // One list each, so that they end one by one.
    stream.flush()?;
    Ok(pending)
}

fn numbers(count: u32) -> Vec<u32> {
    (0..count).collect()
}

// audit: C2
#[test]
fn steps_are_made_by_those_who_wait_and_by_nobody_else() {
    let device = mock();
    let recorded = Arc::new(AtomicU32::new(0));
    let pending = passes(&device, 5, &recorded);
    device.synchronize().unwrap();
    assert_eq!(recorded.load(Ordering::SeqCst), 0, "nobody waits");
    // Four threads and two tasks at once.
    let values: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|which| {
                let pending = pending.clone();
                scope.spawn(move || match which {
                    0..4 => pending.wait(),
                    _ => pollster::block_on(pending.into_future()),
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap().to_vec()).collect()
    });
    assert!(values.iter().all(|found| *found == numbers(5)), "{values:?}");
    assert_eq!(recorded.load(Ordering::SeqCst), 5, "each once");
}

#[test]
fn a_poll_makes_one_step_and_asks_for_the_next() {
    let steps = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&steps);
    let pending = Pending::steps(None, move || {
        let made = counted.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(if made < 4 { Step::after(&Pending::ready(())) } else { Step::done(made) })
    });
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut task = pin!(pending.into_future());
    for polls in 1..4 {
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((steps.load(Ordering::SeqCst), woken.0.load(Ordering::SeqCst)), (polls, u64::from(polls)));
    }
    assert!(matches!(task.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(value)) if *value == 4));
}

#[test]
fn asking_whether_it_is_done_takes_it_on_and_never_waits() {
    let (device, faulty) = held(Config::default());
    let recorded = Arc::new(AtomicU32::new(0));
    let pending = passes(&device, 4, &recorded);
    for _ in 0..3 {
        assert!(!pending.is_done());
    }
    assert_eq!(recorded.load(Ordering::SeqCst), 2, "as many as there are at a time");
    faulty.release();
    while !pending.is_done() {
        std::thread::yield_now();
    }
    // There, without a wait: so far the deadline is over.
    assert_eq!(*pending.wait_until(Instant::now()).unwrap(), numbers(4));
}

#[test]
fn a_deadline_ends_the_wait_and_not_the_value() {
    let (device, faulty) = held(Config::default());
    let pending = passes(&device, 3, &Arc::default());
    for _ in 0..2 {
        let waited = pending.wait_until(Instant::now() + Duration::from_millis(5));
        assert!(matches!(waited, Err(Error::Timeout)), "{waited:?}");
    }
    faulty.release();
    assert_eq!(*pending.wait().unwrap(), numbers(3));
}

// audit: C30
#[test]
fn dropped_by_all_it_stops() {
    let (device, faulty) = held(Config::default());
    let recorded = Arc::new(AtomicU32::new(0));
    let pending = passes(&device, 50, &recorded);
    let mut task = Box::pin(pending.clone().into_future());
    assert!(poll(task.as_mut()).is_pending());
    drop(pending);
    drop(task);
    faulty.release();
    device.synchronize().unwrap();
    assert_eq!(recorded.load(Ordering::SeqCst), 2, "what the device had");
    assert_eq!(Arc::strong_count(&recorded), 1, "what makes the steps is gone");
}

/// A stream with room for one list: the second of a pass finds it busy, and is recorded when it no longer is.
// audit: C2
#[test]
fn a_step_that_finds_the_device_busy_is_made_again() {
    let (device, faulty) = held(Config::default().lists_in_flight(1));
    let stream = Stream::new(&device).unwrap();
    let first = stream.scope(|| filled(&stream, 9)).unwrap();
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let own = device.clone();
    let mut second = None;
    let pending = Pending::in_steps(&device, move || {
        if second.is_none() {
            counted.fetch_add(1, Ordering::SeqCst);
            second = Some(filled(&Stream::current(&own)?, 8)?);
        }
        match second.take_if(|second| second.is_done()) {
            Some(done) => Ok(Step::done(done.wait()?[0])),
            None => Ok(Step::after(second.as_ref().unwrap())),
        }
    });
    // Neither a deadline nor a task waits for the room, and nothing is lost by it.
    stream.scope(|| {
        let waited = pending.wait_until(Instant::now() + Duration::from_millis(5));
        assert!(matches!(waited, Err(Error::Timeout)), "{waited:?}");
        assert!(!pending.is_done());
    });
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut task = pin!(stream.attach(pending.clone().into_future()));
    assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let tried = tries.load(Ordering::SeqCst);
    assert!((1..4).contains(&tried), "tried {tried} times while the device did nothing");
    faulty.release();
    assert_eq!(first.wait().unwrap()[0], 9);
    let value = loop {
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => break value,
            // Polled again only when it was woken.
            Poll::Pending => {
                while woken.0.swap(0, Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
            }
        }
    };
    assert_eq!(*value.unwrap(), 8);
}

// audit: C2
#[test]
fn a_step_that_fails_or_panics_is_everybodys_error() {
    let device = mock();
    let failing = Pending::<u32>::in_steps(&device, || Err(Error::Closed));
    let other = failing.clone();
    assert!(matches!(failing.wait(), Err(Error::Closed)) && matches!(other.wait(), Err(Error::Closed)));
    assert!(failing.is_done());

    let panicking = Pending::<u32>::in_steps(&device, || panic!("on purpose"));
    let other = panicking.clone();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panicking.wait())).is_err());
    assert!(matches!(other.wait(), Err(Error::Abandoned)));

    let slot = Arc::new(Mutex::new(None::<Pending<u32>>));
    let own = Arc::clone(&slot);
    let recursive = Pending::in_steps(&device, move || {
        let own = own.lock().unwrap().clone().unwrap();
        own.wait().map(|value| Step::done(*value))
    });
    *slot.lock().unwrap() = Some(recursive.clone());
    assert!(matches!(recursive.wait(), Err(Error::Recursive)));
}

/// What will never be there is an error without a wait, so asking for it ends.
// audit: C29
#[test]
fn a_lost_device_ends_the_asking() {
    let (device, faulty) = held(Config::default());
    let pending = passes(&device, 5, &Arc::default());
    assert!(!pending.is_done());
    faulty.lose();
    while !pending.is_done() {
        std::thread::yield_now();
    }
    assert!(matches!(pending.wait_until(Instant::now()), Err(Error::Device(_))));
}

/// A graph's capture takes no part in it, and takes it from nobody.
#[test]
fn a_thread_that_captures_a_graph_leaves_the_value_to_others() {
    let device = mock();
    let pending = passes(&device, 3, &Arc::default());
    let captured = Graph::capture(&device, &[256], |_| {
        assert!(!pending.is_done());
        // Asking has done no harm: an operation is still captured.
        Stream::current(&device)?.allocate(256)?;
        assert!(matches!(pending.wait(), Err(Error::NotCapturable { .. })));
        pending.wait_until(Instant::now()).map(|_| Vec::<Storage>::new())
    });
    assert!(matches!(captured, Err(Error::NotCapturable { .. })), "{captured:?}");
    assert_eq!(*pending.wait().unwrap(), numbers(3));
}

#[test]
fn what_is_made_of_others_has_all_of_their_steps() {
    let device = mock();
    let sum = |values: Arc<Vec<u32>>| values.iter().sum::<u32>();
    let pending = Pending::all([4, 6].map(|count| passes(&device, count, &Arc::default()).map(sum)));
    while !pending.is_done() {
        std::thread::yield_now();
    }
    assert_eq!(pending.wait().unwrap().iter().map(|sum| **sum).collect::<Vec<_>>(), [6, 15]);
}
