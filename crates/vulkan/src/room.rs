//! Memory for the words into which kernels store why they failed. Each list that is in flight has a piece; one of the
//! driver's allocations has many, so that those of a queue are few, however many lists it has.

use crate::NAME;
use crate::context::Context;
use crate::memory::Buffer;
use ash::vk;
use std::ptr::NonNull;
use std::sync::Arc;
use thalweg_hal::{Error, MemoryKind, Result};

/// Bytes of an allocation, if no piece is larger: enough for four lists of 256 kernels that can fail, on most devices.
const BYTES: u64 = 64 << 10;

/// The smallest piece, in bytes.
const LEAST: u64 = 64;

/// Where one queue's pieces are cut off.
#[derive(Default)]
pub struct Room {
    /// The last allocation, which the pieces keep.
    buffer: Option<Arc<Buffer>>,
    /// How much of it has been cut off.
    used: u64,
}

impl Room {
    /// A piece with so many bytes, or nearly twice as many: its slot keeps it, for later lists, until it needs a larger
    /// one. What its slot had before is not cut again; sizes double, so all that a slot ever had is at most twice what
    /// it has.
    ///
    /// # Errors
    /// What the driver says, or that the device has no memory that the host sees.
    pub fn cut(&mut self, context: &Arc<Context>, bytes: u64) -> Result<Piece> {
        // Whole strides, which are powers of two, so that each piece starts where a binding may.
        let bytes = bytes.next_power_of_two().max(LEAST);
        let buffer = match self.buffer.take().filter(|buffer| buffer.bytes() - self.used >= bytes) {
            Some(buffer) => buffer,
            None => {
                self.used = 0;
                Arc::new(Buffer::new(context, bytes.max(BYTES), MemoryKind::Host)?)
            }
        };
        let offset = self.used;
        let Some(mapped) = buffer.mapped() else {
            let message = "it has no memory that the host sees".to_owned();
            return Err(Error::Driver { device: NAME.to_owned(), call: "vkAllocateMemory", message });
        };
        // SAFETY: the mapping has as many bytes as the buffer, of which as many are left.
        let mapped = unsafe { mapped.add(offset as usize) };
        self.used += bytes;
        self.buffer = Some(Arc::clone(&buffer));
        Ok(Piece { buffer, offset, bytes, mapped })
    }
}

/// A piece, of one list at a time.
pub struct Piece {
    buffer: Arc<Buffer>,
    offset: u64,
    bytes: u64,
    /// Its first byte.
    mapped: NonNull<u8>,
}

// SAFETY: every access to the mapped bytes is in an `unsafe fn` whose caller promises that conflicting accesses are
// ordered.
unsafe impl Send for Piece {}

impl Piece {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The buffer that it is in, and where it starts there.
    pub fn place(&self) -> (vk::Buffer, u64) {
        (self.buffer.raw, self.offset)
    }

    /// Writes zeros to its first bytes.
    ///
    /// # Safety
    /// - It has as many bytes.
    /// - Every list that was submitted with it has run.
    pub unsafe fn clear(&self, bytes: u64) {
        debug_assert!(bytes <= self.bytes);
        // SAFETY: inside the piece, and nobody else uses it, by the caller's promises.
        unsafe { self.mapped.write_bytes(0, bytes as usize) };
    }

    /// The words at an offset.
    ///
    /// # Safety
    /// - The offset is a multiple of 8, and the words lie inside the piece.
    /// - Every list that was submitted with it has run, and its writes are visible to the host.
    pub unsafe fn read(&self, offset: u64) -> [u32; 2] {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= self.bytes);
        // SAFETY: inside the piece, and aligned, since pieces and mappings start at multiples of 64 at least and the
        // offset is a multiple of 8; written by the device before, if at all, by the caller's promises.
        unsafe { self.mapped.add(offset as usize).cast::<[u32; 2]>().read_volatile() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::collections::HashMap;

    #[test]
    fn the_pieces_of_a_thousand_lists_are_in_few_allocations_and_apart() {
        let Some(device) = testing::device() else { return };
        let (context, mut room) = (&device.context, Room::default());
        let pieces: Vec<Piece> = (0..1024).map(|at| room.cut(context, 300 + at % 200).unwrap()).collect();
        let mut ends = HashMap::new();
        for piece in &pieces {
            let (buffer, offset) = piece.place();
            let end = ends.insert(buffer, offset + piece.bytes()).unwrap_or(0);
            assert!(offset >= end && offset % 512 == 0 && piece.bytes() == 512, "{offset} behind {end}");
            assert!(offset + piece.bytes() <= piece.buffer.bytes());
        }
        assert_eq!(ends.len(), 8);
        // Each is its own, to the end of it, and nothing is behind that.
        for (at, piece) in (0u32..).zip(&pieces) {
            // SAFETY: no list has the pieces.
            unsafe {
                piece.clear(512);
                piece.mapped.add(504).cast::<[u32; 2]>().write([at, !at]);
            }
        }
        for (at, piece) in (0u32..).zip(&pieces) {
            // SAFETY: as above.
            assert_eq!(unsafe { [piece.read(0), piece.read(504)] }, [[0; 2], [at, !at]]);
        }
        // One that is larger than an allocation has one of its own.
        assert_eq!(room.cut(context, BYTES + 1).unwrap().buffer.bytes(), 2 * BYTES);
    }
}
