//! Blocks, segments, and one stream's free lists.

use super::class::{CLASSES, Class};
use crate::hazard::{Hazard, Uses};
use crate::sync::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use thalweg_hal::Memory;

/// How many of the oldest free blocks are asked for one that is settled.
const PROBES: usize = 4;

/// A driver allocation, divided into blocks of one class.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) memory: Arc<dyn Memory>,
    blocks: u64,
}

/// Bytes that are handed out as one.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u64,
    pub(crate) class: Class,
    pub(crate) hazard: Hazard,
}

/// The size of the segment that [`split_segment`] expects for a class.
pub(crate) fn segment_bytes(class: Class) -> u64 {
    class.bytes * class.blocks_per_segment()
}

/// Divides a new segment into blocks.
#[allow(clippy::vec_box)] // see `Returns`
pub(crate) fn split_segment(class: Class, memory: Arc<dyn Memory>) -> Vec<Box<Block>> {
    let blocks = class.blocks_per_segment();
    let segment = Arc::new(Segment { memory, blocks });
    let block = |index| {
        let hazard = Hazard::new(Uses::default());
        Box::new(Block { segment: Arc::clone(&segment), offset: index * class.bytes, class, hazard })
    };
    (0..blocks).map(block).collect()
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
}

impl Heap {
    pub(crate) fn new() -> Self {
        Self { free: (0..CLASSES).map(|_| VecDeque::new()).collect(), handed_out: 0 }
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
        self.handed_out += block.class.bytes;
        Some(block)
    }

    /// Moves returned blocks to the free lists.
    pub(crate) fn fetch(&mut self, returns: &Mutex<Returns>) {
        // The lock is held for the swap alone: whoever frees a block must not wait for the sorting.
        let mut blocks = std::mem::take(&mut returns.lock().blocks);
        for block in blocks.drain(..) {
            self.free[block.class.index].push_back(block);
        }
        let mut returns = returns.lock();
        if returns.blocks.capacity() == 0 {
            returns.blocks = blocks; // keep the capacity
        }
    }

    /// Adds the blocks of a new segment and hands one of them out.
    #[allow(clippy::vec_box)] // see `Returns`
    pub(crate) fn add_segment(&mut self, mut blocks: Vec<Box<Block>>) -> Option<Box<Block>> {
        let first = blocks.pop()?;
        self.handed_out += first.class.bytes;
        self.free[first.class.index].extend(blocks);
        Some(first)
    }

    /// Takes out every segment whose blocks are all free and settled. The caller drops them with no lock held.
    #[allow(clippy::vec_box)] // see `Returns`
    pub(crate) fn trim(&mut self, settled: impl Fn(u32) -> u64) -> Vec<Box<Block>> {
        let mut trimmed = Vec::new();
        for free in self.free.iter_mut().filter(|free| !free.is_empty()) {
            let mut idle = HashMap::<_, u64>::new();
            for block in free.iter_mut() {
                if block.hazard.uses.get_mut().clear_if_settled(&settled) {
                    *idle.entry(Arc::as_ptr(&block.segment)).or_default() += 1;
                }
            }
            let whole = |block: &Block| idle.get(&Arc::as_ptr(&block.segment)) == Some(&block.segment.blocks);
            let (out, kept) = std::mem::take(free).into_iter().partition::<Vec<_>, _>(|block| whole(block));
            *free = kept.into();
            trimmed.extend(out);
        }
        trimmed
    }
}
