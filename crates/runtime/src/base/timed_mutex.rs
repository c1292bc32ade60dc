//! A lock that can be waited for with a deadline, around what only one thread at a time may do.
//!
//! The thread that has the turn has taken the value out, so nothing is locked while it is used; the lock inside is held
//! for the exchange alone.

use super::rank::{Held, Place, Rank};
use crate::base::error::Result;
use crate::base::sync::{Condvar, Mutex};
use crate::base::wait_policy::WaitPolicy;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// One value, for one thread at a time.
#[derive(Debug)]
pub(crate) struct TimedMutex<T> {
    place: Place,
    exchange: Mutex<Exchange<T>>,
    given_back: Condvar,
}

#[derive(Debug)]
struct Exchange<T> {
    /// `None` while somebody has the turn.
    value: Option<T>,
    /// Threads that wait for it. Nobody is notified without, which would be a system call.
    waiting: usize,
}

impl<T> TimedMutex<T> {
    /// A turn of a rank of which nobody has two.
    pub(crate) fn new(rank: Rank, value: T) -> Self {
        let exchange = Mutex::new(Rank::Exchange, Exchange { value: Some(value), waiting: 0 });
        Self { place: Place::new(rank, 0), exchange, given_back: Condvar::default() }
    }

    /// Waits for the turn.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) or [`Error::Busy`](crate::Error::Busy) when the time is over.
    #[track_caller]
    pub(crate) fn take(&self, policy: WaitPolicy) -> Result<TimedMutexGuard<'_, T>> {
        if !matches!(policy, WaitPolicy::Never) {
            self.place.check();
        }
        let mut exchange = self.exchange.lock();
        loop {
            if let Some(value) = exchange.value.take() {
                drop(exchange);
                return Ok(TimedMutexGuard { value: Some(value), turn: self, _held: self.place.enter() });
            }
            // After the look: a notification that comes with the end of the time must not be lost to the others.
            let left = policy.left();
            if left == Some(Duration::ZERO) {
                return Err(policy.over());
            }
            exchange.waiting += 1;
            exchange = self.given_back.wait(exchange, left);
            exchange.waiting -= 1;
        }
    }
}

/// The turn, given back on drop.
#[derive(Debug)]
pub(crate) struct TimedMutexGuard<'a, T> {
    /// Always `Some`, until `drop` takes it.
    value: Option<T>,
    turn: &'a TimedMutex<T>,
    _held: Held,
}

impl<T> Deref for TimedMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("taken only by drop")
    }
}

impl<T> DerefMut for TimedMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("taken only by drop")
    }
}

impl<T> Drop for TimedMutexGuard<'_, T> {
    fn drop(&mut self) {
        let mut exchange = self.turn.exchange.lock();
        exchange.value = self.value.take();
        let awaited = exchange.waiting > 0;
        drop(exchange);
        if awaited {
            self.turn.given_back.notify_one();
        }
    }
}
