//! Memory for what lists bring along for the device: words for failures, parameters, lengths. A piece for each list
//! that is in flight, of few heaps for the whole device ([`thalweg_hal::pieces`]).

use super::NAME;
use super::context::Context;
use super::memory::Buffer;
use std::ptr::NonNull;
use std::sync::Arc;
use thalweg_hal::pieces::{self, Pieces};
use thalweg_hal::{Overhead, Result};

/// Where the pieces of a device come from. Its buffers hold the context: it is no part of that.
pub type Room = Pieces<Buffer>;
/// A piece, of one list at a time.
pub type Piece = pieces::Piece<Buffer>;

// SAFETY: the buffer is the host's memory too for as long as it lives, in whole pages.
unsafe impl pieces::Segment for Buffer {
    fn start(&self) -> NonNull<u8> {
        self.contents()
    }
}

/// The room of a device.
///
/// # Errors
/// If there is no memory for it.
pub fn open(context: &Arc<Context>, overhead: &Arc<Overhead>) -> Result<Arc<Room>> {
    let context = Arc::clone(context);
    Pieces::new(NAME, overhead, move |bytes| Buffer::new(&context, bytes))
}
