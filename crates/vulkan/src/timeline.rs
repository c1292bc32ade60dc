//! Timelines: timeline semaphores, and the lists that are to raise them. Doorbells: timeline semaphores that the host
//! raises.
//!
//! The driver raises the value; nobody of ours is told. So what has to be done once a list has run (its reports, the
//! use of its command buffer again, the end of its hold on memory) is done by the next to ask.

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
use thalweg_hal::{Doorbell, List, Listener, Report, Result, Timeline, TimelinePoint, own, unique_id};

/// How long a wait stays in the driver before it looks again: whether it was interrupted, for which the driver has no
/// call, and whether the value is there. NVIDIA's driver, asked by two threads for one semaphore, wakes the second of
/// them only when its time is over (seen with 580.159 on an H200).
const SLICE: Duration = Duration::from_millis(1);
/// How long the reaper stays in the driver, if nothing says otherwise.
const LONG: Duration = Duration::from_secs(1);
/// How long each of several timelines is waited for in turn, where the driver cannot wait for all of them.
const TURN: Duration = Duration::from_micros(500);

/// A queue's timeline.
pub struct VulkanTimeline {
    id: u64,
    semaphore: Arc<Semaphore>,
    context: Arc<Context>,
    /// The highest value that the driver is known to have reached. Raised by all who ask; Release, pairs with the
    /// Acquire in `known`.
    known: AtomicU64,
    /// The value of the last list that the driver took. Written by the queue, after the submit call. The driver is not
    /// asked while nothing is on its way.
    submitted: AtomicU64,
    interrupted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Lists that have not been collected, rising.
    running: VecDeque<Running>,
    /// Reports not yet taken.
    reports: Vec<Report>,
}

/// A driver's semaphore. Held by its timeline or doorbell, and by every list that waits for it.
///
/// Never destroyed before its device: a driver may look at a semaphore for a moment after its value can be seen (Mesa's
/// does). It serves the next timeline or doorbell instead. Values there count from where the last one's ended.
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

impl VulkanTimeline {
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

    /// The timeline behind one of this device.
    ///
    /// # Errors
    /// [`ForeignObject`](thalweg_hal::Error::ForeignObject).
    pub fn of<'a>(timeline: &'a Arc<dyn Timeline>, context: &Context) -> Result<&'a Self> {
        own(timeline.as_any(), NAME, "timeline", |it: &Self| it.context.id == context.id)
    }

    /// The semaphore, for a list to wait for or to signal.
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }

    /// Enters a list, before it is submitted: it may have run before the submit call returns.
    pub fn enter(&self, running: Running) {
        lock(&self.state).running.push_back(running);
    }

    /// The list was submitted.
    pub fn submitted(&self, value: u64) {
        // Release: pairs with the Acquire in `reached`.
        self.submitted.store(value, Ordering::Release);
    }

    /// The driver did not take the list that was entered last: it is as if it had never been tried.
    pub fn withdraw(&self) -> Option<Running> {
        lock(&self.state).running.pop_back()
    }

    /// The value reached.
    fn reached(&self) -> u64 {
        let known = self.known.load(Ordering::Acquire);
        // Nothing is on its way. Acquire: pairs with the Release in `submitted`.
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
}

impl Running {
    /// The device is done with the list.
    pub fn finish(self) {
        self.home.give_back(self.slot);
    }
}

impl Timeline for VulkanTimeline {
    fn id(&self) -> u64 {
        self.id
    }

    fn completed(&self) -> u64 {
        self.reached()
    }

    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if self.reached() >= value {
                return Ok(true);
            }
            self.context.check()?;
            // Acquire: pairs with the Release in `interrupt`.
            if self.interrupted.load(Ordering::Acquire) {
                return Ok(false);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            if wait_one(&self.context, self.semaphore.raw, self.semaphore.value(value), slice)? {
                self.known.fetch_max(value, Ordering::AcqRel);
                return Ok(true);
            }
        }
    }

    fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
    }

    fn take_reports(&self) -> Vec<Report> {
        self.collect();
        std::mem::take(&mut lock(&self.state).reports)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What the host rings: a semaphore that no list raises.
pub struct VulkanDoorbell {
    semaphore: Arc<Semaphore>,
    /// Its value. Held for the driver's call, so that the values rise.
    rings: Mutex<u64>,
    context: Arc<Context>,
}

impl VulkanDoorbell {
    pub fn new(context: &Arc<Context>) -> Result<Self> {
        context.check()?;
        context.bury();
        let semaphore = Arc::new(Semaphore::new(context)?);
        Ok(Self { semaphore, rings: Mutex::new(0), context: Arc::clone(context) })
    }

    /// The doorbell behind one of this device.
    ///
    /// # Errors
    /// [`ForeignObject`](thalweg_hal::Error::ForeignObject).
    fn of<'a>(doorbell: &'a Arc<dyn Doorbell>, context: &Context) -> Result<&'a Self> {
        own(doorbell.as_any(), NAME, "doorbell", |it: &Self| it.context.id == context.id)
    }
}

impl Doorbell for VulkanDoorbell {
    fn ring(&self) {
        let mut rings = lock(&self.rings);
        *rings += 1;
        let info = vk::SemaphoreSignalInfo::default().semaphore(self.semaphore.raw).value(self.semaphore.value(*rings));
        // SAFETY: the value rises, under the lock, and no list raises it.
        if let Err(error) = unsafe { self.context.device.signal_semaphore(&info) } {
            // There is nobody to tell: those who wait look again before long, and a lost device is remembered.
            drop(self.context.error("vkSignalSemaphore", error));
        }
    }

    fn rings(&self) -> u64 {
        *lock(&self.rings)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for VulkanDoorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VulkanDoorbell").finish_non_exhaustive()
    }
}

/// Blocks until one of the points is reached, or the doorbell is rung, or the timeout is over, or it seems time to look
/// again.
///
/// # Errors
/// That the device is lost, or an object of another device.
pub fn wait_any(
    context: &Context,
    points: &[TimelinePoint],
    bell: Option<&Listener>,
    timeout: Option<Duration>,
) -> Result<()> {
    context.check()?;
    let timelines = points.iter().map(|point| VulkanTimeline::of(&point.timeline, context));
    let timelines = timelines.collect::<Result<SmallVec<[_; 8]>>>()?;
    let doorbell = bell.map(|bell| VulkanDoorbell::of(&bell.doorbell, context)).transpose()?;
    let is_over = || {
        bell.is_some_and(Listener::is_rung)
            || timelines.iter().zip(points).any(|(timeline, point)| timeline.reached() >= point.value)
    };
    let awaited = timelines.iter().zip(points).map(|(timeline, point)| (&timeline.semaphore, point.value));
    let rung = doorbell.iter().zip(bell).map(|(doorbell, bell)| (&doorbell.semaphore, bell.heard + 1));
    let awaited = awaited.chain(rung).map(|(semaphore, value)| (semaphore.raw, semaphore.value(value)));
    let (semaphores, values): (SmallVec<[_; 8]>, SmallVec<[_; 8]>) = awaited.unzip();
    if semaphores.is_empty() || is_over() {
        return Ok(());
    }
    let timeout = timeout.unwrap_or(LONG).min(LONG);
    if semaphores.len() > 1 && context.waits_for_any_by_polling {
        let deadline = Instant::now() + timeout;
        for (semaphore, value) in semaphores.iter().zip(&values).cycle() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || wait_one(context, *semaphore, *value, left.min(TURN))? || is_over() {
                return Ok(());
            }
        }
    }
    let any = vk::SemaphoreWaitFlags::ANY;
    let info = vk::SemaphoreWaitInfo::default().flags(any).semaphores(&semaphores).values(&values);
    wait(context, &info, timeout).map(drop)
}

/// Waits for a value of a semaphore. Whether it was reached.
fn wait_one(context: &Context, semaphore: vk::Semaphore, value: u64, timeout: Duration) -> Result<bool> {
    let (semaphores, values) = ([semaphore], [value]);
    wait(context, &vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values), timeout)
}

fn wait(context: &Context, info: &vk::SemaphoreWaitInfo<'_>, timeout: Duration) -> Result<bool> {
    let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the caller holds the semaphores.
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

impl Drop for VulkanTimeline {
    fn drop(&mut self) {
        self.collect();
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let orphan = Orphan {
            semaphore: Arc::clone(&self.semaphore),
            last: self.submitted.load(Ordering::Acquire),
            running: std::mem::take(&mut state.running),
        };
        if orphan.running.is_empty() || orphan.is_done(&self.context) {
            orphan.finish();
        } else {
            self.context.adopt(orphan);
        }
    }
}

impl fmt::Debug for VulkanTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only what needs no lock: a timeline may be printed from anywhere.
        f.debug_struct("VulkanTimeline").field("id", &self.id).finish_non_exhaustive()
    }
}
