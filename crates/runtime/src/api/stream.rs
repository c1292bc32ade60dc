//! Streams: an order of operations.

use super::check;
use super::current;
use super::device::{Device, Lease};
use super::event::{Event, Moment};
use super::graph::Capture;
use super::storage::{Operand, Storage};
use crate::base::error::{Error, Result};
use crate::base::fork;
use crate::base::wait_policy::WaitPolicy;
use crate::engine::Engine;
use crate::engine::stream::StreamState;
use crate::memory::heap::Purpose;
use crate::order::point::Point;
use crate::order::work::{Pipeline, Work};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use thalweg_hal::{MemoryKind, StaticKernel, Timestamps};

/// An order of operations on a device. Operations of one stream take effect in the order in which they were recorded;
/// operations of different streams may overlap, except where one uses what the other wrote.
///
/// Every thread has a current stream, so most programs never name one. A handle may be cloned and sent anywhere; any
/// number of threads may record on one stream.
#[derive(Clone)]
pub struct Stream {
    pub(crate) lease: Arc<Lease>,
    /// Whether calls through this handle answer `Busy` where they would have to wait.
    refuses: bool,
    /// Where operations go instead, while a graph is captured.
    capture: Option<Arc<Capture>>,
}

impl Stream {
    pub(crate) fn new_handle(lease: Arc<Lease>) -> Self {
        Self { lease, refuses: false, capture: None }
    }

    /// The same stream through a handle that captures operations.
    pub(crate) fn capturing(&self, capture: &Arc<Capture>) -> Self {
        Self { capture: Some(Arc::clone(capture)), ..self.clone() }
    }

    /// The capture that the handle's operations go to.
    pub(crate) fn capture(&self) -> Option<&Arc<Capture>> {
        self.capture.as_ref()
    }

    /// What a call is answered that cannot be captured. The capture, if there is one, has then failed.
    pub(crate) fn refuse(&self, operation: &'static str) -> Error {
        self.capture.as_ref().map_or(Error::NotCapturable { operation }, |capture| capture.refuse(operation))
    }

    /// Fails in a capture.
    fn check_capturable(&self, operation: &'static str) -> Result<()> {
        self.capture.as_ref().map_or(Ok(()), |capture| Err(capture.refuse(operation)))
    }

    /// A stream of its own, given back when the last handle, event and tensor of it are dropped.
    ///
    /// # Errors
    /// [`Error::TooManyStreams`], or what the device says.
    pub fn new(device: &Device) -> Result<Self> {
        device.check()?;
        let index = device.engine.assignment.take_explicit()?;
        match device.lease(index, true) {
            Ok(lease) => Ok(Self::new_handle(lease)),
            Err(error) => {
                device.engine.assignment.release_explicit(index);
                Err(error)
            }
        }
    }

    /// The stream that this thread records on: that of the innermost [`scope`](Self::scope), else one from the pool.
    ///
    /// # Errors
    /// What the device says when the stream is made on first use.
    pub fn current(device: &Device) -> Result<Self> {
        current::current(device)
    }

    /// Calls `call` with this handle as the thread's current stream.
    pub fn scope<R>(&self, call: impl FnOnce() -> R) -> R {
        current::scoped(self, call)
    }

    /// A future that has this handle as its current stream wherever it runs: an async task may be on another thread
    /// after every `await`.
    pub fn attach<F: Future>(&self, future: F) -> Attached<F> {
        Attached { stream: self.clone(), future }
    }

    /// The same stream through a handle that never waits for the device, nor for a thread that does. Where
    /// [`record`](Self::record), [`allocate`](Self::allocate), [`wait`](Self::wait) or [`flush`](Self::flush) would
    /// have to, they answer [`Error::Busy`], and nothing has happened. With [`scope`](Self::scope) that goes for every
    /// operation in it.
    pub fn or_busy(&self) -> Self {
        Self { refuses: true, ..self.clone() }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.lease.device
    }

    /// A number that no other stream of the device has now.
    pub fn id(&self) -> u32 {
        self.lease.index
    }

    /// At least `bytes` bytes for an operation's output, at once if this stream has a free block. The content is
    /// undefined.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or what the device says.
    pub fn allocate(&self, bytes: u64) -> Result<Storage> {
        self.device().check()?;
        if let Some(capture) = &self.capture {
            return Storage::captured_in(&self.lease, capture, bytes, false);
        }
        Storage::allocate(&self.lease, MemoryKind::Device, bytes, Purpose::Commands, self.policy())
    }

    /// Records an operation. Does not wait for the device, except when it is to submit a list: for a credit, if there
    /// are as many in flight as there may be, and for what the list comes after on other streams, if the device says
    /// that waits of its own are dear. Blocks for the submit of another stream if that has not handed over the last use
    /// of an operand.
    ///
    /// # Errors
    /// If the operation does not fit its operands, or the device is lost or closed. Nothing is then recorded.
    pub fn record(&self, work: &Work<'_>, operands: &[Operand<'_>]) -> Result<()> {
        self.device().check()?;
        check::operation(self.device(), work, operands)?;
        if let Some(capture) = &self.capture {
            return capture.record(work, operands);
        }
        check::has_bytes(operands)?;
        self.engine().record(self.id(), work, operands, self.policy())
    }

    /// The compiled form of a kernel of the program: compiled on first use, as by [`Device::pipeline`], and kept for as
    /// long as the device is there. It is found by its number, and that writes nothing.
    ///
    /// # Errors
    /// As for [`Device::pipeline`].
    pub fn static_pipeline(&self, kernel: &'static StaticKernel) -> Result<&Pipeline> {
        fork::check_fork()?;
        self.engine().static_pipeline(kernel, self.policy())
    }

    /// A mark behind everything recorded so far.
    pub fn record_event(&self) -> Event {
        if let Some(capture) = &self.capture {
            // The capture has failed by that, and says so when it ends.
            capture.refuse("an event");
            return Event::new(Arc::clone(&self.lease), Point { stream: self.id(), value: 0 });
        }
        // A forked child asks nobody; the event answers for itself.
        let at = if fork::forked() { Point { stream: self.id(), value: 0 } } else { self.state().last() };
        Event::new(Arc::clone(&self.lease), at)
    }

    /// As [`record_event`](Self::record_event), with the time at which the device gets there; see
    /// [`Event::elapsed_since`]. Nothing on this stream overlaps it, so it costs two barriers.
    ///
    /// Some devices take the time only where a list ends ([`Timestamps::ByList`]). There it costs a list: what has been
    /// recorded is handed over, as by [`flush`](Self::flush), and the time is that of the list's end, to which also
    /// belongs what other threads record on the stream before the list is sealed.
    ///
    /// # Errors
    /// [`Error::NoTime`] if the device has no clock; that it is lost or closed.
    pub fn record_timed_event(&self) -> Result<Event> {
        self.check_capturable("an event")?;
        let (engine, stream) = (self.engine(), self.state());
        engine.life.check_open()?;
        let timestamps = self.device().info().timestamps;
        if timestamps == Timestamps::None {
            return Err(Error::NoTime("the device has no clock"));
        }
        let mut recorder = stream.recorder.lock();
        if recorder.closed {
            return Err(Error::Closed);
        }
        let timed = |at, time, outcome| Event::timed(Arc::clone(&self.lease), at, time, outcome);
        if timestamps == Timestamps::ByList {
            let (at, outcome) = recorder.time_end();
            drop(recorder);
            engine.hand_over_now(stream, self.policy());
            return Ok(timed(at, Moment::End, outcome));
        }
        let before = recorder.len();
        let (by, outcome) = recorder.append_timestamp();
        let after = recorder.len();
        drop(recorder);
        engine.hand_over(stream, before, after, self.policy());
        Ok(timed(by.at, Moment::At(by.command), outcome))
    }

    /// Orders everything recorded from now on after the event, on the device: the host does not wait.
    ///
    /// # Errors
    /// [`Error::OtherDevice`] for an event of another device; that the device is lost or closed.
    pub fn wait(&self, event: &Event) -> Result<()> {
        self.check_capturable("a wait for an event")?;
        let engine = self.engine();
        engine.life.check_open()?;
        let at = event.point(engine)?;
        if at.stream != self.id() {
            engine.flush_foreign(self.state(), at, self.policy())?;
            let mut recorder = self.state().recorder.lock();
            if recorder.closed {
                return Err(Error::Closed);
            }
            recorder.wait_for(at, &|stream| engine.settled(stream));
        }
        Ok(())
    }

    /// As [`wait`](Self::wait), for async tasks: does not block for the submit of the event's stream.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub async fn wait_async(&self, event: &Event) -> Result<()> {
        event.point(self.engine())?;
        event.submitted().await?;
        self.wait(event)
    }

    /// Whether everything recorded so far has run. Never blocks.
    pub fn query(&self) -> bool {
        self.record_event().query()
    }

    /// Hands what has been recorded to the device.
    ///
    /// # Errors
    /// That the device is closed.
    pub fn flush(&self) -> Result<()> {
        self.check_capturable("a flush")?;
        self.engine().life.check_waits()?;
        self.engine().flush(self.id(), self.policy())
    }

    /// Waits until everything recorded so far has run. Says nothing of whether it succeeded: a failure follows the
    /// data, and reading that tells it. For a deadline, [`record_event`](Self::record_event) and
    /// [`Event::synchronize`].
    ///
    /// # Errors
    /// If the device is lost or closed.
    pub fn synchronize(&self) -> Result<()> {
        self.check_capturable("waiting for a stream")?;
        let engine = self.engine();
        engine.life.check_waits()?;
        engine.wait(self.state().last(), WaitPolicy::Forever)
    }

    /// As [`synchronize`](Self::synchronize), for async tasks.
    ///
    /// # Errors
    /// As for [`synchronize`](Self::synchronize).
    pub async fn finished(&self) -> Result<()> {
        self.check_capturable("waiting for a stream")?;
        self.record_event().finished().await
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.device().engine
    }

    pub(crate) fn state(&self) -> &StreamState {
        self.engine().stream(self.id())
    }

    pub(crate) fn policy(&self) -> WaitPolicy {
        if self.refuses { WaitPolicy::Never } else { WaitPolicy::Forever }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let busy = if self.refuses { ", or busy" } else { "" };
        let capturing = if self.capture.is_some() { ", capturing" } else { "" };
        write!(f, "Stream({} on {}{busy}{capturing})", self.id(), self.device().info().name)
    }
}

pin_project_lite::pin_project! {
    /// A future with a current stream; made by [`Stream::attach`].
    #[must_use = "a future does nothing unless it is polled"]
    pub struct Attached<F> {
        stream: Stream,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Attached<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.stream.scope(|| this.future.poll(context))
    }
}

impl<F> fmt::Debug for Attached<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attached({:?})", self.stream)
    }
}
