//! The handle to some bytes of a device.

use super::heap::{Block, Purpose};
use crate::device::{Device, Lease};
use crate::error::{Error, Result};
use crate::hazard::Uses;
use std::sync::Arc;
use thalweg_hal::{Access, Memory};

/// Bytes on a device, pooled or frozen.
///
/// Reading needs `&Storage`, on any stream and any thread; writing needs `&mut Storage`. Dropping it returns the block
/// to the stream that it came from, at once and without waiting: what still uses the bytes is remembered with them.
#[derive(Debug)]
pub struct Storage {
    lease: Arc<Lease>,
    kind: Kind,
    bytes: u64,
}

#[derive(Debug)]
enum Kind {
    /// Always `Some`, until `drop` takes it.
    Pooled(Option<Box<Block>>),
    /// Memory of its own, written before anyone could name it and never after. Carries no stamps: lists that read it
    /// hold its memory.
    Frozen { memory: Arc<dyn Memory>, counted: u64 },
}

impl Storage {
    pub(crate) fn pooled(lease: Arc<Lease>, block: Box<Block>, bytes: u64) -> Self {
        Self { lease, kind: Kind::Pooled(Some(block)), bytes }
    }

    /// `counted` bytes have been counted as frozen.
    pub(crate) fn frozen(lease: Arc<Lease>, memory: Arc<dyn Memory>, bytes: u64, counted: u64) -> Self {
        Self { lease, kind: Kind::Frozen { memory, counted }, bytes }
    }

    /// Bytes holding `data`, to be read or written. Copies; waits for nothing unless memory is short.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or what the device says.
    pub fn from_bytes(device: &Device, data: &[u8]) -> Result<Self> {
        let lease = device.current_lease()?;
        let storage = super::allocate(&lease, data.len() as u64, Purpose::HostWrite)?;
        if !data.is_empty() {
            // SAFETY: `allocate` for a host write gives a block without outstanding uses, and it is ours alone.
            unsafe { device.core.hal.write(storage.memory(), storage.offset(), data)? };
        }
        Ok(storage)
    }

    /// Bytes holding `data`, never to change: weights. Any number of streams read them without keeping track.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or what the device says.
    pub fn frozen_from_bytes(device: &Device, data: &[u8]) -> Result<Self> {
        super::freeze(&device.current_lease()?, data)
    }

    /// The length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The device that the bytes are on.
    pub fn device(&self) -> &Device {
        &self.lease.device
    }

    /// Whether the bytes can never change.
    pub fn is_frozen(&self) -> bool {
        matches!(self.kind, Kind::Frozen { .. })
    }

    /// Waits for the work that writes these bytes, and copies `into.len()` of them, from `offset`, to the host. Bytes that
    /// nothing has written are whatever their memory held before.
    ///
    /// # Errors
    /// [`Error::Failed`] if that work failed, [`Error::Malformed`] if the range is not inside the storage.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.bytes) {
            let what = "the range ends past the storage";
            return Err(Error::Malformed { operation: "read".into(), what });
        }
        let core = &*self.lease.device.core;
        if let Some(block) = self.block() {
            let write = block.uses.lock().write;
            if let Some(write) = write {
                core.wait(write.stream, write.value, None)?;
                core.result(write)?;
            }
        }
        // SAFETY: the last write has settled, and was ordered after every earlier one. A new one needs `&mut self`.
        unsafe { core.hal.read(self.memory(), self.offset() + offset, into)? };
        Ok(())
    }

    /// The block, if pooled.
    pub(crate) fn block(&self) -> Option<&Block> {
        match &self.kind {
            Kind::Pooled(block) => block.as_deref(),
            Kind::Frozen { .. } => None,
        }
    }

    pub(crate) fn memory(&self) -> &Arc<dyn Memory> {
        match &self.kind {
            Kind::Pooled(block) => &block.as_ref().expect("taken only by drop").segment.memory,
            Kind::Frozen { memory, .. } => memory,
        }
    }

    /// Where the bytes start in their memory.
    pub(crate) fn offset(&self) -> u64 {
        self.block().map_or(0, |block| block.offset)
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let core = &*self.lease.device.core;
        match &mut self.kind {
            Kind::Pooled(block) => {
                if let Some(block) = block.take() {
                    let mut returns = core.stream(self.lease.index).returns.lock();
                    returns.bytes += block.class.bytes;
                    returns.blocks.push(block);
                }
            }
            Kind::Frozen { counted, .. } => {
                core.budget.count_frozen(-(*counted as i64));
            }
        }
    }
}

/// A part of a storage as an operand of an operation.
///
/// Reading borrows the storage, writing borrows it mutably: memory that somebody else can name cannot be written.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) access: Access,
    /// First byte within the storage.
    pub(crate) offset: u64,
    /// Length in bytes.
    pub(crate) bytes: u64,
}

impl<'a> Operand<'a> {
    /// `bytes` bytes to read, from `offset`, which is a multiple of 256.
    pub fn read(storage: &'a Storage, offset: u64, bytes: u64) -> Self {
        Self { storage, access: Access::Read, offset, bytes }
    }

    /// All bytes of the storage, to be written.
    pub fn write(storage: &'a mut Storage) -> Self {
        Self { bytes: storage.bytes, offset: 0, access: Access::Write, storage }
    }

    /// All bytes of the storage, to be changed in place.
    pub fn update(storage: &'a mut Storage) -> Self {
        Self { bytes: storage.bytes, offset: 0, access: Access::ReadWrite, storage }
    }
}

/// For `Storage` to be shared between threads, its uses must be under a lock; checked here once.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Storage>();
    shared::<Uses>();
};
