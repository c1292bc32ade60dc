//! Transfers that find no room in staging because others have it.
//!
//! An allocation waits for the device, never for another thread to drop something. A transfer that is under way has staging
//! for as long as it takes to record its copy, or for that to run, and gives it back by itself: it may be waited for.
//! Downloads that somebody keeps may not.

use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a transfer waits while no other gets any further: the device is held up, then.
const LINGER: Duration = Duration::from_secs(1);

/// The transfers of a device that have staging, or are about to take it.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    under_way: AtomicU64,
    /// How many of them had staging, and have given it back.
    ended: AtomicU64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct UnderWay<'a>(&'a Transfers);

impl Transfers {
    pub(super) fn begin(&self) -> UnderWay<'_> {
        // SeqCst, here and below: a thread that sees nobody under way any more sees that somebody has ended.
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(self)
    }
}

impl UnderWay<'_> {
    /// It had staging, and has given it back.
    pub(super) fn end(self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What one transfer has seen of the others.
pub(super) struct Shortage<'a> {
    transfers: &'a Transfers,
    /// How many had ended before the last try.
    ended: u64,
    /// Since when there has been no room, and none has ended.
    since: Option<Instant>,
}

impl<'a> Shortage<'a> {
    pub(super) fn new(transfers: &'a Transfers) -> Self {
        Self { transfers, ended: 0, since: None }
    }

    /// The transfer is about to look for room.
    pub(super) fn try_again(&mut self) {
        self.ended = self.transfers.ended.load(Ordering::SeqCst);
    }

    /// It found none, and has nothing now. Whether another try is of use: others have staging, or have just given some back.
    ///
    /// # Errors
    /// That error, if it is another, or nobody else is under way, or none has ended for a while.
    pub(super) fn passes(&mut self, error: Error) -> Result<()> {
        if !matches!(error, Error::OutOfMemory(_)) {
            return Err(error);
        }
        // In this order: one that is not under way any more has ended, or had nothing.
        let others = self.transfers.under_way.load(Ordering::SeqCst);
        if self.transfers.ended.load(Ordering::SeqCst) != self.ended {
            self.since = None;
            return Ok(());
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if others == 0 || since.elapsed() >= LINGER { Err(error) } else { Ok(()) }
    }
}
