//! What lists bring along for the device: words for failures, parameters, lengths. A ring of bytes for each queue.
//!
//! Each list that is in flight has a piece. Lists of a queue end in the order in which they began, so the pieces are
//! given back at one end while new ones are cut off at the other. A ring that is too short is replaced by a longer one,
//! and lives on until the lists that have pieces of it have run: what there is of rings is at most four times what
//! lists in flight needed at a time, and [`BYTES`].

use super::context::Context;
use super::memory::Buffer;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_hal::Result;

/// Bytes of a queue's first ring.
const BYTES: u64 = 64 << 10;

/// Where a piece may start: where a `constant` argument may, on every GPU of Apple's, and a line of a cache.
const ALIGNMENT: u64 = 64;

/// The ring of a queue.
#[derive(Default)]
pub struct Ring(Option<Turning>);

struct Turning {
    buffer: Arc<Buffer>,
    /// Everything that was ever cut off, and what was skipped where a piece did not fit before the end.
    cut: u64,
    /// How much of that has been given back. Written in the order of the pieces.
    back: Arc<AtomicU64>,
}

/// A list's piece.
pub struct Piece {
    buffer: Arc<Buffer>,
    offset: u64,
    bytes: u64,
    /// The ring's `cut` before and behind it.
    turn: (u64, u64),
    back: Arc<AtomicU64>,
}

impl Ring {
    /// A piece with so many bytes. What is in it is not defined.
    ///
    /// # Errors
    /// If there is no memory for a longer ring.
    pub fn cut(&mut self, context: &Arc<Context>, bytes: u64) -> Result<Piece> {
        if let Some(piece) = self.0.as_mut().and_then(|ring| ring.cut(bytes)) {
            return Ok(piece);
        }
        let before = self.0.as_ref().map_or(0, |ring| ring.buffer.bytes());
        // Room for two of these at least, so that the next one fits as well.
        let length = (2 * before).max(2 * bytes.next_power_of_two()).max(BYTES);
        let buffer = Arc::new(Buffer::new(context, length)?);
        let ring = self.0.insert(Turning { buffer, cut: 0, back: Arc::default() });
        Ok(ring.cut(bytes).expect("twice as long, and empty"))
    }

    /// Takes back the piece that was cut last: its list was not taken.
    pub fn uncut(&mut self, piece: Piece) {
        if let Some(ring) = self.0.as_mut().filter(|ring| Arc::ptr_eq(&ring.back, &piece.back)) {
            debug_assert_eq!(ring.cut, piece.turn.1, "the last one");
            ring.cut = piece.turn.0;
        }
    }
}

impl Turning {
    fn cut(&mut self, bytes: u64) -> Option<Piece> {
        let length = self.buffer.bytes();
        let taken = bytes.next_multiple_of(ALIGNMENT);
        let at = self.cut % length;
        // A piece lies in one place.
        let skipped = if at + taken > length { length - at } else { 0 };
        let start = self.cut + skipped;
        // Acquire: pairs with the Release in `give_back`, so that what had the bytes is done with them.
        if start + taken - self.back.load(Ordering::Acquire) > length {
            return None;
        }
        let turn = (self.cut, start + taken);
        self.cut = turn.1;
        let (buffer, back) = (Arc::clone(&self.buffer), Arc::clone(&self.back));
        Some(Piece { buffer, offset: start % length, bytes, turn, back })
    }
}

impl Piece {
    /// The buffer that it is in, and where it starts there.
    pub fn place(&self) -> (&Buffer, u64) {
        (&self.buffer, self.offset)
    }

    /// Where its first byte is for the host.
    fn start(&self, offset: u64, bytes: usize) -> NonNull<u8> {
        debug_assert!(offset + bytes as u64 <= self.bytes, "{bytes} bytes at {offset} of {}", self.bytes);
        self.buffer.range(self.offset + offset, bytes).expect("pieces lie inside their rings")
    }

    /// Writes zeros to its first bytes.
    ///
    /// # Safety
    /// - It has as many bytes, and its list has not been submitted.
    pub unsafe fn clear(&self, bytes: usize) {
        // SAFETY: inside the piece, which nobody else uses, by the caller's promise.
        unsafe { self.start(0, bytes).write_bytes(0, bytes) };
    }

    /// Writes bytes at an offset.
    ///
    /// # Safety
    /// - They lie inside the piece, and its list has not been submitted.
    pub unsafe fn write(&self, offset: u64, from: &[u8]) {
        // SAFETY: inside the piece, which nobody else uses, by the caller's promise.
        unsafe { self.start(offset, from.len()).copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
    }

    /// The words at an offset.
    ///
    /// # Safety
    /// - The offset is a multiple of 8, the words lie inside the piece, and its list has run.
    pub unsafe fn read(&self, offset: u64) -> [u32; 2] {
        // SAFETY: inside the piece and aligned, since buffers and pieces start at multiples of 64; written by the host,
        // and by the device if at all before the list had run.
        unsafe { self.start(offset, 8).cast::<[u32; 2]>().read_volatile() }
    }

    /// The list has run: whatever comes later may have the bytes.
    pub fn give_back(self) {
        // Release: pairs with the Acquire in `cut`. Pieces come back in the order in which they were cut.
        self.back.store(self.turn.1, Ordering::Release);
    }
}
