//! A lock that can be waited for with a deadline, around what only one thread at a time may do.
//!
//! Whoever has the turn has taken the value out, so nothing is locked while it is used; the lock inside is held for the
//! exchange alone.

use crate::base::error::Result;
use crate::base::sync::{Condvar, Mutex};
use crate::base::wait_policy::WaitPolicy;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// One value, for one thread at a time.
#[derive(Debug)]
pub(crate) struct TimedMutex<T> {
    state: Mutex<State<T>>,
    given_back: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// `None` while somebody has the turn.
    value: Option<T>,
    /// Threads that wait for it. Nobody is notified without, which would be a system call.
    waiting: usize,
}

impl<T> TimedMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { state: Mutex::new(State { value: Some(value), waiting: 0 }), given_back: Condvar::default() }
    }

    /// Waits for the turn.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) or [`Error::Busy`](crate::Error::Busy) when the policy is over.
    pub(crate) fn take(&self, policy: WaitPolicy) -> Result<TimedMutexGuard<'_, T>> {
        let mut state = self.state.lock();
        loop {
            if let Some(value) = state.value.take() {
                return Ok(TimedMutexGuard { value: Some(value), turn: self });
            }
            // After the look: a notification that comes with the end of the time must not be lost to the others.
            let left = policy.left();
            if left == Some(Duration::ZERO) {
                return Err(policy.over());
            }
            state.waiting += 1;
            state = self.given_back.wait(state, left);
            state.waiting -= 1;
        }
    }
}

/// The turn, given back on drop.
#[derive(Debug)]
pub(crate) struct TimedMutexGuard<'a, T> {
    /// Always `Some`, until `drop` takes it.
    value: Option<T>,
    turn: &'a TimedMutex<T>,
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
        let mut state = self.turn.state.lock();
        state.value = self.value.take();
        let awaited = state.waiting > 0;
        drop(state);
        if awaited {
            self.turn.given_back.notify_one();
        }
    }
}
