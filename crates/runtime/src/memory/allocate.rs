//! The way from a size to a block.

use super::arena::{BLOCKS, HOST, LARGE, Owner, SMALL};
use super::class::{Class, Zone};
use super::heap::{Block, Purpose};
use super::ladder::{Request, absurd, obtain};
use super::storage::Storage;
use crate::device::{DeviceCore, Lease};
use crate::error::{Error, Result};
use crate::hazard::Write;
use crate::patience::Patience;
use crate::stream::recorder::Recorder;
use std::sync::Arc;
use thalweg_hal::{Access, Memory, MemoryKind};

/// At least `bytes` bytes of the lease's stream. Their content is whatever was there: zeros, if nothing was. A raw span
/// is filled by a command of the stream's open list, as the first use of its bytes, all at once; or, if it was taken
/// for the host to write to, block by block, by the host to the end of the block or by a command.
pub(crate) fn allocate(
    lease: &Arc<Lease>,
    kind: MemoryKind,
    bytes: u64,
    purpose: Purpose,
    patience: Patience,
) -> Result<Storage> {
    let core = &*lease.device.core;
    let Some(class) = Class::of(kind, bytes, core.memory.scale) else {
        return Err(absurd(core, bytes));
    };
    let block = match hit(core, lease.index, class, purpose) {
        Some(block) => block,
        None => {
            let block = miss(core, lease.index, class, purpose, patience)?;
            // For what is idle one day to be given back.
            core.doorbell.cached();
            block
        }
    };
    core.profile.allocated(lease.index, block.bytes);
    #[cfg(test)]
    let block = forgetting(core, block);
    // From here on a drop returns the block.
    let mut storage = Storage::pooled(Arc::clone(lease), block, bytes);
    if purpose == Purpose::Commands
        && let Some(block) = storage.block_mut().filter(|block| block.raw)
    {
        #[cfg(test)]
        if core.sabotage.skips_zeros() {
            return Ok(storage);
        }
        fill(core, lease.index, block)?;
    }
    Ok(storage)
}

/// Has the stream fill a raw block with zeros.
#[cold]
fn fill(core: &DeviceCore, stream: u32, block: &mut Block) -> Result<()> {
    let mut recorder = core.stream(stream).recorder.lock();
    if recorder.closed {
        return Err(Error::Closed);
    }
    let zeros = zeros(core, &mut recorder, &block.memory, (block.offset, block.bytes));
    block.hazard.uses.get_mut().stamp(Access::Write, zeros.by, &zeros.outcome);
    block.raw = false;
    Ok(())
}

/// Appends zeros to a list that is open.
fn zeros(core: &DeviceCore, recorder: &mut Recorder, memory: &Arc<dyn Memory>, bytes: (u64, u64)) -> Write {
    let span = core.profile.begin_operation();
    let zeros = recorder.append_zeros(memory, bytes, core, span.state);
    span.recorded("zeros", zeros.by);
    zeros
}

/// Without its uses, if a test says so.
#[cfg(test)]
fn forgetting(core: &DeviceCore, mut block: Box<Block>) -> Box<Block> {
    if core.sabotage.forgets_freed_stamps() {
        *block.hazard.uses.get_mut() = Default::default();
    }
    block
}

fn hit(core: &DeviceCore, stream: u32, class: Class, purpose: Purpose) -> Option<Box<Block>> {
    let stream = core.stream(stream);
    let mut recorder = stream.recorder.lock();
    let block = recorder.heap.take(class, purpose, &stream.returns, |stream| core.stream(stream).settled());
    if block.is_none() {
        recorder.heap.misses += 1;
    }
    block
}

#[cold]
fn miss(core: &DeviceCore, stream: u32, class: Class, purpose: Purpose, patience: Patience) -> Result<Box<Block>> {
    let pool = match class.zone {
        Zone::Small => SMALL,
        Zone::Common => BLOCKS,
        Zone::Large => LARGE,
        Zone::Host => HOST,
    };
    let request = Request { pool, bytes: core.memory.scale.span(class), least: class.bytes };
    let owner = Owner::Stream(stream);
    let stream = core.stream(stream);
    obtain(core, request, patience, |want| {
        let mut recorder = stream.recorder.lock();
        let settled = |stream| core.stream(stream).settled();
        // What was waited for may have settled a block of our own.
        if let Some(own) = recorder.heap.take(class, purpose, &stream.returns, settled) {
            return Some(own);
        }
        // From the arena to the stream under both locks, so that the bytes are in one of them at any time.
        let Some(place) = core.memory.arena.lock().take(want, owner) else {
            return recorder.heap.merge_and_take(class, purpose, settled);
        };
        // All of it at once. What the host writes first it fills itself, block by block.
        let to_fill = place.raw && purpose == Purpose::Commands && !recorder.closed;
        #[cfg(test)]
        let to_fill = to_fill && !core.sabotage.skips_zeros();
        let zeros = to_fill.then(|| zeros(core, &mut recorder, &place.memory, (place.offset, place.bytes)));
        Some(recorder.heap.add_span(class, place, zeros.as_ref()))
    })
}
