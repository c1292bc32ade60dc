//! Events: positions on timelines.

use crate::device::{DeviceCore, Lease};
use crate::error::{Error, Result};
use crate::life;
use crate::patience::Patience;
use crate::stream::outcome::Outcome;
use crate::stream::waiters;
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
#[derive(Clone, Debug)]
pub struct Event {
    /// Keeps the device, and the stream if it is the stream's own.
    lease: Arc<Lease>,
    stream: u32,
    value: u64,
    /// When its time is taken, and where to ask for it.
    time: Option<(Moment, Arc<Outcome>)>,
}

impl Event {
    pub(crate) fn new(lease: Arc<Lease>, stream: u32, value: u64) -> Self {
        Self { lease, stream, value, time: None }
    }

    pub(crate) fn timed(lease: Arc<Lease>, stream: u32, value: u64, time: Moment, outcome: Arc<Outcome>) -> Self {
        Self { lease, stream, value, time: Some((time, outcome)) }
    }

    fn core(&self) -> &DeviceCore {
        &self.lease.device.core
    }

    /// Stream and value, for use on the device of `core`.
    pub(crate) fn point(&self, core: &DeviceCore) -> Result<(u32, u64)> {
        if std::ptr::eq(self.core(), core) {
            Ok((self.stream, self.value))
        } else {
            Err(Error::OtherDevice { operand: 0 })
        }
    }

    /// Whether everything before the event has run, or never will, because the device is lost or closed. Never blocks,
    /// and asking again and again ends: what is not yet submitted is handed over in the background.
    pub fn query(&self) -> bool {
        self.look().is_some()
    }

    /// How it stands: `None` if there is something to wait for.
    fn look(&self) -> Option<Result<()>> {
        if let Err(error) = life::check_fork() {
            return Some(Err(error));
        }
        let core = self.core();
        let stream = core.stream(self.stream);
        if stream.settled() >= self.value {
            return Some(Ok(()));
        }
        if let Err(error) = core.life.check_waits() {
            return Some(Err(error));
        }
        if stream.submitted() < self.value {
            core.defer_flush(self.stream);
            return None;
        }
        // An edge that is still open means "not yet".
        let _ = stream.retire(core, self.value);
        (stream.settled() >= self.value).then_some(Ok(()))
    }

    /// Waits until everything before the event has run, or the timeout is over. Handing over a list that is not yet
    /// submitted is one call of the driver, which the timeout does not cut short. Says nothing of whether it succeeded:
    /// a failure follows the data, and is told to whoever reads it.
    ///
    /// # Errors
    /// [`Error::Timeout`], or that the device is lost or closed.
    pub fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        self.wait(Patience::of(timeout))
    }

    /// The same, as long as the patience lasts.
    pub(crate) fn wait(&self, patience: Patience) -> Result<()> {
        life::check_fork()?;
        self.core().wait(self.stream, self.value, patience)
    }

    /// As [`synchronize`](Self::synchronize), for async tasks: a future that keeps no thread waiting, on any executor.
    /// The reaper wakes it. It may be dropped at any point.
    pub fn finished(&self) -> Finished {
        Finished { event: self.clone(), point: waiters::Point::Settled(self.value), ticket: None }
    }

    /// As [`finished`](Self::finished), but only until everything before the event has been handed to the device.
    pub(crate) fn submitted(&self) -> Finished {
        Finished { event: self.clone(), point: waiters::Point::Submitted(self.value), ticket: None }
    }

    /// The time from an earlier event to this one by the device's clock, both of them made by
    /// [`Stream::record_timed_event`](crate::Stream::record_timed_event). Waits for both.
    ///
    /// # Errors
    /// [`Error::NoTime`] for other events, [`Error::Failed`] if the work before one of them was refused, or what
    /// [`synchronize`](Self::synchronize) answers.
    pub fn elapsed_since(&self, earlier: &Self) -> Result<Duration> {
        earlier.point(self.core())?;
        Ok(self.clock()?.saturating_sub(earlier.clock()?))
    }

    pub(crate) fn clock(&self) -> Result<Duration> {
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
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Finished {
    event: Event,
    point: waiters::Point,
    /// Where its waker is, once it has left one.
    ticket: Option<u64>,
}

impl Finished {
    fn look(&self) -> Option<Result<()>> {
        let stands = self.event.look();
        let submitted = || self.event.core().stream(self.event.stream).submitted();
        match self.point {
            waiters::Point::Submitted(value) if stands.is_none() && submitted() >= value => Some(Ok(())),
            _ => stands,
        }
    }
}

impl Future for Finished {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if let Some(result) = this.look() {
            return Poll::Ready(result);
        }
        let waiters = &this.event.core().stream(this.event.stream).waiters;
        waiters.leave(&mut this.ticket, this.point, context.waker());
        // Or the task would wait for the reaper's next tick.
        this.event.core().doorbell.ring();
        // What happened before the waker was left woke nobody.
        this.look().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.filter(|_| !life::forked()) {
            self.event.core().stream(self.event.stream).waiters.give_up(ticket);
        }
    }
}
