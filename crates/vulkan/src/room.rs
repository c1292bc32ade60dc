//! Memory for the words into which kernels store why they failed: a piece for each list that is in flight, and one for
//! each that is prepared, of few driver allocations for the whole device ([`thalweg_hal::pieces`]).

use crate::NAME;
use crate::context::Context;
use crate::memory::Buffer;
use ash::vk;
use std::ptr::NonNull;
use std::sync::Arc;
use thalweg_hal::pieces::{self, Pieces};
use thalweg_hal::{Error, MemoryKind, Overhead, Result};

/// Where the pieces of a device come from. Its buffers hold the context: it is no part of that.
pub type Room = Pieces<Segment>;
/// A piece, of one list at a time.
pub type Piece = pieces::Piece<Segment>;

/// A buffer that the host sees.
#[derive(Debug)]
pub struct Segment {
    buffer: Buffer,
    /// Where it sees it.
    mapped: NonNull<u8>,
}

// SAFETY: the pointer is the buffer's, which is `Send` and `Sync` for the same reasons.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

// SAFETY: the buffer is mapped whole for as long as it lives, and mappings start at multiples of
// `minMemoryMapAlignment`, which is 64 at least.
unsafe impl pieces::Segment for Segment {
    fn start(&self) -> NonNull<u8> {
        self.mapped
    }
}

impl Segment {
    fn new(context: &Arc<Context>, bytes: u64) -> Result<Self> {
        let buffer = Buffer::new(context, bytes, MemoryKind::Host)?;
        let mapped = buffer.mapped().ok_or_else(|| Error::Driver {
            device: NAME.to_owned(),
            call: "vkAllocateMemory",
            message: "it has no memory that the host sees".to_owned(),
        })?;
        Ok(Self { buffer, mapped })
    }
}

/// The room of a device.
///
/// # Errors
/// What the driver says, or that the device has no memory that the host sees.
pub fn open(context: &Arc<Context>, overhead: &Arc<Overhead>) -> Result<Arc<Room>> {
    let context = Arc::clone(context);
    Pieces::new(NAME, overhead, move |bytes| Segment::new(&context, bytes))
}

/// The buffer that a piece is in, and where it starts there.
pub fn place(piece: &Piece) -> (vk::Buffer, u64) {
    let (segment, offset) = piece.place();
    (segment.buffer.raw, offset)
}
