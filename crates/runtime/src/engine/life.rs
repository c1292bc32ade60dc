//! Whether a device still answers: it may be lost, closed, or left behind by a fork.
//!
//! ```text
//!  open ──close──► closing: nothing is recorded, what was recorded runs ──► closed: nobody waits any more
//! ```
//!
//! A device is lost at any point, for ever.

use crate::base::error::{Error, Result};
use crate::base::fork::check_fork;
use crate::base::sync::atomic::{AtomicU8, Ordering};
use std::sync::OnceLock;

const OPEN: u8 = 0;
const CLOSING: u8 = 1;
const CLOSED: u8 = 2;

#[derive(Debug)]
pub(crate) struct Life {
    /// Only rises. A thread that closes the device writes it.
    phase: AtomicU8,
    /// Why the device is lost, once it is.
    lost: OnceLock<thalweg_hal::Error>,
}

impl Life {
    pub(crate) fn new() -> Self {
        Self { phase: AtomicU8::new(OPEN), lost: OnceLock::new() }
    }

    /// Whether work may be recorded.
    ///
    /// # Errors
    /// That the process is a forked child, or the device is lost or closed, or being closed.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        self.check_phase(OPEN)
    }

    /// Whether something may be waited for that has not happened.
    ///
    /// # Errors
    /// That the process is a forked child, or the device is lost or closed.
    pub(crate) fn check_waits(&self) -> Result<()> {
        self.check_phase(CLOSING)
    }

    #[inline]
    fn check_phase(&self, last: u8) -> Result<()> {
        check_fork()?;
        if let Some(error) = self.lost.get() {
            return Err(error.clone().into());
        }
        // Acquire: pairs with the Release in `advance`.
        if self.phase.load(Ordering::Acquire) > last { Err(Error::Closed) } else { Ok(()) }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: as above.
        self.phase.load(Ordering::Acquire) == CLOSED
    }

    /// Nothing is recorded from now on.
    pub(crate) fn begin_closing(&self) {
        self.advance(CLOSING);
    }

    /// Nobody waits from now on. The caller wakes those who wait.
    pub(crate) fn end(&self) {
        self.advance(CLOSED);
    }

    fn advance(&self, phase: u8) {
        // Release: pairs with the Acquire in `check_phase`.
        self.phase.fetch_max(phase, Ordering::Release);
    }

    /// The first reason stays.
    pub(crate) fn lose(&self, error: thalweg_hal::Error) {
        let _ = self.lost.set(error);
    }
}
