//! Timelines, and the lists that are to raise them. Doorbells.
//!
//! A timeline is two counters. The shared event is the device's: command buffers signal it and wait for it. The value that the
//! host sees is ours, raised by the completion handler of a list's command buffer once it has read what the list reports and let
//! go of what it held. Handlers may be called in any order, and by several threads; the value is raised in the order of the lists.

use super::command_queue::Seat;
use super::context::{Bell, Context};
use super::ring::Piece;
use super::sync::lock;
use super::{NAME, Object, nothing};
use objc2_metal::{MTLDevice, MTLSharedEvent};
use smallvec::SmallVec;
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use thalweg_hal::{Doorbell, Error, List, Listener, Report, Result, Timeline, TimelinePoint, unique_id};

/// A queue's timeline.
pub struct MetalTimeline {
    id: u64,
    event: Object<dyn MTLSharedEvent>,
    context: Arc<Context>,
    /// The value that the host sees. Raised by [`publish`](Self::publish) alone; Release, pairs with the Acquire in
    /// `completed`.
    reached: AtomicU64,
    interrupted: AtomicBool,
    state: Mutex<State>,
    /// Wakes whoever waits for this timeline alone.
    bell: Bell,
    /// Held for as long as lists are in flight.
    _seat: Seat,
}

#[derive(Default)]
struct State {
    /// Lists that have not been published, by rising value.
    running: VecDeque<Running>,
    /// Somebody is publishing, and will look again.
    publishing: bool,
    /// Reports not yet taken.
    reports: Vec<Report>,
}

/// A list that was submitted, or is about to be: what the device uses until it has run.
pub struct Running {
    pub value: u64,
    pub list: Arc<List>,
    pub piece: Piece,
    /// What it waits for. Not the timelines, which may hold each other's lists.
    pub _waits: SmallVec<[Object<dyn MTLSharedEvent>; 4]>,
    /// What there is to say of it, once it has run.
    pub outcome: Option<Vec<Report>>,
}

impl MetalTimeline {
    /// # Errors
    /// What Metal says.
    pub fn new(context: &Arc<Context>, seat: Seat) -> Result<Arc<Self>> {
        let event = context.device.newSharedEvent().ok_or_else(|| nothing("newSharedEvent"))?;
        let timeline = Arc::new(Self {
            id: unique_id(),
            event,
            context: Arc::clone(context),
            reached: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            state: Mutex::default(),
            bell: Bell::default(),
            _seat: seat,
        });
        context.tell(&timeline);
        Ok(timeline)
    }

    /// The timeline behind one of this device.
    ///
    /// # Errors
    /// [`Error::ForeignObject`].
    pub fn of<'a>(timeline: &'a Arc<dyn Timeline>, context: &Context) -> Result<&'a Self> {
        let timeline = timeline.as_any().downcast_ref::<Self>();
        let timeline = timeline.filter(|timeline| timeline.context.id == context.id);
        timeline.ok_or_else(|| Error::ForeignObject { device: NAME.to_owned(), what: "timeline" })
    }

    /// The event, for command buffers to wait for or to signal.
    pub fn event(&self) -> &Object<dyn MTLSharedEvent> {
        &self.event
    }

    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Where the timeline's lists have their command buffers.
    pub fn seat(&self) -> &Seat {
        &self._seat
    }

    /// Enters a list, before it is submitted: it may have run before the call returns.
    pub fn enter(&self, running: Running) {
        lock(&self.state).running.push_back(running);
    }

    /// A list has run. Says what its words and times are, as `reports` finds them, and raises the value, if every list before
    /// it has run.
    pub fn has_run(&self, value: u64, reports: impl FnOnce(&Running) -> Vec<Report>) {
        let mut state = lock(&self.state);
        // Entered in order, and taken out by `publish` alone, once they have an outcome.
        let Ok(at) = state.running.binary_search_by_key(&value, |running| running.value) else { return };
        let running = &mut state.running[at];
        running.outcome = Some(reports(running));
        if !std::mem::replace(&mut state.publishing, true) {
            drop(state);
            self.publish();
        }
    }

    /// Lets go of the lists that have run, in order, then raises the value. By one thread at a time.
    fn publish(&self) {
        loop {
            let mut state = lock(&self.state);
            let mut done = SmallVec::<[Running; 4]>::new();
            while state.running.front().is_some_and(|running| running.outcome.is_some()) {
                let Some(mut running) = state.running.pop_front() else { break };
                state.reports.extend(running.outcome.take().unwrap_or_default());
                done.push(running);
            }
            let Some(value) = done.last().map(|running| running.value) else {
                state.publishing = false;
                return;
            };
            drop(state);
            done.into_iter().for_each(Running::finish);
            self.reached.store(value, Ordering::Release);
            self.wake();
            self.context.bell.ring();
        }
    }

    /// Has whoever waits for this timeline look.
    pub fn wake(&self) {
        self.bell.ring();
    }
}

impl Running {
    /// The device is done with the list.
    fn finish(self) {
        let Self { list, piece, .. } = self;
        piece.give_back();
        drop(list);
    }
}

impl Timeline for MetalTimeline {
    fn id(&self) -> u64 {
        self.id
    }

    fn completed(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }

    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let is_over = || {
            // Acquire: pairs with the Release in `interrupt`.
            self.completed() >= value || self.interrupted.load(Ordering::Acquire) || self.context.is_lost()
        };
        self.bell.wait_until(deadline, is_over);
        if self.completed() >= value {
            return Ok(true);
        }
        self.context.check()?;
        Ok(false)
    }

    fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.wake();
    }

    fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut lock(&self.state).reports)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for MetalTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only what needs no lock: a timeline may be printed from anywhere.
        f.debug_struct("MetalTimeline").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the host rings. The device knows nothing of it.
pub struct MetalDoorbell {
    rings: AtomicU64,
    context: Arc<Context>,
}

impl MetalDoorbell {
    /// # Errors
    /// That the device is lost.
    pub fn new(context: &Arc<Context>) -> Result<Self> {
        context.check()?;
        Ok(Self { rings: AtomicU64::new(0), context: Arc::clone(context) })
    }

    /// The doorbell behind one of this device.
    ///
    /// # Errors
    /// [`Error::ForeignObject`].
    fn of<'a>(doorbell: &'a Arc<dyn Doorbell>, context: &Context) -> Result<&'a Self> {
        let doorbell = doorbell.as_any().downcast_ref::<Self>();
        let doorbell = doorbell.filter(|doorbell| doorbell.context.id == context.id);
        doorbell.ok_or_else(|| Error::ForeignObject { device: NAME.to_owned(), what: "doorbell" })
    }
}

impl Doorbell for MetalDoorbell {
    fn ring(&self) {
        // Release: pairs with the Acquire in `rings`.
        self.rings.fetch_add(1, Ordering::Release);
        self.context.bell.ring();
    }

    fn rings(&self) -> u64 {
        self.rings.load(Ordering::Acquire)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for MetalDoorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetalDoorbell").finish_non_exhaustive()
    }
}

/// Blocks until one of the points is reached, or the doorbell is rung, or the timeout is over.
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
    for point in points {
        MetalTimeline::of(&point.timeline, context)?;
    }
    bell.map(|bell| MetalDoorbell::of(&bell.doorbell, context)).transpose()?;
    if points.is_empty() && bell.is_none() && timeout.is_none() {
        return Ok(()); // nothing would ever end it
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let is_over =
        || context.is_lost() || bell.is_some_and(Listener::is_rung) || points.iter().any(TimelinePoint::is_reached);
    context.bell.wait_until(deadline, is_over);
    context.check()
}
