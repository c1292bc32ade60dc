//! Streams that stay failed, if their owner asked for it.

use crate::error::{Error, Failure, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The first failure of a stream that stays failed.
#[derive(Debug, Default)]
pub(crate) struct Strict {
    state: Mutex<State>,
    /// Whether `state` has a failure. Written under its lock; nearly always false, which saves the lock.
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Failures of later lists count; of none, if there is no such value.
    since: Option<u64>,
    first: Option<Failure>,
}

impl Strict {
    /// Failures of lists after `since` count from now on, or none. Forgets the one there is, and gives it back.
    pub(crate) fn restart(&self, since: Option<u64>) -> Option<Failure> {
        let mut state = self.state.lock();
        // Relaxed, here and below: whoever waited for a list and asks then has synchronised by that.
        self.failed.store(false, Ordering::Relaxed);
        state.since = since;
        state.first.take()
    }

    /// Starts anew if the stream stays failed at all; see [`restart`](Self::restart).
    pub(crate) fn reset(&self, last: u64) -> Option<Failure> {
        let since = self.state.lock().since.map(|_| last);
        self.restart(since)
    }

    /// A command of the list has failed.
    pub(crate) fn fail(&self, value: u64, failure: &Failure) {
        let mut state = self.state.lock();
        if state.since.is_some_and(|since| value > since) && state.first.is_none() {
            state.first = Some(failure.clone());
            self.failed.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.state.lock().first.clone()
    }

    /// # Errors
    /// The first failure, until it is forgotten.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.failure().map_or(Ok(()), |failure| Err(Error::Failed(failure)))
    }
}
