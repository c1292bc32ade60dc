//! Events: positions on timelines.

use super::device::Lease;
use crate::base::error::{Error, Result};
use crate::base::fork;
use crate::base::wait_policy::WaitPolicy;
use crate::engine::Engine;
use crate::engine::waiters::Milestone;
use crate::order::outcome::Outcome;
use crate::order::point::Point;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A position in a stream: everything recorded before it. A value, never reset and never reused, so there is nothing
/// to race on. Made by [`Stream::record_event`](crate::Stream::record_event):
///
/// ```
/// # use thalweg_runtime::{Event, Stream};
/// fn event(stream: &Stream) -> Event {
///     stream.record_event()
/// }
/// ```
///
/// So one that was never recorded does not exist:
///
/// ```compile_fail,E0277
/// # use thalweg_runtime::{Event, Stream};
/// fn event(_: &Stream) -> Event {
///     Default::default()
/// }
/// ```
// audit: FB
#[derive(Clone)]
pub struct Event {
    /// Keeps the device, and the stream if it is the stream's own.
    lease: Arc<Lease>,
    at: Point,
    /// When its time is taken, and where to ask for it.
    time: Option<(Moment, Arc<Outcome>)>,
}

impl Event {
    pub(crate) fn new(lease: Arc<Lease>, at: Point) -> Self {
        Self { lease, at, time: None }
    }

    pub(crate) fn timed(lease: Arc<Lease>, at: Point, time: Moment, outcome: Arc<Outcome>) -> Self {
        Self { lease, at, time: Some((time, outcome)) }
    }

    fn engine(&self) -> &Engine {
        &self.lease.device.engine
    }

    /// Stream and value, for use on the device of `core`.
    pub(crate) fn point(&self, engine: &Engine) -> Result<Point> {
        if std::ptr::eq(self.engine(), engine) { Ok(self.at) } else { Err(Error::OtherDevice { operand: 0 }) }
    }

    /// Whether everything before the event has run, or never will, because the device is lost or closed. Never blocks,
    /// and asking again and again ends: what is not yet submitted is handed over in the background.
    pub fn query(&self) -> bool {
        self.look().is_some()
    }

    /// How it stands: `None` if there is something to wait for.
    fn look(&self) -> Option<Result<()>> {
        if let Err(error) = fork::check_fork() {
            return Some(Err(error));
        }
        let engine = self.engine();
        let stream = engine.stream(self.at.stream);
        if stream.settled() >= self.at.value {
            return Some(Ok(()));
        }
        if let Err(error) = engine.life.check_waits() {
            return Some(Err(error));
        }
        if stream.submitted() < self.at.value {
            engine.defer_flush(self.at.stream);
            return None;
        }
        // An edge that is still open means "not yet".
        let _ = engine.settle(self.at);
        (stream.settled() >= self.at.value).then_some(Ok(()))
    }

    /// Waits until everything before the event has run, or the timeout is over. Handing over a list that is not yet
    /// submitted is one call of the driver, which the timeout does not cut short. Says nothing of whether it succeeded:
    /// a failure follows the data, and a read of the data reports it.
    ///
    /// # Errors
    /// [`Error::Timeout`], or that the device is lost or closed.
    pub fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        self.wait(WaitPolicy::of(timeout))
    }

    /// The same, as long as the policy allows.
    pub(crate) fn wait(&self, policy: WaitPolicy) -> Result<()> {
        fork::check_fork()?;
        self.engine().wait(self.at, policy)
    }

    /// As [`synchronize`](Self::synchronize), for async tasks: a future that keeps no thread waiting, on any executor.
    /// The reaper wakes it. It may be dropped at any point.
    pub fn finished(&self) -> Finished {
        Finished { event: self.clone(), milestone: Milestone::Settled(self.at.value), ticket: None }
    }

    /// As [`finished`](Self::finished), but only until everything before the event has been handed to the device.
    pub(crate) fn submitted(&self) -> Finished {
        Finished { event: self.clone(), milestone: Milestone::Submitted(self.at.value), ticket: None }
    }

    /// The time from an earlier event to this one by the device's clock, both of them made by
    /// [`Stream::record_timed_event`](crate::Stream::record_timed_event). Waits for both.
    ///
    /// # Errors
    /// [`Error::NoTime`] for other events, [`Error::Failed`] if the work before one of them was refused, or what
    /// [`synchronize`](Self::synchronize) answers.
    pub fn elapsed_since(&self, earlier: &Self) -> Result<Duration> {
        earlier.point(self.engine())?;
        Ok(self.device_time()?.saturating_sub(earlier.device_time()?))
    }

    /// When it was reached, by the device's clock: the time since an epoch of the device's own, of which nothing is
    /// known. For events made by [`Stream::record_timed_event`](crate::Stream::record_timed_event). Waits for it.
    ///
    /// # Errors
    /// As [`elapsed_since`](Self::elapsed_since).
    pub fn device_time(&self) -> Result<Duration> {
        let (time, outcome) = self.time.as_ref().ok_or(Error::NoTime("record the event with record_timed_event"))?;
        self.synchronize(None)?;
        let untold = Error::NoTime("the device has not told it");
        let command = match *time {
            Moment::At(command) => command,
            Moment::End => outcome.end().ok_or(untold.clone())?,
        };
        outcome.result(command)?;
        outcome.time(command).ok_or(untold)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timed = if self.time.is_some() { ", timed" } else { "" };
        let Point { stream, value } = self.at;
        write!(f, "Event(list {value} of stream {stream} on {}{timed})", self.lease.device.info().name)
    }
}

/// When the time of an event is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// At this timestamp of its list.
    At(u32),
    /// At the end of its list.
    End,
}

/// Ready when an event's work has run; made by [`Event::finished`].
///
/// Its result is that of [`Event::synchronize`]: whether the device still answers, not whether the work succeeded.
#[must_use = "a future does nothing unless it is polled"]
pub struct Finished {
    event: Event,
    milestone: Milestone,
    /// Where its waker is, once it has left one.
    ticket: Option<u64>,
}

impl Finished {
    /// Whether it is of this event.
    pub(crate) fn is_of(&self, event: &Event) -> bool {
        std::ptr::eq(self.event.engine(), event.engine()) && self.event.at == event.at
    }

    fn look(&self) -> Option<Result<()>> {
        let stands = self.event.look();
        let submitted = || self.event.engine().stream(self.event.at.stream).submitted();
        match self.milestone {
            Milestone::Submitted(value) if stands.is_none() && submitted() >= value => Some(Ok(())),
            _ => stands,
        }
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Finished({:?})", self.event)
    }
}

impl Future for Finished {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if let Some(result) = this.look() {
            return Poll::Ready(result);
        }
        let waiters = &this.event.engine().stream(this.event.at.stream).waiters;
        waiters.leave(&mut this.ticket, this.milestone, context.waker());
        // Or the task would wait for the reaper's next tick.
        this.event.engine().doorbell.ring();
        // What happened before the waker was left woke nobody.
        this.look().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.filter(|_| !fork::forked()) {
            self.event.engine().stream(self.event.at.stream).waiters.give_up(ticket);
        }
    }
}
