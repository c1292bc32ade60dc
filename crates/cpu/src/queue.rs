//! Queues: lanes of lists that run in order.

use crate::executor::WorkerPool;
use crate::run::Progress;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::timeline::{Counter, CpuTimeline};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{Limits, List, Queue, Result, Submission, Timeline};

/// The submitting end of a lane. Keeps the pool alive.
pub struct CpuQueue {
    lane: Arc<Lane>,
    /// The lane's.
    timeline: Arc<dyn Timeline>,
    pool: Arc<WorkerPool>,
    limits: Limits,
}

impl fmt::Debug for CpuQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuQueue({:?})", self.timeline)
    }
}

impl CpuQueue {
    pub fn new(pool: &Arc<WorkerPool>, limits: Limits) -> Self {
        let timeline = Counter::new(pool.bell());
        let lane = Lane::new(&timeline, pool.newcomer());
        Self { lane, timeline: Arc::new(CpuTimeline(timeline)), pool: pool.clone(), limits }
    }
}

impl Queue for CpuQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        &self.timeline
    }

    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        let Submission { list, waits, value } = submission;
        debug_assert_eq!(list.check(&self.limits), Ok(()), "a promise of `Queue::submit`");
        let mut unmet = SmallVec::new();
        for wait in waits {
            unmet.push((Counter::of(&wait.timeline, self.pool.bell())?, wait.value));
        }
        if self.lane.push(Task::new(list, unmet, value)) {
            self.pool.schedule(&self.lane);
        }
        Ok(())
    }
}

/// A submitted list.
#[derive(Debug)]
pub struct Task {
    /// What to run.
    pub list: Arc<List>,
    /// Values that are not known to be reached.
    unmet: SmallVec<[(Arc<Counter>, u64); 4]>,
    /// What the lane's timeline reaches when the list has run.
    pub value: u64,
    /// How far it has come.
    pub progress: Progress,
}

impl Task {
    /// A list that has not begun, the values that it waits for, and its own.
    pub fn new(list: &Arc<List>, unmet: SmallVec<[(Arc<Counter>, u64); 4]>, value: u64) -> Self {
        Self { list: list.clone(), unmet, value, progress: Progress::default() }
    }
}

/// The lists of one queue, in order.
///
/// | state of the lane | `busy` | who moves it on |
/// |---|---|---|
/// | empty | no | `push` |
/// | head waits for a value | yes | the thread that reaches the value, by `resume` |
/// | head runnable | yes | a worker, by `take` |
/// | head taken and running | yes | that worker, by `finish`, or by `put_back` if the list yields |
/// | head yielded: runnable | yes | a worker, by `take` |
///
/// So at most one thread at a time is responsible for a lane, and only `push` may find it without one.
pub struct Lane {
    /// Raised by each list that has run.
    pub timeline: Arc<Counter>,
    /// Nanoseconds: its virtual time when it last stopped running. Written by the worker that runs it, read by the
    /// thread that next hands it to the run queue, which was told to by that worker or by the lane's lock: Relaxed.
    used: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Pushed by the submitting thread, popped by workers.
    pending: VecDeque<Task>,
    busy: bool,
}

impl Lane {
    /// A lane without lists, for this timeline and with this virtual time.
    pub fn new(timeline: &Arc<Counter>, used: Duration) -> Arc<Self> {
        let (used, state) = (AtomicU64::new(nanoseconds(used)), Mutex::new(State::default()));
        Arc::new(Self { timeline: timeline.clone(), used, state })
    }

    /// Appends a list. `true` if the lane has become runnable.
    pub fn push(self: &Arc<Self>, task: Task) -> bool {
        let mut state = lock(&self.state);
        state.pending.push_back(task);
        !state.busy && self.arm(&mut state)
    }

    /// Looks at the head again after a value that it waited for was reached. `true` if the lane has become runnable.
    pub fn resume(self: &Arc<Self>) -> bool {
        self.arm(&mut lock(&self.state))
    }

    /// Takes the head of a runnable lane. `None` only for a lane that is not runnable.
    pub fn take(&self) -> Option<Task> {
        lock(&self.state).pending.pop_front()
    }

    /// A list that was taken has yielded: it is the head again, and the lane runnable.
    pub fn put_back(&self, task: Task) {
        lock(&self.state).pending.push_front(task);
    }

    /// What the lane has used, as [`Fair`](crate::fair::Fair) counts.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// The lane has stopped running.
    pub fn set_used(&self, used: Duration) {
        self.used.store(nanoseconds(used), Ordering::Relaxed);
    }

    /// Goes on after the list that was taken has run. `true` if the lane is runnable again.
    pub fn finish(self: &Arc<Self>) -> bool {
        self.arm(&mut lock(&self.state))
    }

    /// Strikes the head's met waits, and registers the lane with the first that is not. `true` if none is left.
    ///
    /// One wait at a time is enough, because all of them have to be met. Under the lane's lock, so that a value
    /// reached right after `block` finds the lane in order.
    fn arm(self: &Arc<Self>, state: &mut State) -> bool {
        let Some(head) = state.pending.front_mut() else {
            state.busy = false;
            return false;
        };
        state.busy = true;
        while let Some((counter, value)) = head.unmet.last() {
            if counter.block(*value, self) {
                return false;
            }
            head.unmet.pop();
        }
        true
    }
}

/// 584 years of them.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Lanes, lists and timelines name each other; the lists are not printed.
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}
