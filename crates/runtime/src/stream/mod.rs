//! Streams: who records where, and how lists get to the device and back.
//!
//! ```text
//!  record ──► Recorder (open list) ──seal──► Queue::submit ──► in flight ──signal──► settled
//!  recorder lock                     submitter lock             retiring lock
//! ```

pub(crate) mod core;
pub(crate) mod pool;
pub(crate) mod record;
pub(crate) mod recorder;
pub(crate) mod retire;

use crate::device::{Device, Lease};
use crate::error::Result;
use crate::event::Event;
use crate::memory::{Operand, Storage, allocate, heap::Purpose};
pub use recorder::Work;
use std::sync::Arc;

/// An order of operations on a device. Operations of one stream take effect in the order in which they were recorded;
/// operations of different streams may overlap, except where one uses what the other wrote.
///
/// Every thread has a current stream, so most programs never name one. A handle may be cloned and sent anywhere; any
/// number of threads may record on one stream.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(crate) lease: Arc<Lease>,
}

impl Stream {
    /// A stream of its own, given back when the last handle, event and tensor of it are dropped.
    ///
    /// # Errors
    /// [`Error::TooManyStreams`](crate::Error::TooManyStreams), or what the device says.
    pub fn new(device: &Device) -> Result<Self> {
        let index = device.core.pool.take_explicit()?;
        match device.lease(index, true) {
            Ok(lease) => Ok(Self { lease }),
            Err(error) => {
                device.core.pool.release_explicit(index);
                Err(error)
            }
        }
    }

    /// The stream that this thread records on: that of the innermost [`scope`](Self::scope), else one from the pool.
    ///
    /// # Errors
    /// What the device says when the stream is made on first use.
    pub fn current(device: &Device) -> Result<Self> {
        Ok(Self { lease: device.current_lease()? })
    }

    /// Calls `call` with this stream as the thread's current one.
    pub fn scope<R>(&self, call: impl FnOnce() -> R) -> R {
        pool::scoped(&self.lease, call)
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
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or what the device says.
    pub fn allocate(&self, bytes: u64) -> Result<Storage> {
        allocate(&self.lease, bytes, Purpose::Commands)
    }

    /// Records an operation. Does not wait for the device; blocks for the submit of another stream if that has not
    /// handed over the last use of an operand.
    ///
    /// # Errors
    /// If the operation does not fit its operands or the device is lost. Nothing is then recorded.
    pub fn record(&self, work: &Work<'_>, operands: &[Operand<'_>]) -> Result<()> {
        let core = &*self.lease.device.core;
        record::record(core, core.stream(self.lease.index), work, operands)
    }

    /// A mark behind everything recorded so far.
    pub fn record_event(&self) -> Event {
        let value = self.core().recorder.lock().last();
        Event::new(Arc::clone(&self.lease), value)
    }

    /// Orders everything recorded from now on after the event, on the device: the host does not wait.
    pub fn wait(&self, event: &Event) -> Result<()> {
        let core = &*self.lease.device.core;
        let point = event.point(core)?;
        if point.0 != self.lease.index {
            core.stream(point.0).flush_to(core, point.1);
            self.core().recorder.lock().wait_for(point, core);
        }
        Ok(())
    }

    /// Hands what has been recorded to the device.
    pub fn flush(&self) {
        self.core().flush(&self.lease.device.core);
    }

    /// Waits until everything recorded so far has run. Says nothing of whether it succeeded: a failure follows the data,
    /// and is told to whoever reads it.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn synchronize(&self) -> Result<()> {
        self.lease.device.core.check_lost()?;
        let last = self.core().recorder.lock().last();
        self.lease.device.core.wait(self.lease.index, last, None)
    }

    fn core(&self) -> &core::StreamCore {
        self.lease.device.core.stream(self.lease.index)
    }
}
