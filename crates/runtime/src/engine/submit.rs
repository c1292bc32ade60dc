//! From the open list to the device.

use super::Engine;
use super::in_flight::SPARE_LISTS;
use super::stream::StreamState;
use crate::base::error::{Error, Result};
use crate::base::sync::atomic::Ordering;
use crate::base::wait_policy::WaitPolicy;
use crate::order::open_list::SealedList;
use crate::order::point::{Point, Points};
use crate::order::results::InFlight;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use thalweg_hal::{Command, List, Queue, Submission, TimelinePoint};

/// How often a device is asked to take the empty list that stands for one that it refused, before it counts as lost.
const ATTEMPTS: u32 = 8;

impl Engine {
    /// Makes sure that everything up to a list is submitted. Waits, as long as the policy allows, for somebody else's
    /// submit and for a credit, which the device gives without anybody's help, and where waits of the device are dear
    /// for what the list waits for; and for one submit in any case.
    ///
    /// # Errors
    /// That the time is over, or the device closed.
    pub(crate) fn flush_to(&self, at: Point, policy: WaitPolicy) -> Result<()> {
        let stream = self.stream(at.stream);
        if stream.submitted() >= at.value {
            return Ok(());
        }
        if stream.in_flight() > (SPARE_LISTS as u64).min(self.config.lists_in_flight.saturating_sub(1)) {
            // Lists that have run are filled again. Before our turn, since what they held may be dropped here. What
            // keeps one from settling keeps it for later.
            let _ = self.settle(Point { stream: stream.index, value: u64::MAX });
        }
        let mut queue = stream.submitter.take(policy)?;
        // Looked again in our turn: somebody else may have sealed that list meanwhile (I2).
        if stream.submitted() < at.value {
            self.wait_for_credit(stream, policy)?;
            if let Some(sealed) = self.seal(stream, policy)? {
                self.submit(stream, &mut **queue, sealed);
            }
        }
        drop(queue);
        // For the reaper to settle the list. What it could not submit while somebody had the turn it tries again by
        // itself.
        self.doorbell.submitted();
        Ok(())
    }

    /// Seals the open list. Where the device's waits are dear, waits on the host before for what the list waits for, as
    /// long as the policy allows, and leaves the rest to the device. Hazards and the submitter stay with the caller,
    /// as for a credit.
    ///
    /// # Errors
    /// That the device is closed.
    fn seal(&self, stream: &StreamState, policy: WaitPolicy) -> Result<Option<SealedList>> {
        let spare = stream.in_flight.spare_list();
        let mut waits_first = self.hal.info().waits_are_dear && !matches!(policy, WaitPolicy::Never);
        loop {
            let mut recorder = stream.recorder.lock();
            let Some(at) = recorder.next_wait(&|stream| self.settled(stream)).filter(|_| waits_first) else {
                return Ok(recorder.seal(spare));
            };
            // Recording goes on meanwhile, and may add a wait. There is an end, because the list is full at some time.
            drop(recorder);
            match self.wait(at, policy) {
                // Nothing will ever settle. The queue refuses the list, and it settles by that.
                Err(Error::Device(_)) if self.life.is_lost() => waits_first = false,
                Err(Error::Timeout) => waits_first = false,
                result => result?,
            }
        }
    }

    /// Submits what a stream has recorded so far.
    pub(crate) fn flush(&self, stream: u32, policy: WaitPolicy) -> Result<()> {
        self.flush_to(self.stream(stream).last(), policy)
    }

    /// Waits until the stream may have another list in flight. Hazards and the submitter stay with the caller: what is
    /// waited for is on the device already (I1).
    fn wait_for_credit(&self, stream: &StreamState, policy: WaitPolicy) -> Result<()> {
        let limit = self.config.lists_in_flight;
        #[cfg(test)]
        let limit = if self.sabotage.gives_unlimited_credit() { u64::MAX } else { limit };
        if stream.in_flight() >= limit && !matches!(policy, WaitPolicy::Never) {
            stream.counters.credit_waits.fetch_add(1, Ordering::Relaxed);
        }
        while stream.in_flight() >= limit {
            let at = Point { stream: stream.index, value: stream.submitted() + 1 - limit };
            match self.wait(at, policy) {
                // Nothing will ever settle. The queue refuses the list, and it settles by that.
                Err(Error::Device(_)) if self.life.is_lost() => break,
                result => result?,
            }
        }
        Ok(())
    }

    /// Hands a list over. A list that the device refuses uses up its value (I7): an empty list takes its place, with
    /// the same waits, so that what comes after it still comes after what it would have waited for.
    fn submit(&self, stream: &StreamState, queue: &mut dyn Queue, sealed: SealedList) {
        let SealedList { at, list, waits, edges, outcome, marks } = sealed;
        let submit_begun = self.trace.begin();
        let waits = self.device_waits(&waits);
        let list = Arc::new(list);
        #[cfg(test)]
        let edges = if self.sabotage.drops_edges() { Vec::new() } else { edges };
        // In flight before it is submitted, so that a thread that sees the signal finds the list.
        stream.in_flight.add(InFlight { at, list: Arc::clone(&list), edges, outcome, marks, refused: None });
        let mut submit = |list: &Arc<List>| {
            let submission = Submission { list, waits: &waits, value: at.value };
            // SAFETY: accesses to the same bytes are ordered, since the recorder adds a wait or a barrier for every
            // earlier use that an operand's hazard knows (Q1, by I2, I5, I6); waits name submitted values only, since
            // foreign uses are flushed before they are recorded (Q2, by I1); each command was checked before it was
            // recorded (Q3); lists are sealed one after the other, and each has the next value (Q4); a prepared list is
            // a graph's, which changes nothing of it (Q5). An empty list touches nothing.
            let taken = catch_unwind(AssertUnwindSafe(|| unsafe { queue.submit(submission) }));
            // A backend that panics has broken its contract.
            let lost = || thalweg_hal::Error::DeviceLost { device: self.hal.info().name.clone() };
            taken.unwrap_or_else(|_| Err(lost()))
        };
        if let Err(error) = submit(&list) {
            stream.in_flight.refuse(at, Arc::new(error));
            let empty = Arc::new(List { commands: vec![Command::Barrier], ..List::default() });
            let mut taken = submit(&empty);
            for _ in 1..ATTEMPTS {
                match taken {
                    // Whatever it lacked, it may have by now.
                    Err(error) if !matches!(error, thalweg_hal::Error::DeviceLost { .. }) => taken = submit(&empty),
                    _ => break,
                }
            }
            if let Err(error) = taken {
                // Not even an empty list: nothing more will ever be signalled here.
                self.lose(error);
            }
        }
        submit_begun.submitted(at, &list);
        stream.publish(at.value);
    }

    /// A list's waits, as the device understands them. What has settled since it was noted needs none: the host has
    /// seen it complete, and the list starts with a barrier (I6).
    pub(crate) fn device_waits(&self, waits: &Points) -> smallvec::SmallVec<[TimelinePoint; 4]> {
        let wait = |at: &Point| {
            let stream = self.stream(at.stream);
            let submitted = stream.submitted();
            #[cfg(test)]
            let submitted = if self.sabotage.skips_foreign_flushes() { at.value } else { submitted };
            debug_assert!(at.value <= submitted, "I1: a wait for {at:?}, at {submitted}");
            stream.point(at.value)
        };
        waits.iter().filter(|at| self.stream(at.stream).settled() < at.value).map(wait).collect()
    }
}
