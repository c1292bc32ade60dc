//! Timelines: timeline semaphores, and the lists that are to raise them.
//!
//! The driver raises the value; nobody of ours is told. So what has to be done once a list has run (its reports, the use of
//! its command buffer again, the end of its hold on memory) is done by whoever asks next.

use crate::NAME;
use crate::context::Context;
use crate::slots::{Slot, Slots};
use crate::sync::lock;
use ash::vk;
use smallvec::SmallVec;
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use thalweg_hal::{Error, List, Report, Result, Timeline, Violation, Wait, unique_id};

/// How long a wait stays in the driver before it looks again: whether it was interrupted, for which the driver has no call, and
/// whether the value is there. NVIDIA's driver, asked by two threads for one semaphore, wakes the second of them only when
/// its time is over (seen with 580.159 on an H200).
const SLICE: Duration = Duration::from_millis(1);
/// How long the reaper stays in the driver, if nothing says otherwise.
const LONG: Duration = Duration::from_secs(1);
/// How long each of several timelines is waited for in turn, where the driver cannot wait for all of them.
const TURN: Duration = Duration::from_micros(500);

/// The handle that the HAL hands out; lists in flight hold the counter itself.
#[derive(Debug)]
pub struct VulkanTimeline(pub Arc<Counter>);

/// What a timeline is.
pub struct Counter {
    id: u64,
    semaphore: Arc<Semaphore>,
    context: Arc<Context>,
    /// The highest value that the driver is known to have reached. Raised by whoever asks; Release, pairs with the Acquire
    /// in `known`.
    known: AtomicU64,
    /// The highest value that a submitted list signals. Written after the submit call: Release; pairs with the Acquire in
    /// `check_wait` and `completed`.
    submitted: AtomicU64,
    interrupted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The highest value that a list is about to signal, or signals.
    claimed: u64,
    /// The queue that signals it.
    queue: u64,
    /// Lists that have not been collected, rising.
    running: VecDeque<Running>,
    /// Reports not yet taken.
    reports: Vec<Report>,
}

/// A driver's semaphore. Held by its timeline, and by every list that waits for it.
///
/// Never destroyed before its device: a driver may look at a semaphore for a moment after its value can be seen (Mesa's does).
/// It serves the next timeline instead, whose values are counted from where the last one's ended.
pub struct Semaphore {
    raw: vk::Semaphore,
    base: u64,
    context: Arc<Context>,
}

impl Semaphore {
    fn new(context: &Arc<Context>) -> Result<Self> {
        let device = &context.device;
        if let Some(raw) = context.used_semaphore() {
            // SAFETY: the semaphore is the device's, and destroyed with it.
            match unsafe { device.get_semaphore_counter_value(raw) } {
                Ok(base) => return Ok(Self { raw, base, context: Arc::clone(context) }),
                Err(error) => {
                    context.keep_semaphore(raw);
                    return Err(context.error("vkGetSemaphoreCounterValue", error));
                }
            }
        }
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: the device has timeline semaphores.
        let raw = unsafe { device.create_semaphore(&info, None) };
        let raw = raw.map_err(|e| context.error("vkCreateSemaphore", e))?;
        Ok(Self { raw, base: 0, context: Arc::clone(context) })
    }

    pub fn raw(&self) -> vk::Semaphore {
        self.raw
    }

    /// What the driver calls a value of the timeline.
    pub fn value(&self, value: u64) -> u64 {
        self.base.saturating_add(value)
    }

    /// The timeline's value that is reached.
    fn reached(&self) -> Result<u64> {
        // SAFETY: the semaphore is held.
        let value = unsafe { self.context.device.get_semaphore_counter_value(self.raw) };
        let value = value.map_err(|error| self.context.error("vkGetSemaphoreCounterValue", error))?;
        Ok(value.saturating_sub(self.base))
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // Lists that wait for it or signal it hold it until they have run, so its value stays as it is.
        self.context.keep_semaphore(self.raw);
    }
}

/// A list that was submitted, or is about to be: what the device uses until it has run.
pub struct Running {
    pub value: u64,
    pub list: Arc<List>,
    pub slot: Slot,
    /// Where the slot came from.
    pub home: Arc<Slots>,
    /// What it waits for: held, and never looked at. Not the timelines, which may hold each other's lists.
    pub _waits: SmallVec<[Arc<Semaphore>; 4]>,
}

/// A timeline that was dropped while lists were to raise it.
pub struct Orphan {
    semaphore: Arc<Semaphore>,
    last: u64,
    running: VecDeque<Running>,
}

impl Counter {
    pub fn new(context: &Arc<Context>) -> Result<Self> {
        context.check()?;
        context.bury();
        Ok(Self {
            id: unique_id(),
            semaphore: Arc::new(Semaphore::new(context)?),
            context: Arc::clone(context),
            known: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// The counter behind a timeline of this device.
    ///
    /// # Errors
    /// [`Error::ForeignObject`].
    pub fn of<'a>(timeline: &'a Arc<dyn Timeline>, context: &Context) -> Result<&'a Arc<Self>> {
        let counter = timeline.as_any().downcast_ref().map(|VulkanTimeline(counter)| counter);
        let counter = counter.filter(|counter| counter.context.id == context.id);
        counter.ok_or_else(|| Error::ForeignObject { device: NAME.to_owned(), what: "timeline" })
    }

    /// The semaphore, for a list to wait for or to signal.
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }

    /// Checks that a list may wait for the value (I1).
    ///
    /// # Errors
    /// If no submitted list signals it or a higher one.
    pub fn check_wait(&self, value: u64) -> Result<(), Violation> {
        let submitted = self.submitted.load(Ordering::Acquire).max(self.known.load(Ordering::Acquire));
        if value <= submitted {
            return Ok(());
        }
        Err(Violation::WaitNotSubmitted { timeline: self.id, value, submitted })
    }

    /// Claims a value for a list that is about to be submitted by a queue. Says which value of another queue has to be
    /// reached before: a semaphore may not be raised out of order.
    ///
    /// # Errors
    /// If the value is not above all others.
    pub fn claim(&self, value: u64, queue: u64) -> Result<Claim, Violation> {
        let mut state = lock(&self.state);
        let promised = state.claimed.max(self.known.load(Ordering::Acquire));
        if value <= promised {
            return Err(Violation::SignalNotRising { timeline: self.id, value, promised });
        }
        let before = (state.claimed, state.queue);
        (state.claimed, state.queue) = (value, queue);
        Ok(Claim { before, after: (before.0 > 0 && before.1 != queue).then_some(before.0) })
    }

    /// Enters a list, before it is submitted: it may have run before the submit call returns.
    pub fn enter(&self, running: Running) {
        lock(&self.state).running.push_back(running);
    }

    /// The list was submitted.
    pub fn submitted(&self, value: u64) {
        self.submitted.fetch_max(value, Ordering::Release);
    }

    /// The driver did not take the list with this value: it is as if it had never been tried.
    pub fn withdraw(&self, value: u64, claim: &Claim) -> Option<Running> {
        let mut state = lock(&self.state);
        if state.claimed == value {
            (state.claimed, state.queue) = claim.before;
        }
        let at = state.running.iter().position(|running| running.value == value)?;
        state.running.remove(at)
    }

    /// The value reached.
    fn reached(&self) -> u64 {
        let known = self.known.load(Ordering::Acquire);
        // Nothing is on its way. (The host's signals are entered at once.)
        if known >= self.submitted.load(Ordering::Acquire) {
            return known;
        }
        match self.semaphore.reached() {
            Ok(value) => self.known.fetch_max(value, Ordering::AcqRel).max(value),
            // A lost device is remembered; there is nobody to tell here.
            Err(_) => known,
        }
    }

    /// Collects the lists that have run.
    pub fn collect(&self) {
        let reached = self.reached();
        let mut done = SmallVec::<[Running; 4]>::new();
        let mut state = lock(&self.state);
        while state.running.front().is_some_and(|running| running.value <= reached) {
            let Some(running) = state.running.pop_front() else { break };
            let State { reports, .. } = &mut *state;
            running.slot.report(&self.context, &running.list, running.value, reports);
            done.push(running);
        }
        drop(state);
        done.into_iter().for_each(Running::finish);
    }

    /// Waits for the value, at most so long. Whether it was reached.
    fn wait_slice(&self, value: u64, slice: Duration) -> Result<bool> {
        let (semaphores, values) = ([self.semaphore.raw], [self.semaphore.value(value)]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        wait(&self.context, &info, slice)
    }
}

/// A claimed value.
pub struct Claim {
    before: (u64, u64),
    /// The value to wait for first.
    pub after: Option<u64>,
}

impl Running {
    /// The device is done with the list.
    pub fn finish(self) {
        self.home.give_back(self.slot);
    }
}

impl Timeline for VulkanTimeline {
    fn id(&self) -> u64 {
        self.0.id
    }

    fn completed(&self) -> u64 {
        self.0.reached()
    }

    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        let counter = &*self.0;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if counter.reached() >= value {
                return Ok(true);
            }
            counter.context.check()?;
            // Acquire: pairs with the Release in `interrupt`.
            if counter.interrupted.load(Ordering::Acquire) {
                return Ok(false);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            if counter.wait_slice(value, left.map_or(SLICE, |left| left.min(SLICE)))? {
                counter.known.fetch_max(value, Ordering::AcqRel);
                return Ok(true);
            }
        }
    }

    fn interrupt(&self) {
        self.0.interrupted.store(true, Ordering::Release);
    }

    /// Does nothing on a timeline that a queue signals: the host cannot complete a list.
    fn signal(&self, value: u64) {
        let counter = &*self.0;
        let state = lock(&counter.state);
        if state.claimed != 0 || value <= counter.known.load(Ordering::Acquire) {
            return;
        }
        let info =
            vk::SemaphoreSignalInfo::default().semaphore(counter.semaphore.raw).value(counter.semaphore.value(value));
        // SAFETY: the value rises, under the lock, and no list is to raise it.
        match unsafe { counter.context.device.signal_semaphore(&info) } {
            Ok(()) => drop(counter.known.fetch_max(value, Ordering::AcqRel)),
            // There is nobody to tell: whoever waits looks again before long, and a lost device is remembered.
            Err(error) => drop(counter.context.error("vkSignalSemaphore", error)),
        }
    }

    fn take_reports(&self) -> Vec<Report> {
        self.0.collect();
        std::mem::take(&mut lock(&self.0.state).reports)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Blocks until one of the values is reached, or the timeout is over, or it seems time to look again.
///
/// # Errors
/// That the device is lost, or a timeline of another device.
pub fn wait_any(context: &Context, watch: &[Wait], timeout: Option<Duration>) -> Result<()> {
    context.check()?;
    let counters = watch.iter().map(|wait| Counter::of(&wait.timeline, context));
    let counters = counters.collect::<Result<SmallVec<[_; 8]>>>()?;
    let reached = || counters.iter().zip(watch).any(|(counter, wait)| counter.reached() >= wait.value);
    if watch.is_empty() || reached() {
        return Ok(());
    }
    let timeout = timeout.unwrap_or(LONG).min(LONG);
    if counters.len() > 1 && context.waits_for_any_by_polling {
        let deadline = Instant::now() + timeout;
        for (counter, wait) in counters.iter().zip(watch).cycle() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || counter.wait_slice(wait.value, left.min(TURN))? || reached() {
                return Ok(());
            }
        }
    }
    let semaphores: SmallVec<[_; 8]> = counters.iter().map(|counter| counter.semaphore.raw).collect();
    let values = counters.iter().zip(watch).map(|(counter, wait)| counter.semaphore.value(wait.value));
    let values: SmallVec<[_; 8]> = values.collect();
    let any = vk::SemaphoreWaitFlags::ANY;
    let info = vk::SemaphoreWaitInfo::default().flags(any).semaphores(&semaphores).values(&values);
    wait(context, &info, timeout).map(drop)
}

fn wait(context: &Context, info: &vk::SemaphoreWaitInfo<'_>, timeout: Duration) -> Result<bool> {
    let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: whoever calls holds the semaphores.
    match unsafe { context.device.wait_semaphores(info, nanoseconds) } {
        Ok(()) => Ok(true),
        Err(vk::Result::TIMEOUT) => Ok(false),
        Err(error) => Err(context.error("vkWaitSemaphores", error)),
    }
}

impl Orphan {
    /// Whether the device is done with it. That of a lost device is never reached, and nothing uses it any more.
    pub fn is_done(&self, context: &Context) -> bool {
        let reached = self.semaphore.reached();
        context.is_lost() || reached.is_ok_and(|reached| reached >= self.last)
    }

    /// Lets go of everything. It is done.
    pub fn finish(self) {
        self.running.into_iter().for_each(Running::finish);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.collect();
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let orphan = Orphan {
            semaphore: Arc::clone(&self.semaphore),
            last: state.claimed,
            running: std::mem::take(&mut state.running),
        };
        if orphan.running.is_empty() || orphan.is_done(&self.context) {
            orphan.finish();
        } else {
            self.context.adopt(orphan);
        }
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only what needs no lock: a timeline may be printed from anywhere.
        f.debug_struct("Counter").field("id", &self.id).finish_non_exhaustive()
    }
}
