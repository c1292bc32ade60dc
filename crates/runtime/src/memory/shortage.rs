//! Transfers that find no room in staging because others have it.
//!
//! An allocation waits for the device, never for another thread to drop something. A transfer that is under way has
//! staging for as long as it takes to record its copy, or for that to run, and gives it back by itself: it may be
//! waited for. Downloads that somebody keeps may not.

use crate::base::error::{Error, Result};
use crate::base::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a transfer waits while no other gets any further: the device is held up, then.
const LINGER: Duration = Duration::from_secs(1);

/// The transfers of a device that have staging, or are about to take it.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    under_way: AtomicU64,
    /// How many have given back what they had, whatever came of them.
    ended: AtomicU64,
}

/// One of them. Dropped when it has given back what it had.
#[derive(Debug)]
pub(crate) struct UnderWay<'a> {
    transfers: &'a Transfers,
    gives_back: bool,
}

impl Transfers {
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        // SeqCst, here and below: a thread that sees nobody under way any more sees that somebody has ended.
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay { transfers: self, gives_back: true }
    }
}

impl UnderWay<'_> {
    /// It gives nothing back: it had nothing, or somebody keeps what it has.
    pub(crate) fn leave(mut self) {
        self.gives_back = false;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.transfers.ended.fetch_add(u64::from(self.gives_back), Ordering::SeqCst);
        self.transfers.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What one transfer has seen of the others.
pub(crate) struct Shortage<'a> {
    transfers: &'a Transfers,
    /// How many had ended before the last try.
    ended: u64,
    /// Since when there has been no room, and none has ended.
    since: Option<Instant>,
}

impl<'a> Shortage<'a> {
    pub(crate) fn new(transfers: &'a Transfers) -> Self {
        Self { transfers, ended: 0, since: None }
    }

    /// The transfer is about to look for room.
    pub(crate) fn try_again(&mut self) {
        self.ended = self.transfers.ended.load(Ordering::SeqCst);
    }

    /// It found none, and has nothing now. Whether another try is of use: others have staging, or have just given some
    /// back.
    ///
    /// # Errors
    /// That error, if it is another, or nobody else is under way, or none has ended for a while.
    pub(crate) fn passes(&mut self, error: Error) -> Result<()> {
        if !matches!(error, Error::OutOfMemory(_)) {
            return Err(error);
        }
        // In this order: one that is not under way any more has given back what it had, or had nothing to give.
        let others = self.transfers.under_way.load(Ordering::SeqCst);
        if self.transfers.ended.load(Ordering::SeqCst) != self.ended {
            self.since = None;
            return Ok(());
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if others == 0 || since.elapsed() >= LINGER { Err(error) } else { Ok(()) }
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::base::sync::yield_now;
    use loom::thread;
    use std::sync::Arc;

    /// Staging of one piece.
    #[derive(Default)]
    struct Room(AtomicU64);

    impl Room {
        fn take(&self) -> Result<()> {
            let taken = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| (used < 1).then_some(used + 1));
            taken.map(drop).map_err(|_| Error::OutOfMemory(Box::default()))
        }

        fn give_back(&self, pieces: u64) {
            self.0.fetch_sub(pieces, Ordering::SeqCst);
        }
    }

    /// A transfer of two pieces at once, or of one after the other where there is no room for both.
    fn transfer(transfers: &Transfers, room: &Room) -> Result<()> {
        let mut shortage = Shortage::new(transfers);
        let (mut most, mut left) = (2, 2);
        while left > 0 {
            shortage.try_again();
            let under_way = transfers.begin();
            let (mut had, mut answer) = (0, Ok(()));
            while had < most.min(left) && answer.is_ok() {
                answer = room.take();
                had += u64::from(answer.is_ok());
            }
            room.give_back(had);
            match answer {
                Ok(()) => left -= had,
                Err(_) if most > 1 => most = 1,
                Err(error) => {
                    under_way.leave();
                    shortage.passes(error)?;
                    yield_now();
                }
            }
        }
        Ok(())
    }

    /// A transfer that finds no room finds it later: others give back what they have, also when they fail.
    #[test]
    fn loom_transfers_short_of_room_all_end() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let (transfers, room) = (Arc::new(Transfers::default()), Arc::new(Room::default()));
            let other = {
                let (transfers, room) = (Arc::clone(&transfers), Arc::clone(&room));
                thread::spawn(move || transfer(&transfers, &room))
            };
            assert!(transfer(&transfers, &room).is_ok());
            assert!(other.join().unwrap().is_ok());
        });
    }
}
