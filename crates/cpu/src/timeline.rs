//! Timelines: counters that lists raise as they complete, and that lists and host threads wait for. Doorbells: counters
//! that the host raises.

use crate::queue::Lane;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, deadline, lock, wait_until};
use smallvec::SmallVec;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_hal::{Doorbell, Error, Listener, Report, Reported, Result, Timeline, TimelinePoint, unique_id};

/// The handle that the HAL hands out; lists hold the counter itself.
#[derive(Debug)]
pub struct CpuTimeline(pub Arc<Counter>);

/// What a timeline is.
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
    /// Reports on lists of reached values, rising, not yet taken.
    reports: Vec<Report>,
    /// Lanes with a head that waits for a value that is not reached. A lane is in at most one such list.
    blocked: Vec<(u64, Arc<Lane>)>,
    /// Host threads in `wait`.
    waiters: usize,
    /// Threads in `wait_any` that watch this timeline.
    watchers: usize,
    /// Nobody may wait any more.
    interrupted: bool,
}

/// What has to be done after a value was settled, with no lock held.
#[derive(Default)]
#[must_use]
pub struct Settled {
    /// Lanes that wait no more: each has to be looked at again.
    pub lanes: SmallVec<[Arc<Lane>; 4]>,
    waiters: bool,
    watchers: bool,
}

impl Counter {
    pub fn new(bell: &Arc<Bell>) -> Arc<Self> {
        let (completed, state, reached) = (AtomicU64::new(0), Mutex::default(), Condvar::new());
        Arc::new(Self { id: unique_id(), bell: bell.clone(), completed, state, reached })
    }

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
        // Acquire: pairs with the Release in `settle`.
        self.completed.load(Ordering::Acquire)
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

    /// Says that the list with this value has run. Publishes the reports, then the value. Lists of a lane run in order,
    /// so the values rise.
    pub fn settle(&self, value: u64, outcome: Vec<(u32, Reported)>) -> Settled {
        let mut state = lock(&self.state);
        debug_assert!(value > self.completed(), "value {value} of timeline {} does not rise", self.id);
        state.reports.extend(outcome.into_iter().map(|(command, what)| Report { value, command, what }));
        // Release: pairs with the Acquire in `completed`. The reports are in place.
        self.completed.store(value, Ordering::Release);
        let mut lanes = SmallVec::new();
        lanes.extend(state.blocked.extract_if(.., |(awaited, _)| *awaited <= value).map(|(_, lane)| lane));
        Settled { lanes, waiters: state.waiters > 0, watchers: state.watchers > 0 }
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

/// A thread's registration with the timelines that it watches. Values rise under the same lock: one that rises before
/// it is registered is seen when it looks, and one that rises later rings the bell.
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

/// A doorbell of this pool.
#[derive(Debug)]
pub struct CpuDoorbell {
    rings: AtomicU64,
    bell: Arc<Bell>,
}

impl CpuDoorbell {
    pub fn new(bell: &Arc<Bell>) -> Self {
        Self { rings: AtomicU64::new(0), bell: bell.clone() }
    }
}

impl Doorbell for CpuDoorbell {
    fn ring(&self) {
        // Release: pairs with the Acquire in `rings`.
        self.rings.fetch_add(1, Ordering::Release);
        self.bell.ring();
    }

    fn rings(&self) -> u64 {
        self.rings.load(Ordering::Acquire)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Wakes the threads in `wait_any` whenever a timeline rises that one of them watches, or a doorbell is rung.
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

    /// Called after a timeline rose that somebody watches, or a doorbell was rung. The lock loses no wake-up: a watcher
    /// either looks after it, and sees the new value, or is counted before it.
    fn ring(&self) {
        let watchers = *lock(&self.watchers);
        if watchers > 0 {
            self.rung.notify_all();
        }
    }

    /// Blocks until one of the points is reached, the doorbell is rung, or the timeout is over. Returns at once if
    /// there is nothing of all that.
    ///
    /// # Errors
    /// [`Error::ForeignObject`] for a timeline or a doorbell that does not ring this bell.
    pub fn wait_any(
        &self,
        points: &[TimelinePoint],
        listener: Option<&Listener>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let counters: SmallVec<[_; 8]> =
            points.iter().map(|point| Counter::of(&point.timeline, self)).collect::<Result<_>>()?;
        if let Some(listener) = listener {
            let own = listener.doorbell.as_any().downcast_ref::<CpuDoorbell>();
            if own.is_none_or(|own| own.bell.id != self.id) {
                return Err(Error::ForeignObject { device: crate::NAME.to_owned(), what: "doorbell" });
            }
        }
        if points.is_empty() && listener.is_none() && timeout.is_none() {
            return Ok(());
        }
        let deadline: Option<Instant> = deadline(timeout);
        let _watching = Watching::start(counters);
        let mut watchers = lock(&self.watchers);
        while !points.iter().any(TimelinePoint::is_reached) && !listener.is_some_and(Listener::is_rung) {
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
