//! The way from a size to a block of a stream: a hit, or a look in the arena that the slow path repeats.

use super::arena::{BLOCKS, HOST, LARGE, Owner, Place, SMALL};
use super::class::{Class, Zone};
use super::device_memory::DeviceMemory;
use super::heap::{Block, Purpose};
use super::lists::Lists;
use super::slow_path::Request;
use crate::base::error::Result;
use crate::base::wait_policy::WaitPolicy;
use crate::order::uses::Writes;

impl DeviceMemory {
    /// One of the stream's own blocks.
    #[inline]
    pub(crate) fn hit(&self, lists: &impl Lists, stream: u32, class: Class, purpose: Purpose) -> Option<Box<Block>> {
        let own = self.heap(stream);
        let mut heap = own.heap.lock();
        let block = heap.take(class, purpose, &own.returns, |stream| lists.settled(stream));
        if block.is_none() {
            heap.misses += 1;
        }
        block
    }

    /// A block of a span that the stream takes over, or of its own once there is one. `fill` appends zeros to a list of
    /// the stream where a span is raw, and gives those writes; the stream's heap is locked meanwhile.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), what the device says, or that the time is over.
    #[cold]
    pub(crate) fn miss(
        &self,
        lists: &impl Lists,
        stream: u32,
        class: Class,
        purpose: Purpose,
        policy: WaitPolicy,
        fill: impl Fn(&Place) -> Writes,
    ) -> Result<Box<Block>> {
        let pool = match class.zone {
            Zone::Small => SMALL,
            Zone::Common => BLOCKS,
            Zone::Large => LARGE,
            Zone::Host => HOST,
        };
        let request = Request { pool, bytes: self.scale.span(class), least: class.bytes };
        let own = self.heap(stream);
        let settled = |stream| lists.settled(stream);
        self.obtain(lists, request, policy, |want| {
            let mut heap = own.heap.lock();
            // What was waited for may have settled a block of our own.
            if let Some(own) = heap.take(class, purpose, &own.returns, settled) {
                return Some(own);
            }
            // From the arena to the stream under both locks, so that the bytes are in one of them at any time.
            let Some(span) = self.arena.lock().take(want, Owner::Stream(stream)) else {
                return heap.merge_and_take(class, purpose, settled);
            };
            let zeros = if span.raw { fill(&span) } else { Writes::new() };
            Some(heap.add_span(class, span, zeros))
        })
    }
}
