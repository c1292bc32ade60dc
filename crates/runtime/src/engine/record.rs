//! The way of one operation into a stream's list (I1, I2).
//!
//! 1. The operation has been checked against its kernel and its operands, with nothing locked.
//! 2. Lock the hazards of all its operands, in the order of their ids.
//! 3. Flush every foreign stream that has not submitted its use yet, up to that use. The hazards stay locked, so no new
//!    use can appear between this look and step 4.
//! 4. Lock the recorder; append waits, barrier and command, and stamp the hazards.
//! 5. Release everything. If the list is long enough, submit it.

use super::Engine;
use super::instance::Instance;
use super::stream::StreamState;
use crate::base::error::{Error, Result};
use crate::base::sync::MutexGuard;
use crate::base::sync::atomic::Ordering;
use crate::base::wait_policy::WaitPolicy;
use crate::memory::hazard::Hazard;
use crate::order::open_list::OpenList;
use crate::order::point::{Point, Use};
use crate::order::uses::{Uses, Write};
use crate::order::work::{Bound, Locked, Replay, Work};
use smallvec::SmallVec;
use std::sync::Arc;
use thalweg_hal::Access;

/// How far past [`Config::list_commands`] a list grows that callers which may not wait cannot hand over: so that such
/// a caller gets through with what it has begun: else it would begin again, and never end.
///
/// [`Config::list_commands`]: crate::Config::list_commands
const MOST_UNSUBMITTED: usize = 4096;

/// After this many commands, the barrier at the start included, an idle stream hands over its list.
const FEW_COMMANDS: usize = 16;

/// An operand with bytes that remember their uses.
pub(crate) trait Tracked: Bound {
    /// Where the uses of the bytes are kept; nowhere, if they never change.
    fn hazards(&self) -> &[Hazard];

    fn access(&self) -> Access;
}

impl Engine {
    /// Records an operation that keeps the rules of a command. On an error nothing is appended and nothing stamped.
    pub(crate) fn record<O: Tracked>(
        &self,
        stream: u32,
        work: &Work<'_>,
        operands: &[O],
        policy: WaitPolicy,
    ) -> Result<()> {
        let begun = self.trace.begin_operation();
        // Filled in place: they are large to move.
        let mut hazards = Hazards::new();
        distinct_hazards(operands, &mut hazards)?;
        let by = self.in_order(stream, &hazards, policy, |open, locked| {
            open.append(work, operands, locked, &|stream| self.settled(stream), begun.profiling)
        })?;
        begun.recorded(work.name(), by);
        Ok(())
    }

    /// Records a run of a graph. Its operands fit. On an error nothing is appended and nothing stamped.
    pub(crate) fn replay<O: Tracked>(
        &self,
        stream: u32,
        instance: &Instance,
        replay: &Replay<'_, O>,
        policy: WaitPolicy,
    ) -> Result<()> {
        let begun = self.trace.begin_operation();
        let own = &instance.hazard;
        #[cfg(test)]
        let forgotten = self.sabotage.forgets_runs().then(|| Hazard::new(Uses::default()));
        #[cfg(test)]
        let own = forgotten.as_ref().unwrap_or(own);
        let mut hazards = Hazards::new();
        distinct_hazards(replay.operands, &mut hazards)?;
        // Whatever was there is written again before it is read.
        let at = hazards.partition_point(|(hazard, ..)| hazard.id < own.id);
        hazards.insert(at, (own, Access::Write, replay.operands.len()));
        let by = self.in_order(stream, &hazards, policy, |open, locked| {
            let fill = instance.to_be_filled();
            open.append_replay(replay, fill, locked, &|stream| self.settled(stream), begun.profiling)
        })?;
        begun.recorded("replay", by);
        Ok(())
    }

    /// Records a copy between a storage and staging. The operands fit. Gives where it is, and where its result will be.
    pub(crate) fn transfer<O: Tracked>(
        &self,
        stream: u32,
        name: &'static str,
        operands: &[O; 2],
        policy: WaitPolicy,
    ) -> Result<Write> {
        let begun = self.trace.begin_operation();
        self.life.check_open()?;
        let mut hazards = Hazards::new();
        distinct_hazards(operands, &mut hazards)?;
        let write = self.in_order(stream, &hazards, policy, |open, locked| {
            let by: Use = open.append(&Work::Copy, operands, locked, &|stream| self.settled(stream), begun.profiling);
            Write { by, outcome: Arc::clone(open.outcome()) }
        })?;
        begun.recorded(name, write.by);
        Ok(write)
    }

    /// Has `append` append to a stream's list while the hazards are held and everything that they tell to come after is
    /// submitted.
    fn in_order<'a, T>(
        &self,
        stream: u32,
        hazards: &Hazards<'a>,
        policy: WaitPolicy,
        append: impl FnOnce(&mut OpenList, &mut [Locked<MutexGuard<'a, Uses>>]) -> T,
    ) -> Result<T> {
        let stream = self.stream(stream);
        let mut locked = SmallVec::new();
        lock(hazards, policy, &mut locked)?;
        for Locked { access, uses, .. } in &locked {
            for by in uses.before(*access).filter(|by| by.at.stream != stream.index) {
                self.flush_foreign(stream, by.at, policy)?;
            }
        }
        if matches!(policy, WaitPolicy::Never)
            && stream.len() >= self.config.list_commands.saturating_add(MOST_UNSUBMITTED)
        {
            // A list that could not be handed over for long.
            self.flush(stream.index, policy)?;
        }
        let mut recorder = stream.recorder.lock();
        if recorder.closed {
            return Err(Error::Closed);
        }
        let before = recorder.len();
        let appended = append(&mut recorder, &mut locked);
        let after = recorder.len();
        drop(recorder);
        drop(locked);
        self.hand_over(stream, before, after, policy);
        Ok(appended)
    }

    /// Submits a list that has grown long enough. What was recorded stays recorded, whatever keeps its list from being
    /// submitted now.
    #[inline]
    pub(crate) fn hand_over(&self, stream: &StreamState, before: usize, after: usize, policy: WaitPolicy) {
        if self.is_enough(stream, before, after) {
            self.hand_over_now(stream, policy);
        }
    }

    /// Submits a list, or has the reaper do so if something keeps it from being submitted now.
    pub(crate) fn hand_over_now(&self, stream: &StreamState, policy: WaitPolicy) {
        if self.flush(stream.index, policy).is_err() {
            self.defer_flush(stream.index);
        }
    }

    /// Whether a list that has grown is to be submitted: a few commands for a device that has nothing of this stream to
    /// do, twice as many for each list that it has.
    #[inline]
    fn is_enough(&self, stream: &StreamState, before: usize, after: usize) -> bool {
        if after >= self.config.list_commands {
            return true;
        }
        // Every few commands, because asking the device takes a while. Nothing is settled here, nor freed.
        if before / FEW_COMMANDS == after / FEW_COMMANDS {
            return false;
        }
        // In this order, what is submitted in between makes the answer too large, which is the safe side.
        let completed = stream.timeline.completed();
        let in_flight = stream.submitted().saturating_sub(completed);
        after >= FEW_COMMANDS << in_flight.min(16)
    }

    /// Submits what another stream has recorded up to a use, so that it may be waited for (I1).
    pub(crate) fn flush_foreign(&self, stream: &StreamState, at: Point, policy: WaitPolicy) -> Result<()> {
        #[cfg(test)]
        if self.sabotage.skips_foreign_flushes() {
            return Ok(());
        }
        if self.stream(at.stream).submitted() < at.value {
            stream.counters.foreign_flushes.fetch_add(1, Ordering::Relaxed);
            self.flush_to(at, policy).inspect_err(|_| self.defer_flush(at.stream))?;
        }
        Ok(())
    }
}

/// Locks the hazards of an operation.
#[inline]
fn lock<'a>(
    hazards: &Hazards<'a>,
    policy: WaitPolicy,
    locked: &mut SmallVec<[Locked<MutexGuard<'a, Uses>>; 8]>,
) -> Result<()> {
    for (hazard, access, operand) in hazards {
        let uses = match policy {
            // The thread that has it may be waiting for the device.
            WaitPolicy::Never => hazard.uses.try_lock().ok_or(Error::Busy)?,
            WaitPolicy::Forever | WaitPolicy::Until(_) => hazard.uses.lock(),
        };
        locked.push(Locked { access: *access, uses, operand: *operand });
    }
    Ok(())
}

/// The distinct hazards of an operation with what it does to their bytes, in the order in which they are locked.
///
/// # Errors
/// [`Error::Aliased`] if it writes bytes that another of its operands covers too.
#[inline]
fn distinct_hazards<'a, O: Tracked>(operands: &'a [O], hazards: &mut Hazards<'a>) -> Result<()> {
    for (index, operand) in operands.iter().enumerate() {
        // One by one, since nearly every operand has one: a range of them takes longer.
        operand.hazards().iter().for_each(|hazard| hazards.push((hazard, operand.access(), index)));
    }
    hazards.sort_unstable_by_key(|(hazard, ..)| hazard.id);
    for pair in hazards.windows(2) {
        let [(hazard, access, index), (other_hazard, other_access, other_index)] = pair else { continue };
        if hazard.id == other_hazard.id && (access.writes() || other_access.writes()) {
            let (written, other) = if access.writes() { (*index, *other_index) } else { (*other_index, *index) };
            return Err(Error::Aliased { written, other });
        }
    }
    hazards.dedup_by_key(|(hazard, ..)| hazard.id);
    Ok(())
}

/// Hazards with what an operation does to their bytes, and the index of the operand.
type Hazards<'a> = SmallVec<[(&'a Hazard, Access, usize); 8]>;
