//! Streams that stay failed, if their owner asked for it.

use crate::error::{Error, Failure, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A command's place on its stream: the value of its list, and its index there.
pub(crate) type Position = (u64, u32);

/// The first failure of a stream that stays failed.
#[derive(Debug, Default)]
pub(crate) struct Strict {
    state: Mutex<State>,
    /// Whether `state` has a failure. Written under its lock; nearly always false, which saves the lock.
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Failures of commands from there on count; of none, if it is not set.
    since: Option<Position>,
    first: Option<Failure>,
}

impl Strict {
    /// Failures of commands from `since` on count from now on, or none. Forgets the one there is, and gives it back.
    pub(crate) fn restart(&self, since: Option<Position>) -> Option<Failure> {
        let mut state = self.state.lock();
        // Relaxed, here and below: whoever waited for a list and asks then has synchronised by that.
        self.failed.store(false, Ordering::Relaxed);
        state.since = since;
        state.first.take()
    }

    /// Starts anew if the stream stays failed at all; see [`restart`](Self::restart).
    pub(crate) fn reset(&self, next: Position) -> Option<Failure> {
        let since = self.state.lock().since.map(|_| next);
        self.restart(since)
    }

    /// Commands of the list have failed.
    pub(crate) fn fail(&self, value: u64, failures: &[(u32, Failure)]) {
        let mut state = self.state.lock();
        let Some(since) = state.since.filter(|_| state.first.is_none()) else { return };
        if let Some((_, failure)) = failures.iter().find(|(command, _)| (value, *command) >= since) {
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
