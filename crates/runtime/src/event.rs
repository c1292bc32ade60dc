//! Events: positions on timelines.

use crate::device::{DeviceCore, Lease};
use crate::error::{Error, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A position in a stream: everything recorded before it. A value, never reset and never reused, so there is nothing
/// to race on. Made by [`Stream::record_event`](crate::Stream::record_event), so one that was never recorded does not
/// exist.
#[derive(Clone, Debug)]
pub struct Event {
    lease: Arc<Lease>,
    value: u64,
}

impl Event {
    pub(crate) fn new(lease: Arc<Lease>, value: u64) -> Self {
        Self { lease, value }
    }

    /// Stream and value, for use on the device of `core`.
    pub(crate) fn point(&self, core: &DeviceCore) -> Result<(u32, u64)> {
        if std::ptr::eq(&*self.lease.device.core, core) {
            Ok((self.lease.index, self.value))
        } else {
            Err(Error::OtherDevice { operand: 0 })
        }
    }

    /// Whether everything before the event has run, or never will, because the device is lost. Never blocks, and asking
    /// again and again ends: what is not yet submitted is handed over in the background.
    pub fn query(&self) -> bool {
        let core = &*self.lease.device.core;
        let stream = core.stream(self.lease.index);
        if stream.settled() >= self.value || core.check_lost().is_err() {
            return true;
        }
        if stream.submitted() < self.value {
            core.defer_flush(self.lease.index);
            return false;
        }
        // An edge that is still open means "not yet".
        let _ = stream.retire(core, self.value);
        stream.settled() >= self.value
    }

    /// Waits until everything before the event has run, or the timeout is over; a submit that is under way on its stream
    /// is waited for all the same. Says nothing of whether it succeeded: a
    /// failure follows the data, and is told to whoever reads it.
    ///
    /// # Errors
    /// [`Error::Timeout`], or that the device is lost.
    pub fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        // A timeout too long for the clock is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.lease.device.core.wait(self.lease.index, self.value, deadline)
    }
}
