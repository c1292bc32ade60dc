//! The way from a size to a block, and what happens on a miss.

use super::budget::Share;
use super::class::Class;
use super::heap::{Block, Purpose, segment_bytes, split_segment};
use super::storage::Storage;
use crate::device::{DeviceCore, Lease};
use crate::error::{Error, OutOfMemory, Result};
use crate::patience::Patience;
use smallvec::SmallVec;
use std::convert::Infallible;
use std::sync::Arc;
use thalweg_hal::{BINDING_ALIGNMENT, Memory};

/// At least `bytes` bytes of the lease's stream. Their content is whatever was there.
pub(crate) fn allocate(lease: &Arc<Lease>, bytes: u64, purpose: Purpose, patience: Patience) -> Result<Storage> {
    let core = &*lease.device.core;
    let Some(class) = Class::of(bytes) else {
        return Err(out_of_memory(core, bytes, None));
    };
    let block = match hit(core, lease.index, class, purpose) {
        Some(block) => block,
        None => miss(core, lease.index, class, purpose, patience)?,
    };
    core.profile.allocated(lease.index, block.class.bytes);
    Ok(Storage::pooled(Arc::clone(lease), block, bytes))
}

fn hit(core: &DeviceCore, stream: u32, class: Class, purpose: Purpose) -> Option<Box<Block>> {
    let stream = core.stream(stream);
    let mut block =
        stream.recorder.lock().heap.take(class, purpose, &stream.returns, |stream| core.stream(stream).settled())?;
    #[cfg(test)]
    if core.sabotage.forgets_freed_stamps() {
        *block.hazard.uses.get_mut() = Default::default();
    }
    if block.hazard.uses.get_mut().before(thalweg_hal::Access::Write).next().is_none() {
        // SAFETY: the block is ours alone, and every use of its bytes has settled.
        unsafe { core.hal.discard(&block.segment.memory, block.offset, block.class.bytes) };
    }
    Some(block)
}

fn miss(core: &DeviceCore, stream: u32, class: Class, purpose: Purpose, patience: Patience) -> Result<Box<Block>> {
    // What was waited for may have settled a block of our own.
    match grow(core, segment_bytes(class), patience, || hit(core, stream, class, purpose))? {
        Grown::Found(block) => Ok(block),
        Grown::Memory(memory) => {
            let blocks = split_segment(class, memory);
            let first = core.stream(stream).recorder.lock().heap.add_segment(blocks);
            Ok(first.expect("a segment has at least one block"))
        }
    }
}

/// What [`grow`] came to.
enum Grown<T> {
    Memory(Arc<dyn Memory>),
    Found(T),
}

/// Memory of the device within the budget; or what `look` finds after others have given theirs back. No lock is held on
/// entry; see the module's docs for the order.
fn grow<T>(core: &DeviceCore, bytes: u64, patience: Patience, look: impl Fn() -> Option<T>) -> Result<Grown<T>> {
    let mut refusal = None;
    for attempt in 0..3 {
        match attempt {
            0 => {}
            1 => core.trim(),
            _ if matches!(patience, Patience::Never) => {
                // Trying again helps only if something is still to run; and it is to run.
                let busy: SmallVec<[u32; 8]> =
                    core.streams().filter(|stream| !stream.is_idle()).map(|stream| stream.index).collect();
                if busy.is_empty() {
                    break;
                }
                busy.into_iter().for_each(|stream| core.defer_flush(stream));
                return Err(Error::Busy);
            }
            _ => {
                core.drain()?;
                core.trim();
            }
        }
        if attempt > 0
            && let Some(found) = look()
        {
            return Ok(Grown::Found(found));
        }
        let Some(share) = Share::reserve(&core.budget, bytes) else { continue };
        let span = core.profile.begin();
        match core.hal.allocate(bytes) {
            Ok(memory) => {
                span.grown(bytes, core.budget.reserved());
                return Ok(Grown::Memory(share.spend(memory)));
            }
            Err(error) if error.is_retryable() => refusal = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(out_of_memory(core, bytes, refusal))
}

/// Memory of its own for bytes that will never change: no block, no uses.
pub(crate) fn freeze(lease: &Arc<Lease>, bytes: &[u8], patience: Patience) -> Result<Storage> {
    let core = &*lease.device.core;
    core.life.check_open()?;
    let len = bytes.len() as u64;
    let rounded = len.max(1).next_multiple_of(BINDING_ALIGNMENT);
    let Grown::Memory(memory) = grow(core, rounded, patience, || None::<Infallible>)?;
    core.budget.count_frozen(rounded as i64);
    let storage = Storage::frozen(Arc::clone(lease), memory, len, rounded);
    // SAFETY: the memory is new; no command can name it yet.
    unsafe { core.hal.write(storage.memory(), 0, bytes)? };
    Ok(storage)
}

fn out_of_memory(core: &DeviceCore, requested: u64, device: Option<thalweg_hal::Error>) -> Error {
    let budget = &core.budget;
    let live = core.streams().map(|stream| (stream.index, stream.live_bytes())).filter(|(_, live)| *live > 0).collect();
    let (limit, reserved, frozen) = (budget.limit(), budget.reserved(), budget.frozen());
    Error::OutOfMemory(Box::new(OutOfMemory { requested, limit, reserved, frozen, live, device }))
}
