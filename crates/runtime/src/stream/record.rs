//! The way of one operation into a stream's list (I1, I2).
//!
//! 1. Check the operation against its kernel and its operands, with nothing locked.
//! 2. Lock the hazards of all its operands, in the order of their ids.
//! 3. Flush every foreign stream whose use is not submitted yet, up to that use. The hazards stay locked, so no new
//!    use can appear between this look and the stamp.
//! 4. Lock the recorder; append waits, barrier and command, and stamp the hazards.
//! 5. Release everything. If the list is long enough, submit it.

use super::core::StreamCore;
use super::recorder::{Hazards, Locked, Point, Recorder, Work, distinct_hazards, whole_words};
use crate::device::DeviceCore;
use crate::error::{Error, Result};
use crate::graph::Replay;
use crate::hazard::Write;
#[cfg(test)]
use crate::hazard::{Hazard, Uses};
use crate::memory::Operand;
use crate::patience::Patience;
use crate::sync::atomic::Ordering;
use smallvec::SmallVec;
use std::sync::Arc;
use thalweg_hal::Access;
use thalweg_hal::check::{self, CommandError, Operation};

/// After this many commands, the barrier at the start included, an idle stream hands over its list.
const FEW_COMMANDS: usize = 16;

/// Records one operation. On an error nothing is appended and nothing stamped.
pub(crate) fn record(
    core: &DeviceCore,
    stream: &StreamCore,
    work: &Work<'_>,
    operands: &[Operand<'_>],
    patience: Patience,
) -> Result<()> {
    let span = core.profile.begin_operation();
    core.life.check_open()?;
    check(core, work, operands)?;
    check_bytes(operands)?;
    // Filled in place: they are large to move.
    let mut hazards = Hazards::new();
    distinct_hazards(operands, &mut hazards)?;
    let by = in_order(core, stream, &hazards, patience, |recorder, locked| {
        recorder.append(work, operands, locked, core, span.state)
    })?;
    span.recorded(name(work), by);
    Ok(())
}

/// Records a run of a graph. On an error nothing is appended and nothing stamped.
pub(crate) fn replay(core: &DeviceCore, stream: &StreamCore, replay: &Replay<'_>, patience: Patience) -> Result<()> {
    core.life.check_open()?;
    let span = core.profile.begin_operation();
    check_replay(core, &replay.operands)?;
    check_bytes(&replay.operands)?;
    let own = &replay.instance.hazard;
    #[cfg(test)]
    let forgotten = core.sabotage.forgets_runs().then(|| Hazard::new(Uses::default()));
    #[cfg(test)]
    let own = forgotten.as_ref().unwrap_or(own);
    let mut hazards = Hazards::new();
    distinct_hazards(&replay.operands, &mut hazards)?;
    // Whatever was there is written again before it is read.
    let at = hazards.partition_point(|(hazard, ..)| hazard.id < own.id);
    hazards.insert(at, (own, Access::Write, replay.operands.len()));
    let by = in_order(core, stream, &hazards, patience, |recorder, locked| {
        recorder.append_replay(replay, locked, core, span.state)
    })?;
    span.recorded("replay", by);
    Ok(())
}

/// Records a copy between a storage and staging. The operands fit. Gives where it is, and whom to ask how it went.
pub(crate) fn transfer(
    core: &DeviceCore,
    stream: &StreamCore,
    name: &'static str,
    operands: &[Operand<'_>; 2],
    patience: Patience,
) -> Result<Write> {
    let span = core.profile.begin_operation();
    core.life.check_open()?;
    let mut hazards = Hazards::new();
    distinct_hazards(operands, &mut hazards)?;
    let write = in_order(core, stream, &hazards, patience, |recorder, locked| {
        let by = recorder.append(&Work::Copy, operands, locked, core, span.state);
        Write { by, outcome: Arc::clone(recorder.outcome()) }
    })?;
    span.recorded(name, write.by);
    Ok(write)
}

/// Has `append` append to a stream's list while the hazards are held and everything that they tell to come after is submitted.
fn in_order<'a, T>(
    core: &DeviceCore,
    stream: &StreamCore,
    hazards: &Hazards<'a>,
    patience: Patience,
    append: impl FnOnce(&mut Recorder, &mut [Locked<'a>]) -> T,
) -> Result<T> {
    let mut locked = SmallVec::new();
    lock(hazards, patience, &mut locked)?;
    for Locked { access, uses, .. } in &locked {
        for by in uses.before(*access).filter(|by| by.stream != stream.index) {
            flush_foreign(core, stream, (by.stream, by.value), patience)?;
        }
    }
    if matches!(patience, Patience::Never) && stream.len() >= core.config.list_commands {
        // A full list that its last recorder could not hand over.
        stream.flush(core, patience)?;
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
    hand_over(core, stream, before, after, patience);
    Ok(appended)
}

/// Submits a list that has grown long enough. What was recorded stays recorded, whatever keeps its list from being submitted
/// now.
pub(crate) fn hand_over(core: &DeviceCore, stream: &StreamCore, before: usize, after: usize, patience: Patience) {
    if is_enough(core, stream, before, after) {
        hand_over_now(core, stream, patience);
    }
}

/// Submits a list, or has the reaper do so if something keeps it from being submitted now.
pub(crate) fn hand_over_now(core: &DeviceCore, stream: &StreamCore, patience: Patience) {
    if stream.flush(core, patience).is_err() {
        core.defer_flush(stream.index);
    }
}

/// Whether a list that has grown is to be submitted: a few commands for a device that has nothing of this stream to do, twice
/// as many for each list that it has.
fn is_enough(core: &DeviceCore, stream: &StreamCore, before: usize, after: usize) -> bool {
    if after >= core.config.list_commands {
        return true;
    }
    // Every few commands, because asking the device takes a while.
    if before / FEW_COMMANDS == after / FEW_COMMANDS {
        return false;
    }
    // An edge that is still open means that the device has that list.
    let _ = stream.retire(core, u64::MAX);
    after >= FEW_COMMANDS << stream.in_flight().min(16)
}

/// Locks the hazards of an operation.
fn lock<'a>(hazards: &Hazards<'a>, patience: Patience, locked: &mut SmallVec<[Locked<'a>; 8]>) -> Result<()> {
    for (hazard, access, operand) in hazards {
        let uses = match patience {
            // Whoever has it may be waiting for the device.
            Patience::Never => hazard.uses.try_lock().ok_or(Error::Busy)?,
            Patience::Forever | Patience::Until(_) => hazard.uses.lock(),
        };
        locked.push(Locked { access: *access, uses, operand: *operand });
    }
    Ok(())
}

/// Submits what another stream has recorded up to a use, so that it may be waited for (I1).
pub(crate) fn flush_foreign(core: &DeviceCore, stream: &StreamCore, use_: Point, patience: Patience) -> Result<()> {
    let (foreign, value) = (core.stream(use_.0), use_.1);
    #[cfg(test)]
    if core.sabotage.skips_foreign_flushes() {
        return Ok(());
    }
    if foreign.submitted() < value {
        stream.counters.foreign_flushes.fetch_add(1, Ordering::Relaxed);
        foreign.flush_to(core, value, patience).inspect_err(|_| core.defer_flush(foreign.index))?;
    }
    Ok(())
}

/// Captured memory has no bytes for the device to use.
fn check_bytes(operands: &[Operand<'_>]) -> Result<()> {
    match operands.iter().position(|operand| operand.storage.captured().is_some()) {
        Some(operand) => Err(Error::Captured { operand }),
        None => Ok(()),
    }
}

/// What an operation is called.
fn name<'a>(work: &Work<'a>) -> &'a str {
    match work {
        Work::Dispatch { pipeline, .. } => &pipeline.source().name,
        Work::Copy => "copy",
        Work::Fill(_) => "fill",
    }
}

/// Whether an operation keeps the rules of a command ([`mod@check`]), and its operands and kernel may be used here.
/// What is recorded is not checked again.
pub(crate) fn check(core: &DeviceCore, work: &Work<'_>, operands: &[Operand<'_>]) -> Result<()> {
    check_owners(core, operands)?;
    let (limits, operands) = (&core.hal.info().limits, as_checked(operands));
    let checked = match work {
        Work::Dispatch { pipeline, params, extent } => {
            if pipeline.device != core.id {
                let what = "the pipeline was compiled for another device";
                return Err(Error::Malformed { operation: name(work).to_owned(), what });
            }
            check::command(&Operation::Dispatch { pipeline: &*pipeline.hal, params, extent: *extent }, operands, limits)
        }
        Work::Copy => check::command(&Operation::Copy, operands, limits),
        // In whole words, as it is recorded. Where a storage does not end with one, its block goes on.
        Work::Fill(_) => check::command(&Operation::Fill, operands.map(in_words), limits),
    };
    checked.map_err(|error| refused(core, name(work), error))
}

/// As [`check()`], for the copies to and from the memory of a graph.
fn check_replay(core: &DeviceCore, operands: &[Operand<'_>]) -> Result<()> {
    check_owners(core, operands)?;
    // The other side of each copy is as long, and was checked with the graph.
    let checked = check::operands(as_checked(operands), &core.hal.info().limits);
    checked.map_err(|error| refused(core, "replay", error))
}

/// Whether operands are of this device, and only read where they are frozen.
fn check_owners(core: &DeviceCore, operands: &[Operand<'_>]) -> Result<()> {
    for (index, operand) in operands.iter().enumerate() {
        if !std::ptr::eq(&*operand.storage.device().core, core) {
            return Err(Error::OtherDevice { operand: index });
        }
        if operand.access != Access::Read && operand.storage.is_frozen() {
            return Err(Error::Frozen { operand: index });
        }
    }
    Ok(())
}

/// Operands as the rules see them: each in a memory of its storage's length. Two storages share no byte, and a storage
/// starts where every device can bind.
fn as_checked<'a>(operands: &'a [Operand<'_>]) -> impl ExactSizeIterator<Item = check::Operand> + Clone + 'a {
    operands.iter().map(|&Operand { storage, access, offset, bytes, .. }| {
        // The operands borrow their storages, which therefore stay where they are.
        let memory = std::ptr::from_ref(storage).addr() as u64;
        check::Operand { memory, memory_bytes: storage.bytes(), access, offset, bytes }
    })
}

/// What is filled of an operand.
fn in_words(operand: check::Operand) -> check::Operand {
    let check::Operand { memory_bytes, bytes, .. } = operand;
    check::Operand { memory_bytes: whole_words(memory_bytes), bytes: whole_words(bytes), ..operand }
}

/// What a broken rule is to whoever recorded.
#[cold]
fn refused(core: &DeviceCore, operation: &str, error: CommandError) -> Error {
    match error {
        CommandError::Aliased { written, other } => Error::Aliased { written, other },
        CommandError::TooLong { operand, bytes, limit } => {
            Error::BindingTooLarge { operand, bytes, limit, device: core.hal.info().name.clone() }
        }
        source => Error::Command { operation: operation.to_owned(), source },
    }
}
