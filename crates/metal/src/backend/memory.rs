//! Memory: a heap of its own with one buffer over all of it, which the host sees too.
//!
//! Heaps are untracked: Metal orders nothing that uses them. That is our part, and half of what a submit would cost.

use super::context::Context;
use super::pool::pooled;
use super::{NAME, Object};
use objc2_metal::{
    MTLBuffer, MTLDevice, MTLHazardTrackingMode, MTLHeap, MTLHeapDescriptor, MTLHeapType, MTLResourceOptions,
    MTLStorageMode,
};
use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use thalweg_hal::{Error, Memory, MemoryKind, Result, Violation, own, unique_id};

/// How buffers lie in their heaps.
const OPTIONS: MTLResourceOptions =
    MTLResourceOptions(MTLResourceOptions::StorageModeShared.0 | MTLResourceOptions::HazardTrackingModeUntracked.0);

/// A buffer, and where the host sees it.
pub struct Buffer {
    pub raw: Object<dyn MTLBuffer>,
    pub heap: Object<dyn MTLHeap>,
    contents: NonNull<u8>,
    bytes: u64,
    context: Arc<Context>,
}

// SAFETY: Metal's memory may be used from any thread, and every access to the bytes is in an `unsafe fn` that takes a
// promise that conflicting accesses are ordered (R1, R2, W1, W2).
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Allocates. What it holds is not defined.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(context: &Arc<Context>, bytes: u64) -> Result<Self> {
        context.check()?;
        let out_of_memory = || Error::OutOfMemory { device: NAME.to_owned(), bytes };
        let device = &context.device;
        // Whole vectors, of which a copy's kernel is bound to one at least; and Metal has no empty buffer.
        let length = bytes.max(1).checked_next_multiple_of(16).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or_else(out_of_memory)?;
        if length > device.maxBufferLength() {
            return Err(out_of_memory());
        }
        pooled(|| {
            let needs = device.heapBufferSizeAndAlignWithLength_options(length, OPTIONS);
            let place = MTLHeapDescriptor::new();
            place.setType(MTLHeapType::Placement);
            place.setStorageMode(MTLStorageMode::Shared);
            place.setHazardTrackingMode(MTLHazardTrackingMode::Untracked);
            place.setSize(needs.size.next_multiple_of(needs.align.max(1)));
            let heap = device.newHeapWithDescriptor(&place).ok_or_else(out_of_memory)?;
            // SAFETY: the heap is one for placement, and as long as the buffer needs.
            let raw = unsafe { heap.newBufferWithLength_options_offset(length, OPTIONS, 0) };
            let raw = raw.ok_or_else(out_of_memory)?;
            let contents = raw.contents().cast();
            context.residency.enter(&heap);
            Ok(Self { raw, heap, contents, bytes, context: Arc::clone(context) })
        })
    }

    /// Its first byte, for the host.
    pub fn contents(&self) -> NonNull<u8> {
        self.contents
    }

    /// The first byte of a range, for the host.
    ///
    /// # Errors
    /// If the range is not inside the buffer.
    pub fn range(&self, offset: u64, bytes: usize) -> Result<NonNull<u8>, Violation> {
        let bytes = bytes as u64;
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return Err(Violation::OutOfBounds { offset, bytes, memory_bytes: self.bytes });
        }
        // SAFETY: the buffer has as many bytes.
        Ok(unsafe { self.contents.add(offset as usize) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Every list in flight keeps the buffers that it uses, so nothing uses this one.
        pooled(|| self.context.residency.leave(&self.heap));
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// A buffer as the HAL's memory. Both kinds are alike: the device and the host use the same memory.
pub struct MetalMemory {
    id: u64,
    kind: MemoryKind,
    pub buffer: Buffer,
}

impl fmt::Debug for MetalMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetalMemory({}: {} bytes, {:?})", self.id, self.buffer.bytes, self.kind)
    }
}

impl MetalMemory {
    pub fn new(kind: MemoryKind, buffer: Buffer) -> Self {
        Self { id: unique_id(), kind, buffer }
    }

    /// Copies bytes to the host.
    ///
    /// # Errors
    /// If the range is not inside the memory, or the device is lost.
    ///
    /// # Safety
    /// - R1 and R2 of [`Device::read`](thalweg_hal::Device::read).
    pub unsafe fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.buffer.context.check()?;
        let from = self.buffer.range(offset, into.len())?;
        // SAFETY: both ranges have so many bytes, and nobody writes the memory's (R1, R2).
        unsafe { from.copy_to_nonoverlapping(NonNull::from(&mut *into).cast(), into.len()) };
        Ok(())
    }

    /// Copies bytes of the host.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    ///
    /// # Safety
    /// - W1 and W2 of [`Device::write`](thalweg_hal::Device::write).
    pub unsafe fn write(&self, offset: u64, from: &[u8]) -> Result<()> {
        self.buffer.context.check()?;
        let to = self.buffer.range(offset, from.len())?;
        // SAFETY: both ranges have so many bytes, and nobody else uses that of the memory (W1, W2).
        unsafe { to.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
        Ok(())
    }

    /// The memory behind a handle.
    ///
    /// # Errors
    /// [`Error::ForeignObject`] if it is of another backend or device.
    pub fn of<'a>(memory: &'a dyn Memory, context: &Context) -> Result<&'a Self> {
        own(memory.as_any(), NAME, "memory", |it: &Self| it.buffer.context.id == context.id)
    }
}

impl Memory for MetalMemory {
    fn id(&self) -> u64 {
        self.id
    }

    fn bytes(&self) -> u64 {
        self.buffer.bytes
    }

    fn kind(&self) -> MemoryKind {
        self.kind
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
