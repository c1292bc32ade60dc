//! Async tasks that wait for a stream.
//!
//! A task leaves its waker and what it waits for. Only the reaper wakes, last of all that it does and with nothing
//! locked, since a waker is the user's code (I8). A task that leaves a waker rings for the reaper, which then watches
//! the stream. The task looks at the stream once more afterwards, since nobody is woken for what has happened before.

use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use std::task::Waker;

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Milestone {
    /// The list that signals the value has been handed to the device.
    Submitted(u64),
    /// It has settled.
    Settled(u64),
}

/// The tasks that wait for one stream: as many as there are futures.
#[derive(Debug)]
pub(crate) struct Waiters {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By ticket.
    tasks: Vec<(u64, Milestone, Waker)>,
    /// How many were given out.
    tickets: u64,
}

impl Default for Waiters {
    fn default() -> Self {
        Self { waiting: Mutex::new(Rank::Waiters, Waiting::default()) }
    }
}

impl Waiters {
    /// Leaves a waker, in place of the one left before with this ticket.
    pub(crate) fn leave(&self, ticket: &mut Option<u64>, milestone: Milestone, waker: &Waker) {
        // Cloned and dropped with nothing locked: both are the user's code.
        let waker = waker.clone();
        let mut waiting = self.waiting.lock();
        let earlier = ticket.and_then(|ticket| waiting.tasks.iter_mut().find(|(id, ..)| *id == ticket));
        let replaced = match earlier {
            Some((_, _, earlier)) => Some(std::mem::replace(earlier, waker)),
            None => {
                waiting.tickets += 1;
                let id = waiting.tickets;
                waiting.tasks.push((id, milestone, waker));
                *ticket = Some(id);
                None
            }
        };
        drop(waiting);
        drop(replaced);
    }

    /// Takes a waker back. It may have been woken already.
    pub(crate) fn give_up(&self, ticket: u64) {
        let mut waiting = self.waiting.lock();
        let at = waiting.tasks.iter().position(|(id, ..)| *id == ticket);
        let entry = at.map(|at| waiting.tasks.swap_remove(at));
        drop(waiting);
        drop(entry);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().tasks.is_empty()
    }

    #[cfg(all(test, loom))]
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().tasks.len()
    }

    /// Moves those that have what they wait for to `woken`.
    pub(crate) fn take_reached(&self, submitted: u64, settled: u64, woken: &mut Vec<Waker>) {
        let reached = |milestone: &Milestone| match *milestone {
            Milestone::Submitted(value) => value <= submitted,
            Milestone::Settled(value) => value <= settled,
        };
        let mut waiting = self.waiting.lock();
        woken.extend(waiting.tasks.extract_if(.., |(_, milestone, _)| reached(milestone)).map(|(.., waker)| waker));
    }
}
