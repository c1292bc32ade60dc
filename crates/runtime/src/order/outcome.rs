//! How the commands of a list ended.
//!
//! What may ask for the outcome holds it: a block by its last write, an edge, a timed event. It is let go with the last
//! of them, so that results need no table that would grow with every failure.

use crate::base::error::Failure;
use std::sync::OnceLock;
use std::time::Duration;

/// What a list's commands have to tell, which is nothing for nearly every list.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Entered once, if there is anything to enter, before the list's value is seen to have settled (I7).
    results: OnceLock<Results>,
    /// The timestamp at the list's end that events stand for, where the device takes the time by list. Entered when the
    /// list is sealed, if there is such an event.
    end: OnceLock<u32>,
}

/// By rising index of the command.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) failures: Vec<(u32, Failure)>,
    pub(crate) times: Vec<(u32, Duration)>,
}

impl Outcome {
    /// How a command of the settled list ended.
    pub(crate) fn result(&self, command: u32) -> Result<(), Failure> {
        let failure = self.results.get().and_then(|results| find(&results.failures, command));
        failure.map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// The device's clock at a timestamp of the settled list; `None` if the list did not get so far.
    pub(crate) fn time(&self, command: u32) -> Option<Duration> {
        self.results.get().and_then(|results| find(&results.times, command)).copied()
    }

    /// The timestamp at the end of the list, once it is sealed.
    pub(crate) fn end(&self) -> Option<u32> {
        self.end.get().copied()
    }

    /// Called once, when the list is sealed.
    pub(crate) fn end_at(&self, command: u32) {
        let entered = self.end.set(command);
        debug_assert!(entered.is_ok(), "a list is sealed once");
    }

    /// Called once, when the list settles.
    pub(crate) fn enter(&self, results: Results) {
        if !(results.failures.is_empty() && results.times.is_empty()) {
            let entered = self.results.set(results);
            debug_assert!(entered.is_ok(), "a list settles once");
        }
    }
}

fn find<T>(entries: &[(u32, T)], command: u32) -> Option<&T> {
    entries.binary_search_by_key(&command, |(index, _)| *index).ok().map(|at| &entries[at].1)
}
