//! The window between the input, the threads that compute, and the output: bounded, and in order.
//!
//! One reader pushes jobs, any number of workers turn jobs into results, one writer takes the results in the order of
//! the jobs. The window holds every job from its push until its result is handed to the writer:
//!
//! ```text
//!  reader ──push──►  │ running │ done │ running │ waiting │ waiting │  ◄── at most `slots`, and `weight` in all
//!                     ▲ first                    ▲ taken
//!  writer ◄──next──── (when done)                └──► the next worker
//! ```
//!
//! Invariants:
//! - W1: `first <= taken <= first + slots.len()`; slots before `taken` are running or done, none is waiting.
//! - W2: the window never holds more than `max_slots` jobs, nor more than `max_weight` unless a single job has it.
//! - W3: every job that a worker took gets an outcome, also when the worker panics (`None`), so the writer never waits
//!   for ever.
//!
//! One lock, held for a few instructions; no job is run and no value of the caller is dropped under it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A bounded window over a sequence of jobs of type `J` with outcomes of type `T`.
pub struct Window<J, T> {
    max_slots: usize,
    max_weight: usize,
    state: Mutex<State<J, T>>,
    /// Signalled when the window shrinks or closes; the reader waits here.
    room: Condvar,
    /// Signalled when a job arrives or the window closes; the workers wait here.
    work: Condvar,
    /// Signalled when a job is done or the window closes; the writer waits here.
    done: Condvar,
}

struct State<J, T> {
    slots: VecDeque<Entry<J, T>>,
    /// The sequence number of `slots[0]`.
    first: u64,
    /// The sequence number of the next job for a worker.
    taken: u64,
    /// The weight of all slots.
    weight: usize,
    /// More jobs may be pushed.
    open: bool,
}

struct Entry<J, T> {
    weight: usize,
    slot: Slot<J, T>,
}

enum Slot<J, T> {
    Waiting(J),
    Running,
    /// `None`: the worker panicked.
    Done(Option<T>),
}

impl<J, T> Slot<J, T> {
    /// The job of a waiting slot, which runs from now on.
    fn take_waiting(&mut self) -> Option<J> {
        match std::mem::replace(self, Self::Running) {
            Self::Waiting(job) => Some(job),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// The window takes no more jobs.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

/// What the writer finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// The outcome of the next job in order; `None` when its worker panicked.
    Outcome(Option<T>),
    /// The next job is not done yet.
    NotYet,
    /// The window is closed and every outcome has been handed out.
    End,
}

impl<J, T> Window<J, T> {
    /// A window of at most `max_slots` jobs and `max_weight` of weight (a single heavier job is let in alone).
    pub fn new(max_slots: usize, max_weight: usize) -> Self {
        let state = State { slots: VecDeque::new(), first: 0, taken: 0, weight: 0, open: true };
        Self {
            max_slots: max_slots.max(1),
            max_weight,
            state: Mutex::new(state),
            room: Condvar::new(),
            work: Condvar::new(),
            done: Condvar::new(),
        }
    }

    /// Adds a job behind all others; waits for room.
    ///
    /// # Errors
    ///
    /// `Closed` when the window was closed or stopped, before or during the wait; the job is dropped.
    pub fn push(&self, job: J, weight: usize) -> Result<(), Closed> {
        self.push_slot(Slot::Waiting(job), weight)
    }

    /// Adds an outcome that needs no worker, in its place behind all jobs pushed so far; waits for room.
    ///
    /// # Errors
    ///
    /// As [`Window::push`].
    pub fn push_outcome(&self, outcome: T) -> Result<(), Closed> {
        self.push_slot(Slot::Done(Some(outcome)), 0)
    }

    fn push_slot(&self, slot: Slot<J, T>, weight: usize) -> Result<(), Closed> {
        let mut state = self.lock();
        while state.open && !state.has_room(weight, self.max_slots, self.max_weight) {
            state = wait(&self.room, state);
        }
        if !state.open {
            // `slot` was moved in by value and outlives the guard: it is dropped after the unlock.
            drop(state);
            return Err(Closed);
        }
        state.weight += weight;
        state.slots.push_back(Entry { weight, slot });
        drop(state);
        self.work.notify_one();
        self.done.notify_one();
        Ok(())
    }

    /// Says that no more jobs will come. What is in the window runs to its end.
    pub fn close(&self) {
        self.lock().open = false;
        self.wake_all();
    }

    /// Closes the window and drops the jobs that no worker has taken yet.
    pub fn stop(&self) {
        let dropped = {
            let mut state = self.lock();
            state.open = false;
            let kept = state.taken_slots();
            let dropped = state.slots.split_off(kept);
            state.weight -= dropped.iter().map(|entry| entry.weight).sum::<usize>();
            dropped
        };
        self.wake_all();
        drop(dropped);
    }

    /// Runs jobs on the calling thread, as they come, until the window is closed and no job waits.
    pub fn work(&self, mut run: impl FnMut(J) -> T) {
        while let Some((sequence, job)) = self.take() {
            let mut ticket = Ticket { window: self, sequence, outcome: None };
            ticket.outcome = Some(run(job));
        }
    }

    fn take(&self) -> Option<(u64, J)> {
        let mut state = self.lock();
        loop {
            let index = state.taken_slots();
            let Some(entry) = state.slots.get_mut(index) else {
                if !state.open {
                    return None;
                }
                state = wait(&self.work, state);
                continue;
            };
            let job = entry.slot.take_waiting();
            let sequence = state.taken;
            state.taken += 1;
            // Without a job, the slot has an outcome that was pushed as such; there is nothing to do for it.
            if let Some(job) = job {
                return Some((sequence, job));
            }
        }
    }

    /// The next outcome in order, if it is there. Never waits.
    pub fn try_next(&self) -> Next<T> {
        let mut state = self.lock();
        let next = state.pop();
        drop(state);
        if matches!(next, Next::Outcome(_)) {
            self.room.notify_one();
        }
        next
    }

    /// The next outcome in order; waits for it. Never answers [`Next::NotYet`].
    pub fn next(&self) -> Next<T> {
        let mut state = self.lock();
        let next = loop {
            match state.pop() {
                Next::NotYet => state = wait(&self.done, state),
                next => break next,
            }
        };
        drop(state);
        self.room.notify_one();
        next
    }

    fn finish(&self, sequence: u64, outcome: Option<T>) {
        let mut state = self.lock();
        let index = usize::try_from(sequence - state.first).expect("W1: a running job is inside the window");
        state.slots[index].slot = Slot::Done(outcome);
        drop(state);
        self.done.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<J, T>> {
        // Nothing that can panic runs under the lock, so a poisoned one guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        self.room.notify_all();
        self.work.notify_all();
        self.done.notify_all();
    }
}

impl<J, T> State<J, T> {
    fn has_room(&self, weight: usize, max_slots: usize, max_weight: usize) -> bool {
        self.slots.is_empty() || (self.slots.len() < max_slots && self.weight.saturating_add(weight) <= max_weight)
    }

    /// How many slots lie before `taken`.
    fn taken_slots(&self) -> usize {
        usize::try_from(self.taken - self.first).expect("W1: `taken` is inside the window")
    }

    fn pop(&mut self) -> Next<T> {
        match self.slots.front_mut().map(|entry| &mut entry.slot) {
            Some(Slot::Done(outcome)) => {
                let outcome = outcome.take();
                let entry = self.slots.pop_front().expect("the front slot was seen under this lock");
                self.weight -= entry.weight;
                self.first += 1;
                // An outcome that was pushed as such may be handed out before a worker has passed it.
                self.taken = self.taken.max(self.first);
                Next::Outcome(outcome)
            }
            None if !self.open => Next::End,
            _ => Next::NotYet,
        }
    }
}

/// Delivers the outcome of one job when dropped, whatever became of its worker.
struct Ticket<'a, J, T> {
    window: &'a Window<J, T>,
    sequence: u64,
    outcome: Option<T>,
}

impl<J, T> Drop for Ticket<'_, J, T> {
    fn drop(&mut self) {
        self.window.finish(self.sequence, self.outcome.take());
    }
}

fn wait<'a, S>(condition: &Condvar, guard: MutexGuard<'a, S>) -> MutexGuard<'a, S> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Sends jobs through; checks that all come out in order, and the window's bounds [W2] after every push.
    fn send_through(max_slots: usize, max_weight: usize, weight: fn(u64) -> usize) {
        const JOBS: u64 = 5000;
        let window = Window::new(max_slots, max_weight);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                // Judged after the end: a panic here would leave the window open and the other threads waiting.
                let mut excess = None;
                for job in 0..JOBS {
                    window.push(job, weight(job)).unwrap();
                    let state = window.lock();
                    let (jobs, inside) =
                        (state.slots.len(), state.slots.iter().map(|entry| entry.weight).sum::<usize>());
                    if jobs > max_slots || (inside > max_weight && jobs > 1) || inside != state.weight {
                        excess = Some((jobs, inside));
                    }
                }
                window.close();
                excess
            });
            for _ in 0..4 {
                scope.spawn(|| {
                    window.work(|job| {
                        // Uneven work, so that jobs finish out of order.
                        (0..(job * 7919) % 50).for_each(|_| thread::yield_now());
                        job * 2
                    });
                });
            }
            for job in 0..JOBS {
                assert_eq!(window.next(), Next::Outcome(Some(job * 2)));
            }
            assert_eq!(window.next(), Next::End);
            assert_eq!(reader.join().unwrap(), None, "jobs and weight inside, for {max_slots} and {max_weight}");
        });
    }

    #[test]
    fn outcomes_come_in_the_order_of_the_jobs_and_slots_are_bounded() {
        send_through(7, usize::MAX, |_| 1);
    }

    #[test]
    fn weight_is_bounded_and_a_heavy_job_passes_alone() {
        send_through(1000, 10, |job| if job % 100 == 0 { 25 } else { (job % 4) as usize });
    }

    #[test]
    fn stop_drops_what_waits_and_keeps_what_runs() {
        let window = Window::<u32, u32>::new(10, 100);
        for job in 0..4 {
            window.push(job, 1).unwrap();
        }
        assert_eq!(window.take(), Some((0, 0)));
        assert_eq!(window.take(), Some((1, 1)));
        window.stop();
        assert_eq!(window.push(9, 1), Err(Closed));
        assert_eq!(window.take(), None);
        window.finish(1, Some(11));
        assert_eq!(window.try_next(), Next::NotYet);
        window.finish(0, Some(10));
        assert_eq!(window.try_next(), Next::Outcome(Some(10)));
        assert_eq!(window.try_next(), Next::Outcome(Some(11)));
        assert_eq!(window.try_next(), Next::End);
        assert_eq!(window.lock().weight, 0);
    }

    #[test]
    fn stop_wakes_a_reader_that_waits_for_room() {
        let window = Window::<u32, u32>::new(1, 100);
        window.push(0, 1).unwrap();
        thread::scope(|scope| {
            let reader = scope.spawn(|| window.push(1, 1));
            window.stop();
            assert_eq!(reader.join().unwrap(), Err(Closed));
        });
    }

    #[test]
    fn an_outcome_pushed_as_such_comes_in_its_place() {
        let window = Window::<u32, Result<u32, &str>>::new(10, 100);
        window.push(0, 1).unwrap();
        window.push_outcome(Err("line 2")).unwrap();
        window.close();
        window.work(Ok);
        assert_eq!(window.next(), Next::Outcome(Some(Ok(0))));
        assert_eq!(window.next(), Next::Outcome(Some(Err("line 2"))));
        assert_eq!(window.next(), Next::End);
        // Alone, and read before any worker looks.
        let window = Window::<u32, u32>::new(10, 100);
        window.push_outcome(5).unwrap();
        assert_eq!(window.next(), Next::Outcome(Some(5)));
        window.push(6, 1).unwrap();
        window.close();
        window.work(|job| job);
        assert_eq!(window.next(), Next::Outcome(Some(6)));
    }

    #[test]
    fn a_panicking_worker_leaves_an_empty_outcome() {
        let window = Window::<u32, u32>::new(10, 100);
        window.push(0, 1).unwrap();
        window.push(1, 1).unwrap();
        window.close();
        let worker = thread::scope(|scope| scope.spawn(|| window.work(|_| panic!("on purpose"))).join());
        assert!(worker.is_err());
        assert_eq!(window.next(), Next::Outcome(None));
        window.work(|job| job);
        assert_eq!(window.next(), Next::Outcome(Some(1)));
        assert_eq!(window.next(), Next::End);
    }
}
