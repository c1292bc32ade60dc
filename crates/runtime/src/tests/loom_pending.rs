//! Models of a value that is made in steps, by whoever waits for it.

use super::loom::bounded;
use crate::{Pending, Step};
use ::loom::thread;
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Counts what it is told. A counter of the standard library: not part of what is modelled.
#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A value of two steps, and how often one has been made.
fn value() -> (Pending<u32>, Arc<Count>) {
    let made = Arc::new(Count::default());
    let counted = Arc::clone(&made);
    let pending = Pending::steps(None, move || {
        let before = counted.0.fetch_add(1, Ordering::SeqCst);
        Ok(if before == 0 { Step::after(&Pending::ready(())) } else { Step::done(7) })
    });
    (pending, made)
}

/// Two threads that wait have the same value, of two steps.
#[test]
fn loom_each_step_is_made_once_and_nobody_is_left_waiting() {
    bounded(4, || {
        let (pending, made) = value();
        let other = pending.clone();
        let thread = thread::spawn(move || other.wait().map(|value| *value));
        assert_eq!(*pending.wait().unwrap(), 7);
        assert_eq!(thread.join().unwrap().unwrap(), 7);
        assert_eq!(made.0.load(Ordering::SeqCst), 2);
    });
}

/// A task that was told to wait is woken, whatever a thread does meanwhile.
#[test]
fn loom_a_task_that_waits_for_a_step_is_woken() {
    bounded(4, || {
        let (pending, made) = value();
        let other = pending.clone();
        let thread = thread::spawn(move || other.wait().map(|value| *value));
        let woken = Arc::new(Count::default());
        let mut task = pin!(pending.into_future());
        let waker = Waker::from(Arc::clone(&woken));
        let first = task.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!(thread.join().unwrap().unwrap(), 7);
        if first.is_pending() {
            assert!(woken.0.load(Ordering::SeqCst) > 0, "nobody polls it again");
            let second = task.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(matches!(second, Poll::Ready(Ok(value)) if *value == 7));
        }
        assert_eq!(made.0.load(Ordering::SeqCst), 2);
    });
}
