//! The way from a size to a block.

use super::arena::{BLOCKS, Owner, PoolId};
use super::class::Class;
use super::heap::{Block, Purpose};
use super::ladder::{Request, absurd, obtain};
use super::pool::take_frozen;
use super::storage::Storage;
use crate::device::{DeviceCore, Lease};
use crate::error::Result;
use crate::patience::Patience;
use std::sync::Arc;

/// At least `bytes` bytes of the lease's stream. Their content is whatever was there.
pub(crate) fn allocate(lease: &Arc<Lease>, bytes: u64, purpose: Purpose, patience: Patience) -> Result<Storage> {
    let core = &*lease.device.core;
    let Some(class) = Class::of(bytes) else {
        return Err(absurd(core, bytes));
    };
    let mut block = match hit(core, lease.index, class, purpose) {
        Some(block) => block,
        None => {
            let block = miss(core, lease.index, class, purpose, patience)?;
            // For what is idle one day to be given back.
            core.doorbell.cached();
            block
        }
    };
    #[cfg(test)]
    if core.sabotage.forgets_freed_stamps() {
        *block.hazard.uses.get_mut() = Default::default();
    }
    if block.hazard.uses.get_mut().before(thalweg_hal::Access::Write).next().is_none() {
        // SAFETY: the block is ours alone, and every use of its bytes has settled.
        unsafe { core.hal.discard(&block.span.memory, block.offset, block.class.bytes) };
    }
    Ok(Storage::pooled(Arc::clone(lease), block, bytes))
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
    let request = Request { pool: BLOCKS, bytes: class.bytes * class.blocks_per_span(), least: class.bytes };
    let owner = Owner::Stream { stream, block: class.bytes };
    let stream = core.stream(stream);
    obtain(core, request, patience, |want| {
        let mut recorder = stream.recorder.lock();
        // What was waited for may have settled a block of our own.
        let own = recorder.heap.take(class, purpose, &stream.returns, |stream| core.stream(stream).settled());
        own.or_else(|| {
            // From the arena to the stream under both locks, so that the bytes are in one of them at any time.
            let place = core.memory.arena.lock().take(want, owner)?;
            recorder.heap.add_span(class, place)
        })
    })
}

/// Memory for bytes that will never change: no block, no uses.
pub(crate) fn freeze(lease: &Arc<Lease>, pool: Option<PoolId>, bytes: &[u8], patience: Patience) -> Result<Storage> {
    let core = &*lease.device.core;
    let span = take_frozen(&lease.device, pool, bytes.len() as u64, patience)?;
    let storage = Storage::frozen(Arc::clone(lease), span, bytes.len() as u64);
    // SAFETY: the span was free, so every use of it has settled, and no command can name the storage yet.
    unsafe { core.hal.write(storage.memory(), storage.offset(), bytes)? };
    Ok(storage)
}
