//! Blocks, the spans that they are of, and one stream's free lists.

use super::arena::Place;
use super::class::{CLASSES, Class};
use super::store::StreamUse;
use crate::hazard::{Hazard, Uses, Write};
use crate::sync::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use thalweg_hal::{Access, Memory};

/// How many of the oldest free blocks are asked for one that is settled.
const PROBES: usize = 4;

/// A span of the arena, divided into blocks of one class.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) memory: Arc<dyn Memory>,
    /// Where the arena knows it.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    blocks: u64,
}

/// Bytes that are handed out as one.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) span: Arc<Span>,
    /// In the memory.
    pub(crate) offset: u64,
    pub(crate) class: Class,
    /// Whether its content is undefined: nothing was ever written to it, since its span was taken for the host to write
    /// to. Nobody hands out such a block for commands without a fill as its first use.
    pub(crate) raw: bool,
    pub(crate) hazard: Hazard,
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

/// The free blocks of one stream, under its recorder's lock.
#[derive(Debug)]
pub(crate) struct Heap {
    /// By class; freed last at the back.
    free: Vec<VecDeque<Box<Block>>>,
    /// Bytes ever handed out.
    pub(crate) handed_out: u64,
    /// Bytes ever freed, as far as they have been fetched.
    fetched: u64,
    /// No less than the most bytes that were ever live.
    pub(crate) peak: u64,
    /// Bytes of all its spans.
    pub(crate) owned: u64,
    /// Blocks ever handed out.
    pub(crate) allocations: u64,
    /// How often there was none.
    pub(crate) misses: u64,
    /// `allocations` when it was last asked whether the stream is idle.
    seen: u64,
}

impl Heap {
    pub(crate) fn new() -> Self {
        Self {
            free: (0..CLASSES).map(|_| VecDeque::new()).collect(),
            handed_out: 0,
            fetched: 0,
            peak: 0,
            owned: 0,
            allocations: 0,
            misses: 0,
            seen: 0,
        }
    }

    /// A free block, or `None` for a miss. For commands the one freed last, whose bytes are likeliest in a cache; for
    /// the host one of the oldest, which are likeliest settled. A settled block comes without uses.
    pub(crate) fn take(
        &mut self,
        class: Class,
        purpose: Purpose,
        returns: &Mutex<Returns>,
        settled: impl Fn(u32) -> u64,
    ) -> Option<Box<Block>> {
        if self.free[class.index].is_empty() {
            self.fetch(returns);
        }
        let free = &mut self.free[class.index];
        let block = match purpose {
            Purpose::Commands => {
                let mut block = free.pop_back()?;
                block.hazard.uses.get_mut().clear_if_settled(settled);
                block
            }
            Purpose::HostWrite => {
                let probes = free.len().min(PROBES);
                match (0..probes).find(|at| free[*at].hazard.uses.get_mut().clear_if_settled(&settled)) {
                    Some(at) => free.remove(at)?,
                    None => {
                        // Others first next time: these may be in use for long.
                        free.rotate_left(probes);
                        self.fetch(returns);
                        return None;
                    }
                }
            }
        };
        self.hand_out(block.class);
        Some(block)
    }

    fn hand_out(&mut self, class: Class) {
        self.allocations += 1;
        self.handed_out += class.bytes;
        // What was freed and not fetched counts as live, so this is never too small.
        self.peak = self.peak.max(self.handed_out - self.fetched);
    }

    /// Moves returned blocks to the free lists.
    pub(crate) fn fetch(&mut self, returns: &Mutex<Returns>) {
        // The lock is held for the swap alone: whoever frees a block must not wait for the sorting.
        let mut blocks = {
            let mut returns = returns.lock();
            self.fetched = returns.bytes;
            std::mem::take(&mut returns.blocks)
        };
        for block in blocks.drain(..) {
            self.free[block.class.index].push_back(block);
        }
        let mut returns = returns.lock();
        if returns.blocks.capacity() == 0 {
            returns.blocks = blocks; // keep the capacity
        }
    }

    /// Divides a new span into blocks and hands one of them out. `zeros` is what fills it, if something does.
    pub(crate) fn add_span(&mut self, class: Class, place: Place, zeros: Option<&Write>) -> Option<Box<Block>> {
        let Place { memory, segment, offset, bytes, raw } = place;
        let span = Arc::new(Span { memory, segment, offset, blocks: bytes / class.bytes });
        self.owned += bytes;
        let block = |index| {
            let mut uses = Uses::default();
            zeros.into_iter().for_each(|zeros| uses.stamp(Access::Write, zeros.by, &zeros.outcome));
            let (span, hazard, raw) = (Arc::clone(&span), Hazard::new(uses), raw && zeros.is_none());
            Box::new(Block { span, offset: offset + index * class.bytes, class, raw, hazard })
        };
        let mut blocks = (0..span.blocks).map(block);
        let first = blocks.next()?;
        self.free[class.index].extend(blocks);
        self.hand_out(class);
        Some(first)
    }

    /// Takes out every span whose blocks are all free and settled, and shows each to `complete` once, with whether any
    /// of it is raw. The caller drops the blocks with no lock held.
    #[allow(clippy::vec_box)] // see `Returns`
    pub(crate) fn trim(
        &mut self,
        settled: impl Fn(u32) -> u64,
        mut complete: impl FnMut(&Span, bool),
    ) -> Vec<Box<Block>> {
        let mut trimmed = Vec::new();
        for free in self.free.iter_mut().filter(|free| !free.is_empty()) {
            // By span: how many blocks, and whether any is raw.
            let mut idle = HashMap::<_, (u64, bool)>::new();
            for block in free.iter_mut() {
                if block.hazard.uses.get_mut().clear_if_settled(&settled) {
                    let (count, raw) = idle.entry(Arc::as_ptr(&block.span)).or_default();
                    *count += 1;
                    *raw |= block.raw;
                }
            }
            let known = |block: &Block| idle.get(&Arc::as_ptr(&block.span)).copied().unwrap_or_default();
            let whole = |block: &Block| known(block).0 == block.span.blocks;
            if !free.iter().any(|block| whole(block)) {
                continue;
            }
            let (out, kept) = std::mem::take(free).into_iter().partition::<Vec<_>, _>(|block| whole(block));
            *free = kept.into();
            for block in out.iter().filter(|block| block.offset == block.span.offset) {
                self.owned -= block.span.blocks * block.class.bytes;
                complete(&block.span, known(block).1);
            }
            trimmed.extend(out);
        }
        trimmed
    }

    /// What the memory is used for, of which so many bytes were ever freed.
    pub(crate) fn uses(&self, stream: u32, freed: u64) -> StreamUse {
        let Self { handed_out, owned, peak, allocations, misses, .. } = *self;
        let live = handed_out - freed;
        StreamUse { stream, live, cached: owned.saturating_sub(live), peak, allocations, misses }
    }

    /// Whether nothing was allocated since the last call.
    pub(crate) fn was_idle(&mut self) -> bool {
        std::mem::replace(&mut self.seen, self.allocations) == self.allocations
    }

    /// The free blocks that have been fetched.
    pub(crate) fn free_blocks(&mut self) -> impl Iterator<Item = &mut Block> {
        self.free.iter_mut().flatten().map(|block| &mut **block)
    }
}
