//! Timelines, and the lists that are to raise them. Doorbells.
//!
//! A timeline is two counters. The shared event is the device's: command buffers signal it and wait for it. The value
//! that the host sees is ours, raised by the completion handler of a list's command buffer once it has read what the
//! list reports and let go of what it held ([`ledger`](crate::ledger)).

use super::context::Context;
use super::room::Piece;
use super::{NAME, Object, nothing};
use crate::ledger::Ledger;
use objc2_metal::{MTLDevice, MTLSharedEvent};
use smallvec::SmallVec;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use thalweg_hal::{
    Command, Doorbell, Error, List, Listener, Report, Reported, Result, Timeline, TimelinePoint, own, unique_id,
};

/// A queue's timeline.
pub struct MetalTimeline {
    id: u64,
    event: Object<dyn MTLSharedEvent>,
    context: Arc<Context>,
    interrupted: AtomicBool,
    lists: Ledger<Running, Report>,
}

/// A list that was submitted, or is about to be: what the device uses until it has run.
pub struct Running {
    pub list: Arc<List>,
    pub piece: Piece,
    /// What it waits for. Not the timelines, which may hold each other's lists.
    pub _waits: SmallVec<[Object<dyn MTLSharedEvent>; 4]>,
}

impl MetalTimeline {
    /// # Errors
    /// What Metal says.
    pub fn new(context: &Arc<Context>) -> Result<Arc<Self>> {
        let event = context.device.newSharedEvent().ok_or_else(|| nothing("newSharedEvent"))?;
        let timeline = Arc::new(Self {
            id: unique_id(),
            event,
            context: Arc::clone(context),
            interrupted: AtomicBool::new(false),
            lists: Ledger::new(),
        });
        context.tell(&timeline);
        Ok(timeline)
    }

    /// The timeline behind one of this device.
    ///
    /// # Errors
    /// [`Error::ForeignObject`].
    pub fn of<'a>(timeline: &'a Arc<dyn Timeline>, context: &Context) -> Result<&'a Self> {
        own(timeline.as_any(), NAME, "timeline", |it: &Self| it.context.id == context.id)
    }

    /// The event, for command buffers to wait for or to signal.
    pub fn event(&self) -> &Object<dyn MTLSharedEvent> {
        &self.event
    }

    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Enters a list, before it is submitted.
    pub fn enter(&self, value: u64, running: Running) {
        self.lists.enter(value, running);
    }

    /// A list has run; `reports` is what there is to say of it.
    pub fn has_run(&self, value: u64, reports: impl FnOnce(&Running) -> Vec<Report>) {
        self.lists.has_run(value, reports, Running::overtook, Running::finish, |value| self.raised(value));
    }

    /// The same of a list that the device stopped; `spoils` says whether those behind it may have overtaken those
    /// before it.
    pub fn was_stopped(&self, value: u64, spoils: bool, error: &Error) {
        let failed = |running: &Running| running.failed(value, error);
        let raised = |value| self.raised(value);
        self.lists.was_stopped(value, spoils, failed, Running::overtook, Running::finish, raised);
    }

    /// Every list up to the value has run. In order, and by one thread at a time.
    fn raised(&self, value: u64) {
        // A stopped list raises nothing on the device, and lists of other queues may wait for it. Not before those in
        // front of it have run; and if the device should raise it between the look and this, the next list puts it
        // right.
        if self.event.signaledValue() < value {
            self.event.setSignaledValue(value);
        }
        self.context.bell.ring();
    }

    /// Wakes the threads that wait for this timeline, to look again.
    pub fn wake(&self) {
        self.lists.wake();
    }
}

impl Running {
    /// That nothing of it can be used.
    fn failed(&self, value: u64, error: &Error) -> Vec<Report> {
        let does_something = |command: &Command| !matches!(command, Command::Barrier | Command::Timestamp);
        let commands = (0..).zip(&self.list.commands).filter(|(_, command)| does_something(command));
        let report = |(command, _)| Report { value, command, what: Reported::Failed(error.clone()) };
        commands.map(report).collect()
    }

    fn overtook(&self, value: u64) -> Vec<Report> {
        let message = "a list before it was stopped, and it may have overtaken others".to_owned();
        self.failed(value, &Error::Driver { device: NAME.to_owned(), call: "running a list", message })
    }

    /// The device is done with the list.
    fn finish(self) {
        // The piece first: dropping the list may take as long as whatever it held last takes to drop.
        let Self { list, piece, .. } = self;
        drop(piece);
        drop(list);
    }
}

impl Timeline for MetalTimeline {
    fn id(&self) -> u64 {
        self.id
    }

    fn completed(&self) -> u64 {
        self.lists.reached()
    }

    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // Acquire: pairs with the Release in `interrupt`.
        let is_over = || self.interrupted.load(Ordering::Acquire) || self.context.is_lost();
        self.lists.wait(value, deadline, is_over);
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
        self.lists.take()
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
        own(doorbell.as_any(), NAME, "doorbell", |it: &Self| it.context.id == context.id)
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
