//! Blocks, and one stream's free ones.
//!
//! ```text
//!            take                      split: the rest stays free
//!   arena ──────────► a block ────────────────────────────────────► blocks
//!     ▲                                                               │
//!     └──────── what is free and settled, merged there ◄──────────────┘
//! ```
//!
//! The shortest block is taken that will do: as it is, if it is not much longer than what is asked for, else split, and
//! both parts keep the uses of the whole (I5). Blocks are merged when none is long enough, also those that are still in
//! use: whatever comes after the one comes after the other. What is settled can go back to the arena, in any pieces.

use super::arena::Place;
use super::class::{Class, SIZES, Zone, size_within};
use super::hazard::Hazard;
use super::stats::StreamUsage;
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::order::uses::{Uses, Writes};
use std::collections::VecDeque;
use std::sync::Arc;
use thalweg_hal::Memory;

/// How many of the oldest free blocks of a size are asked for one that is settled.
const PROBES: usize = 4;
/// A block is taken whole if what is left over is at most this part of what is asked for: most calls find a block that
/// an earlier one of about the same length has left.
const LEFT_OVER: u64 = 2;

/// Bytes that are handed out as one.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) memory: Arc<dyn Memory>,
    /// Its segment in the arena.
    pub(crate) segment: u64,
    /// In the memory.
    pub(crate) offset: u64,
    /// A multiple of 256.
    pub(crate) bytes: u64,
    pub(crate) zone: Zone,
    /// Whether its content is undefined: nothing was ever written to it, since its span was taken for the host to write
    /// to. Nobody hands out such a block for commands without a fill as its first use.
    pub(crate) raw: bool,
    pub(crate) hazard: Hazard,
}

impl Block {
    /// Cuts off what is behind the first `bytes`. All that used the whole may have used either part (I5).
    fn split_off(&mut self, bytes: u64) -> Box<Self> {
        let rest = Box::new(Self {
            memory: Arc::clone(&self.memory),
            segment: self.segment,
            offset: self.offset + bytes,
            bytes: self.bytes - bytes,
            zone: self.zone,
            raw: self.raw,
            hazard: Hazard::new(self.hazard.uses.get_mut().clone()),
        });
        self.bytes = bytes;
        rest
    }
}

/// One stream's memory. Two of them share no pair of cache lines, so that threads on different streams do not slow each
/// other down.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct StreamHeap {
    pub(crate) heap: Mutex<Heap>,
    /// Taken under the heap's lock, too.
    pub(crate) returns: Mutex<Returns>,
}

impl StreamHeap {
    pub(crate) fn new(stream: u32) -> Self {
        let id = u64::from(stream);
        let returns = Mutex::with_id(Rank::Returns, id, Returns::default());
        Self { heap: Mutex::with_id(Rank::Heap, id, Heap::default()), returns }
    }

    /// What the memory is used for.
    pub(crate) fn usage(&self, stream: u32) -> StreamUsage {
        // Returns first: a block that is freed in between would otherwise be counted as freed but not handed out.
        let freed = self.returns.lock().bytes;
        self.heap.lock().usage(stream, freed)
    }

    /// A block comes back, from any thread.
    #[inline]
    pub(crate) fn give_back(&self, block: Box<Block>) {
        let mut returns = self.returns.lock();
        returns.bytes += block.bytes;
        returns.blocks.push(block);
    }
}

/// Blocks that were freed and wait for their owner to fetch them. Written by any thread, emptied by the owner.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    // Boxed so that a block moves between lists as one pointer.
    #[allow(clippy::vec_box)]
    pub(crate) blocks: Vec<Box<Block>>,
    /// Bytes ever freed.
    pub(crate) bytes: u64,
}

/// What a block is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Commands of the owning stream: uses still outstanding are waited for on the device.
    Commands,
    /// A write by the host: there must be no outstanding use.
    HostWrite,
}

/// The free blocks of one stream.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    /// By zone.
    free: [Bins; Zone::COUNT],
    /// Bytes ever handed out.
    pub(crate) handed_out: u64,
    /// Bytes ever freed, as far as they have been fetched.
    fetched: u64,
    /// No less than the most bytes that were ever live.
    pub(crate) peak: u64,
    /// Bytes that it has of the arena, live or free.
    pub(crate) owned: u64,
    /// Blocks ever handed out.
    pub(crate) allocations: u64,
    /// How often there was none.
    pub(crate) misses: u64,
    /// `allocations` when it was last asked whether the stream is idle.
    seen: u64,
}

impl Heap {
    /// A free block, or `None` for a miss. For commands the one freed last: its bytes are likeliest in a cache. For
    /// the host one of the oldest: they are likeliest settled. A settled block comes without uses.
    #[inline]
    pub(crate) fn take(
        &mut self,
        class: Class,
        purpose: Purpose,
        returns: &Mutex<Returns>,
        settled: impl Fn(u32) -> u64,
    ) -> Option<Box<Block>> {
        if self.free[class.zone as usize].is_empty(class.size) {
            self.fetch(returns);
        }
        let block = self.find(class, purpose, settled)?;
        Some(self.hand_out(class, block))
    }

    /// As [`take`](Self::take), once blocks have been merged that lie side by side.
    pub(crate) fn merge_and_take(
        &mut self,
        class: Class,
        purpose: Purpose,
        settled: impl Fn(u32) -> u64,
    ) -> Option<Box<Block>> {
        let bins = &mut self.free[class.zone as usize];
        if class.zone == Zone::Large || bins.bytes < class.bytes {
            return None;
        }
        match purpose {
            // The stream's own next use comes after all of them.
            Purpose::Commands => bins.merge(|_| u64::MAX),
            // One that is in use would spoil the others.
            Purpose::HostWrite => bins.merge(&settled),
        }
        let block = self.find(class, purpose, settled)?;
        Some(self.hand_out(class, block))
    }

    /// The shortest block that will do; of large ones, one of the same size.
    #[inline]
    fn find(&mut self, class: Class, purpose: Purpose, settled: impl Fn(u32) -> u64) -> Option<Box<Block>> {
        let bins = &mut self.free[class.zone as usize];
        let mut from = class.size;
        loop {
            let size = bins.next(from)?;
            if class.zone == Zone::Large && size > class.size {
                return None;
            }
            if let Some(block) = bins.take(size, purpose, &settled) {
                return Some(block);
            }
            from = size + 1;
        }
    }

    /// Counts a block that goes out, and keeps what is not needed of it.
    #[inline]
    fn hand_out(&mut self, class: Class, mut block: Box<Block>) -> Box<Block> {
        let left_over = block.bytes - class.bytes;
        if left_over > class.bytes / LEFT_OVER && class.zone != Zone::Large {
            let rest = block.split_off(class.bytes);
            self.free[class.zone as usize].push(rest);
        }
        self.allocations += 1;
        self.handed_out += block.bytes;
        // What was freed and not fetched counts as live, so this is never too small.
        self.peak = self.peak.max(self.handed_out - self.fetched);
        block
    }

    /// Moves returned blocks to the free ones.
    #[inline]
    pub(crate) fn fetch(&mut self, returns: &Mutex<Returns>) {
        // The lock is held for the swap alone: a thread that frees a block must not wait for the sorting.
        let mut blocks = {
            let mut returns = returns.lock();
            self.fetched = returns.bytes;
            if returns.blocks.is_empty() {
                return;
            }
            std::mem::take(&mut returns.blocks)
        };
        for block in blocks.drain(..) {
            self.free[block.zone as usize].push(block);
        }
        let mut returns = returns.lock();
        if returns.blocks.capacity() == 0 {
            returns.blocks = blocks; // keep the capacity
        }
    }

    /// Takes over a new span and hands a block of it out. `zeros` is what fills it, if something does.
    pub(crate) fn add_span(&mut self, class: Class, place: Place, zeros: Writes) -> Box<Block> {
        let Place { memory, segment, offset, bytes, raw } = place;
        let raw = raw && zeros.is_empty();
        let hazard = Hazard::new(Uses { writes: zeros, ..Uses::default() });
        self.owned += bytes;
        self.hand_out(class, Box::new(Block { memory, segment, offset, bytes, zone: class.zone, raw, hazard }))
    }

    /// Takes out everything that is free and settled, in the order of its bytes. The caller gives the bytes to the
    /// arena under the same lock, and drops the blocks with none.
    #[allow(clippy::vec_box)] // see `Returns`
    pub(crate) fn take_settled(&mut self, settled: impl Fn(u32) -> u64) -> Vec<Box<Block>> {
        let mut out = Vec::new();
        self.free.iter_mut().for_each(|bins| bins.take_settled(&settled, &mut out));
        self.owned -= out.iter().map(|block| block.bytes).sum::<u64>();
        out.sort_unstable_by_key(|block| (block.segment, block.offset));
        out
    }

    /// What the memory is used for, if `freed` bytes were ever freed.
    pub(crate) fn usage(&self, stream: u32, freed: u64) -> StreamUsage {
        let Self { handed_out, owned, peak, allocations, misses, .. } = *self;
        let live = handed_out - freed;
        StreamUsage { stream, live, cached: owned.saturating_sub(live), peak, allocations, misses }
    }

    /// Whether nothing was allocated since the last call.
    pub(crate) fn was_idle(&mut self) -> bool {
        std::mem::replace(&mut self.seen, self.allocations) == self.allocations
    }

    /// The free blocks that have been fetched.
    pub(crate) fn free_blocks(&mut self) -> impl Iterator<Item = &mut Block> {
        self.free.iter_mut().flat_map(|bins| &mut bins.lists).flatten().map(|block| &mut **block)
    }
}

/// Free blocks by size: each list has those that hold its size and not the next.
#[derive(Debug, Default)]
struct Bins {
    /// As many as it takes; freed last at the back.
    lists: Vec<VecDeque<Box<Block>>>,
    /// A bit for each list that has any.
    full: [u64; SIZES.div_ceil(64)],
    /// Of all of them.
    bytes: u64,
}

impl Bins {
    fn is_empty(&self, size: usize) -> bool {
        self.full[size / 64] & 1 << (size % 64) == 0
    }

    fn mark_empty(&mut self, size: usize) {
        self.full[size / 64] &= !(1 << (size % 64));
    }

    /// The first size from `from` on that has any.
    #[inline]
    fn next(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = *self.full.get(word)? & u64::MAX << (from % 64);
        while bits == 0 {
            word += 1;
            bits = *self.full.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    #[inline]
    fn push(&mut self, block: Box<Block>) {
        let size = size_within(block.bytes);
        self.bytes += block.bytes;
        if size >= self.lists.len() {
            self.lists.resize_with(size + 1, VecDeque::new);
        }
        self.lists[size].push_back(block);
        self.full[size / 64] |= 1 << (size % 64);
    }

    /// Takes out what is settled.
    #[allow(clippy::vec_box)] // see `Returns`
    fn take_settled(&mut self, settled: impl Fn(u32) -> u64, out: &mut Vec<Box<Block>>) {
        let mut from = 0;
        while let Some(size) = self.next(from) {
            let list = &mut self.lists[size];
            for _ in 0..list.len() {
                let Some(mut block) = list.pop_front() else { break };
                if block.hazard.uses.get_mut().is_settled(&settled) {
                    self.bytes -= block.bytes;
                    out.push(block);
                } else {
                    list.push_back(block);
                }
            }
            if list.is_empty() {
                self.mark_empty(size);
            }
            from = size + 1;
        }
    }

    /// Merges what is settled and lies side by side.
    fn merge(&mut self, settled: impl Fn(u32) -> u64) {
        let mut blocks = Vec::new();
        self.take_settled(settled, &mut blocks);
        blocks.sort_unstable_by_key(|block| (block.segment, block.offset));
        let mut last: Option<Box<Block>> = None;
        for mut block in blocks {
            match &mut last {
                Some(last)
                    if (last.segment, last.offset + last.bytes, last.raw)
                        == (block.segment, block.offset, block.raw) =>
                {
                    last.bytes += block.bytes;
                    let uses = std::mem::take(&mut *block.hazard.uses.get_mut());
                    last.hazard.uses.get_mut().unite(uses);
                }
                _ => last.replace(block).into_iter().for_each(|last| self.push(last)),
            }
        }
        last.into_iter().for_each(|last| self.push(last));
    }

    /// One of a size, if there is one for the purpose.
    #[inline]
    fn take(&mut self, size: usize, purpose: Purpose, settled: impl Fn(u32) -> u64) -> Option<Box<Block>> {
        let list = &mut self.lists[size];
        let block = match purpose {
            Purpose::Commands => {
                let mut block = list.pop_back()?;
                block.hazard.uses.get_mut().clear_if_settled(settled);
                block
            }
            Purpose::HostWrite => {
                let probes = list.len().min(PROBES);
                let found = (0..probes).find(|at| list[*at].hazard.uses.get_mut().clear_if_settled(&settled));
                let Some(at) = found else {
                    // Others first next time: these may be in use for long.
                    list.rotate_left(probes);
                    return None;
                };
                list.remove(at)?
            }
        };
        if list.is_empty() {
            self.mark_empty(size);
        }
        self.bytes -= block.bytes;
        Some(block)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
