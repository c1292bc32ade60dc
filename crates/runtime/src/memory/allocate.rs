//! The way from a size to a block, and what happens on a miss.

use super::class::Class;
use super::heap::{Block, Purpose, segment_bytes, split_segment};
use super::storage::Storage;
use crate::device::{DeviceCore, Lease};
use crate::error::{Error, OutOfMemory, Result};
use std::sync::Arc;
use thalweg_hal::BINDING_ALIGNMENT;

/// At least `bytes` bytes of the lease's stream. Their content is whatever was there.
pub(crate) fn allocate(lease: &Arc<Lease>, bytes: u64, purpose: Purpose) -> Result<Storage> {
    let core = &*lease.device.core;
    let Some(class) = Class::of(bytes) else {
        return Err(out_of_memory(core, bytes, None));
    };
    let block = match hit(core, lease.index, class, purpose) {
        Some(block) => block,
        None => miss(core, lease.index, class, purpose)?,
    };
    Ok(Storage::pooled(Arc::clone(lease), block, bytes))
}

fn hit(core: &DeviceCore, stream: u32, class: Class, purpose: Purpose) -> Option<Box<Block>> {
    let stream = core.stream(stream);
    let mut block =
        stream.recorder.lock().heap.take(class, purpose, &stream.returns, |stream| core.stream(stream).settled())?;
    #[cfg(test)]
    if core.sabotage.forgets_freed_stamps() {
        *block.uses.get_mut() = Default::default();
    }
    if block.uses.get_mut().before(thalweg_hal::Access::Write).next().is_none() {
        // SAFETY: the block is ours alone, and every use of its bytes has settled.
        unsafe { core.hal.discard(&block.segment.memory, block.offset, block.class.bytes) };
    }
    Some(block)
}

/// No lock is held on entry; see the module's docs for the order.
fn miss(core: &DeviceCore, stream: u32, class: Class, purpose: Purpose) -> Result<Box<Block>> {
    let mut refusal = None;
    for attempt in 0..3 {
        match attempt {
            0 => {}
            1 => core.trim(),
            _ => {
                core.drain()?;
                core.trim();
            }
        }
        if attempt > 0 {
            // What was waited for may have settled a block of our own.
            if let Some(block) = hit(core, stream, class, purpose) {
                return Ok(block);
            }
        }
        if !core.budget.reserve(segment_bytes(class)) {
            continue;
        }
        match core.hal.allocate(segment_bytes(class)) {
            Ok(memory) => {
                let blocks = split_segment(class, memory, Arc::clone(&core.budget));
                let first = core.stream(stream).recorder.lock().heap.grow(blocks);
                if let Some(first) = first {
                    return Ok(first);
                }
            }
            Err(error) => {
                core.budget.release(segment_bytes(class));
                if !error.is_retryable() {
                    return Err(error.into());
                }
                refusal = Some(error);
            }
        }
    }
    Err(out_of_memory(core, class.bytes, refusal))
}

/// Memory of its own for bytes that will never change: no block, no uses.
pub(crate) fn freeze(lease: &Arc<Lease>, bytes: &[u8]) -> Result<Storage> {
    let core = &*lease.device.core;
    let len = bytes.len() as u64;
    let rounded = len.max(1).next_multiple_of(BINDING_ALIGNMENT);
    if !core.budget.reserve(rounded) {
        core.drain()?;
        core.trim();
        if !core.budget.reserve(rounded) {
            return Err(out_of_memory(core, rounded, None));
        }
    }
    let memory = core.hal.allocate(rounded).map_err(|error| {
        core.budget.release(rounded);
        if error.is_retryable() { out_of_memory(core, rounded, Some(error)) } else { error.into() }
    })?;
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
