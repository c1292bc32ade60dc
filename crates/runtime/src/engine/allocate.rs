//! A block for a stream.

use super::Engine;
use crate::base::error::{Error, Result};
use crate::base::wait_policy::WaitPolicy;
use crate::memory::Request;
use crate::memory::arena::{BLOCKS, HOST, LARGE, Owner, SMALL};
use crate::memory::class::{Class, Zone};
use crate::memory::heap::{Block, Purpose};
use crate::order::open_list::OpenList;
use crate::order::uses::Write;
use std::sync::Arc;
use thalweg_hal::{Access, Memory, MemoryKind};

impl Engine {
    /// At least `bytes` bytes of a stream. Their content is whatever was there: zeros, if nothing was. A caller that
    /// takes a block for commands calls [`fill`](Self::fill) before anything else is recorded on it. What was taken for
    /// the host to write to is filled block by block, by the host to the end of the block or by a command.
    #[inline]
    pub(crate) fn allocate(
        &self,
        stream: u32,
        kind: MemoryKind,
        bytes: u64,
        purpose: Purpose,
        policy: WaitPolicy,
    ) -> Result<Box<Block>> {
        let Some(class) = Class::of(kind, bytes, self.memory.scale) else {
            return Err(self.memory.too_large(bytes));
        };
        let block = match self.hit(stream, class, purpose) {
            Some(block) => block,
            None => {
                let block = self.miss(stream, class, purpose, policy)?;
                // For what is idle one day to be given back.
                self.doorbell.cached();
                block
            }
        };
        self.trace.allocated(stream, block.bytes);
        #[cfg(test)]
        let block = self.forgetting(block);
        Ok(block)
    }

    /// Has the stream fill a raw block with zeros, as the first use of its bytes.
    ///
    /// # Errors
    /// That the device is closed.
    #[cold]
    pub(crate) fn fill(&self, stream: u32, block: &mut Block) -> Result<()> {
        #[cfg(test)]
        if self.sabotage.skips_zeros() {
            return Ok(());
        }
        let mut recorder = self.stream(stream).recorder.lock();
        if recorder.closed {
            return Err(Error::Closed);
        }
        let zeros = self.zeros(&mut recorder, &block.memory, (block.offset, block.bytes));
        block.hazard.uses.get_mut().stamp(Access::Write, zeros.by, &zeros.outcome);
        block.raw = false;
        Ok(())
    }

    /// Appends zeros to an open list.
    fn zeros(&self, open: &mut OpenList, memory: &Arc<dyn Memory>, bytes: (u64, u64)) -> Write {
        let begun = self.trace.begin_operation();
        let zeros = open.append_zeros(memory, bytes, &|stream| self.settled(stream), begun.profiling);
        begun.recorded("zeros", zeros.by);
        zeros
    }

    /// Without its uses, if a test says so.
    #[cfg(test)]
    fn forgetting(&self, mut block: Box<Block>) -> Box<Block> {
        if self.sabotage.forgets_freed_uses() {
            *block.hazard.uses.get_mut() = Default::default();
        }
        block
    }

    #[inline]
    fn hit(&self, stream: u32, class: Class, purpose: Purpose) -> Option<Box<Block>> {
        let own = self.memory.heap(stream);
        let mut heap = own.heap.lock();
        let block = heap.take(class, purpose, &own.returns, |stream| self.settled(stream));
        if block.is_none() {
            heap.misses += 1;
        }
        block
    }

    #[cold]
    fn miss(&self, stream: u32, class: Class, purpose: Purpose, policy: WaitPolicy) -> Result<Box<Block>> {
        let pool = match class.zone {
            Zone::Small => SMALL,
            Zone::Common => BLOCKS,
            Zone::Large => LARGE,
            Zone::Host => HOST,
        };
        let request = Request { pool, bytes: self.memory.scale.span(class), least: class.bytes };
        let own = self.memory.heap(stream);
        let settled = |stream| self.settled(stream);
        self.memory.obtain(self, request, policy, |want| {
            let mut heap = own.heap.lock();
            // What was waited for may have settled a block of our own.
            if let Some(own) = heap.take(class, purpose, &own.returns, settled) {
                return Some(own);
            }
            // From the arena to the stream under both locks, so that the bytes are in one of them at any time.
            let Some(place) = self.memory.arena.lock().take(want, Owner::Stream(stream)) else {
                return heap.merge_and_take(class, purpose, settled);
            };
            // All of it at once. What the host writes first it fills itself, block by block.
            let to_fill = place.raw && purpose == Purpose::Commands;
            #[cfg(test)]
            let to_fill = to_fill && !self.sabotage.skips_zeros();
            let zeros = to_fill.then(|| {
                let mut recorder = self.stream(stream).recorder.lock();
                let bytes = (place.offset, place.bytes);
                (!recorder.closed).then(|| self.zeros(&mut recorder, &place.memory, bytes))
            });
            Some(heap.add_span(class, place, zeros.flatten().as_ref()))
        })
    }
}
