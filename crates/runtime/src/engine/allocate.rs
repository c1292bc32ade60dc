//! A block for a stream.

use super::Engine;
use crate::base::error::{Error, Result};
use crate::base::wait_policy::WaitPolicy;
use crate::memory::arena::Place;
use crate::memory::class::Class;
use crate::memory::heap::{Block, Purpose};
use crate::order::open_list::OpenList;
use crate::order::uses::{Uses, Writes};
use std::sync::Arc;
use thalweg_hal::{Memory, MemoryKind};

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
        let block = match self.memory.hit(self, stream, class, purpose) {
            Some(block) => block,
            None => {
                // All of a raw span at once. What the host writes first it fills itself, block by block.
                let fill = |span: &Place| {
                    #[cfg(test)]
                    if self.sabotage.skips_zeros() {
                        return Writes::new();
                    }
                    if purpose == Purpose::Commands { self.fill_span(stream, span) } else { Writes::new() }
                };
                let block = self.memory.miss(self, stream, class, purpose, policy, fill)?;
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
        *block.hazard.uses.get_mut() = Uses { writes: zeros, ..Uses::default() };
        block.raw = false;
        Ok(())
    }

    /// Appends zeros to an open list.
    fn zeros(&self, open: &mut OpenList, memory: &Arc<dyn Memory>, bytes: (u64, u64)) -> Writes {
        let begun = self.trace.begin_operation();
        let zeros = open.append_zeros(memory, bytes, &|stream| self.settled(stream), begun.profiling);
        if let Some(last) = zeros.last() {
            begun.recorded("zeros", last.by);
        }
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

    /// As [`zeros`](Self::zeros) of all of a raw span, if the stream still takes something.
    fn fill_span(&self, stream: u32, span: &Place) -> Writes {
        let mut recorder = self.stream(stream).recorder.lock();
        if recorder.closed {
            return Writes::new();
        }
        self.zeros(&mut recorder, &span.memory, (span.offset, span.bytes))
    }
}
