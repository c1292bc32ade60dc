//! Timelines: counters that lists raise as they complete, and that lists and host threads wait for.

use crate::queue::Lane;
use crate::sync::{deadline, lock, wait_until};
use smallvec::SmallVec;
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use thalweg_hal::{Error, Report, Reported, Result, Timeline, Violation, Wait, unique_id};

/// The handle that the HAL hands out; lists hold the counter itself.
#[derive(Debug)]
pub struct CpuTimeline(Arc<Counter>);

impl CpuTimeline {
    pub fn new(bell: &Arc<Bell>) -> Self {
        let (completed, state, reached) = (AtomicU64::new(0), Mutex::default(), Condvar::new());
        Self(Arc::new(Counter { id: unique_id(), bell: bell.clone(), completed, state, reached }))
    }
}

/// What a timeline is.
///
/// A value goes through three states: *promised* when a list that signals it is submitted, *settled* when that list has
/// run, *reached* when it and every lower promise are settled. Only the last can be seen from outside.
pub struct Counter {
    id: u64,
    /// Rung whenever the timeline rises. Also says which pool the timeline belongs to.
    bell: Arc<Bell>,
    /// The highest value reached. Written under `state`, with Release; pairs with the Acquire in `completed`.
    completed: AtomicU64,
    state: Mutex<State>,
    /// Notified when the timeline rises and `State::waiters` is not 0.
    reached: Condvar,
}

#[derive(Default)]
struct State {
    /// The promises not yet reached, rising. Pushed by `submit`, settled by workers.
    promises: VecDeque<Promise>,
    /// The highest value ever promised; 0 as long as no queue signals this timeline.
    promised: u64,
    /// Reports on lists of reached values, rising, not yet taken.
    reports: Vec<Report>,
    /// Lanes whose head waits for a value that is not reached. A lane is in at most one such list.
    blocked: Vec<(u64, Arc<Lane>)>,
    /// Host threads in `wait`.
    waiters: usize,
    /// Threads in `wait_any` that watch this timeline.
    watchers: usize,
    /// Nobody may wait any more.
    interrupted: bool,
}

struct Promise {
    value: u64,
    /// What there is to say of the list's commands; `None` until it has run.
    outcome: Option<Vec<(u32, Reported)>>,
}

/// What has to be done after a value was settled, with no lock held.
#[derive(Default)]
#[must_use]
pub struct Settled {
    /// Lanes whose wait is met: each has to be looked at again.
    pub lanes: SmallVec<[Arc<Lane>; 4]>,
    waiters: bool,
    watchers: bool,
}

impl Counter {
    /// The counter behind a timeline of this pool.
    ///
    /// # Errors
    /// [`Error::ForeignObject`] if it is of another backend or of another pool, which could not be woken from here.
    pub fn of(timeline: &Arc<dyn Timeline>, bell: &Bell) -> Result<Arc<Self>> {
        let counter = timeline.as_any().downcast_ref().map(|CpuTimeline(counter)| counter);
        let counter = counter.filter(|counter| counter.bell.id == bell.id);
        counter.cloned().ok_or_else(|| Error::ForeignObject { device: crate::NAME.to_owned(), what: "timeline" })
    }

    /// The highest value reached.
    pub fn completed(&self) -> u64 {
        // Acquire: pairs with the Release stores in `settle` and `signal`.
        self.completed.load(Ordering::Acquire)
    }

    /// Checks that a list may wait for the value (I1).
    ///
    /// # Errors
    /// If no submitted list signals it or a higher one.
    pub fn check_wait(&self, value: u64) -> Result<(), Violation> {
        let submitted = lock(&self.state).promised;
        if value <= submitted {
            return Ok(());
        }
        Err(Violation::WaitNotSubmitted { timeline: self.id, value, submitted })
    }

    /// Promises a value on behalf of a list that is being submitted.
    ///
    /// # Errors
    /// If the value is not above all others.
    pub fn promise(&self, value: u64) -> Result<(), Violation> {
        let mut state = lock(&self.state);
        let promised = state.promised.max(self.completed());
        if value <= promised {
            return Err(Violation::SignalNotRising { timeline: self.id, value, promised });
        }
        state.promised = value;
        state.promises.push_back(Promise { value, outcome: None });
        Ok(())
    }

    /// Registers a lane to be returned by the `settle` that reaches the value; `false`, and nothing registered, if it
    /// is reached already.
    pub fn block(&self, value: u64, lane: &Arc<Lane>) -> bool {
        let mut state = lock(&self.state);
        let blocked = self.completed() < value;
        if blocked {
            state.blocked.push((value, lane.clone()));
        }
        blocked
    }

    /// Says that the list which promised the value has run. Publishes the reports, then the values that are now reached.
    pub fn settle(&self, value: u64, outcome: Vec<(u32, Reported)>) -> Settled {
        let mut state = lock(&self.state);
        if let Ok(at) = state.promises.binary_search_by_key(&value, |promise| promise.value) {
            state.promises[at].outcome = Some(outcome);
        } else {
            debug_assert!(false, "value {value} of timeline {} settled twice or never promised", self.id);
        }
        // Lists of several queues may signal one timeline; a value waits for the lower ones.
        let mut reached = None;
        while let Some(Promise { outcome: Some(_), .. }) = state.promises.front() {
            if let Some(Promise { value, outcome }) = state.promises.pop_front() {
                let reports = outcome.into_iter().flatten();
                state.reports.extend(reports.map(|(command, what)| Report { value, command, what }));
                reached = Some(value);
            }
        }
        let mut settled = Settled::default();
        if let Some(reached) = reached {
            (settled.waiters, settled.watchers) = (state.waiters > 0, state.watchers > 0);
            // Release: pairs with the Acquire in `completed`. The reports are in place.
            self.completed.store(reached, Ordering::Release);
            state.blocked.retain(|(value, lane)| {
                let waits = *value > reached;
                if !waits {
                    settled.lanes.push(lane.clone());
                }
                waits
            });
        }
        settled
    }

    /// Wakes the host threads that a `settle` concerns: those that wait for this timeline, and those in `wait_any`.
    pub fn announce(&self, settled: &Settled) {
        if settled.waiters {
            self.reached.notify_all();
        }
        if settled.watchers {
            self.bell.ring();
        }
    }
}

impl Timeline for CpuTimeline {
    fn id(&self) -> u64 {
        self.0.id
    }

    fn completed(&self) -> u64 {
        self.0.completed()
    }

    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        let counter = &*self.0;
        if counter.completed() >= value {
            return Ok(true);
        }
        let deadline = deadline(timeout);
        let mut state = lock(&counter.state);
        // The value rises under the lock, so it cannot do so between the look and the wait.
        while counter.completed() < value {
            if state.interrupted {
                return Ok(false);
            }
            state.waiters += 1;
            let woken = wait_until(&counter.reached, state, deadline);
            let over = woken.is_none();
            state = woken.unwrap_or_else(|| lock(&counter.state));
            state.waiters -= 1;
            if over {
                return Ok(counter.completed() >= value);
            }
        }
        Ok(true)
    }

    fn interrupt(&self) {
        lock(&self.0.state).interrupted = true;
        self.0.reached.notify_all();
    }

    /// Does nothing on a timeline that a queue signals: the host cannot complete a list, and lists that wait for it
    /// rely on that.
    fn signal(&self, value: u64) {
        let counter = &*self.0;
        let state = lock(&counter.state);
        if state.promised != 0 || value <= counter.completed() {
            return;
        }
        // Release: pairs with the Acquire in `completed`.
        counter.completed.store(value, Ordering::Release);
        let (waiters, watchers) = (state.waiters > 0, state.watchers > 0);
        let settled = Settled { lanes: SmallVec::new(), waiters, watchers };
        drop(state);
        counter.announce(&settled);
    }

    fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut lock(&self.0.state).reports)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only what needs no lock: a timeline may be printed from anywhere.
        f.debug_struct("Counter").field("id", &self.id).field("completed", &self.completed()).finish_non_exhaustive()
    }
}

/// A thread's registration with the timelines that it watches. Values rise under the same lock: one that rises before it is
/// registered is seen when it looks, and one that rises later rings the bell.
struct Watching(SmallVec<[Arc<Counter>; 8]>);

impl Watching {
    fn start(counters: SmallVec<[Arc<Counter>; 8]>) -> Self {
        counters.iter().for_each(|counter| lock(&counter.state).watchers += 1);
        Self(counters)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.iter().for_each(|counter| lock(&counter.state).watchers -= 1);
    }
}

/// Wakes the threads in `wait_any` whenever a timeline rises that one of them watches.
#[derive(Debug)]
pub struct Bell {
    /// Names the pool.
    id: u64,
    /// Threads in `wait_any`.
    watchers: Mutex<usize>,
    rung: Condvar,
}

impl Bell {
    pub fn new() -> Self {
        Self { id: unique_id(), watchers: Mutex::new(0), rung: Condvar::new() }
    }

    /// Called after a timeline rose that somebody watches. The lock loses no wake-up: a watcher either looks after it, and
    /// sees the new value, or is counted before it.
    fn ring(&self) {
        let watchers = *lock(&self.watchers);
        if watchers > 0 {
            self.rung.notify_all();
        }
    }

    /// Blocks until one of the values is reached, or the timeout is over. Returns at once if nothing is watched and
    /// there is no timeout.
    ///
    /// # Errors
    /// [`Error::ForeignObject`] for a timeline that does not ring this bell.
    pub fn wait_any(&self, watch: &[Wait], timeout: Option<Duration>) -> Result<()> {
        let counters: SmallVec<[_; 8]> =
            watch.iter().map(|wait| Counter::of(&wait.timeline, self)).collect::<Result<_>>()?;
        if watch.is_empty() && timeout.is_none() {
            return Ok(());
        }
        let deadline: Option<Instant> = deadline(timeout);
        let _watching = Watching::start(counters);
        let mut watchers = lock(&self.watchers);
        while !watch.iter().any(|wait| wait.timeline.completed() >= wait.value) {
            *watchers += 1;
            let woken = wait_until(&self.rung, watchers, deadline);
            let over = woken.is_none();
            watchers = woken.unwrap_or_else(|| lock(&self.watchers));
            *watchers -= 1;
            if over {
                break;
            }
        }
        Ok(())
    }
}
