//! Every byte that is taken from the device, and what it is used for, at one moment.

use super::arena::{Arena, Owner, PoolId};
use super::device_memory::DeviceMemory;
use super::heap::Block;
use super::lists::Lists;
use crate::base::memory_stats::MemoryStats;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

/// A device's memory at one moment: what there is of it, piece by piece, and the same in numbers. See
/// [`crate::Device::memory_snapshot`].
///
/// Segments are divided into spans without gaps, and the spans of streams into blocks. All lengths and offsets are in
/// bytes.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemorySnapshot {
    /// The sums.
    pub stats: MemoryStats,
    /// By number, which rises with age.
    pub segments: Vec<SegmentSnapshot>,
}

/// A driver allocation.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SegmentSnapshot {
    /// Its number, never used again.
    pub id: u64,
    /// Its length.
    pub bytes: u64,
    /// The pool's name: "small blocks", "blocks" and "large blocks" for those of the streams, "host" for what the host
    /// reads and writes, "default" for frozen storage that names none.
    pub pool: String,
    /// In the order of their bytes.
    pub spans: Vec<SpanSnapshot>,
}

/// A span: a part of a segment with one owner.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SpanSnapshot {
    /// Where it starts in the segment.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// What it is used for.
    pub state: SpanState,
    /// The stream that has it, if one does.
    pub stream: Option<u32>,
    /// In the order of their bytes; empty if it is no stream's.
    pub blocks: Vec<BlockSnapshot>,
}

/// What a span is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SpanState {
    /// Nothing.
    Free,
    /// Blocks of a stream.
    Stream,
    /// A frozen tensor.
    Frozen,
    /// A graph.
    Graph,
    /// A frozen tensor or graph that was dropped and may still be in use.
    Limbo,
}

/// A piece of a stream's span. Tensors that lie side by side are one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BlockSnapshot {
    /// Where it starts in the segment.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// What it is used for.
    pub state: BlockState,
}

/// What a block is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BlockState {
    /// Tensors.
    Live,
    /// Nothing.
    Free,
    /// A tensor that was dropped and may still be in use.
    Pending,
}

impl MemorySnapshot {
    /// One object: `stats` and `segments`, with the fields' names as they are here and states in lower case.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are always JSON")
    }
}

// A line each; all of it is in `to_json`.
impl fmt::Debug for MemorySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spans: usize = self.segments.iter().map(|segment| segment.spans.len()).sum();
        let MemoryStats { reserved, limit, .. } = self.stats;
        write!(f, "MemorySnapshot({} segments, {spans} spans, {reserved} bytes of {limit})", self.segments.len())
    }
}

impl fmt::Debug for SegmentSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, bytes, pool, spans } = self;
        write!(f, "SegmentSnapshot({id}: {bytes} bytes of {pool:?} in {} spans)", spans.len())
    }
}

impl fmt::Debug for SpanSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, bytes, state, stream, blocks } = self;
        write!(f, "SpanSnapshot({state:?}, {bytes} bytes from {offset}")?;
        if let Some(stream) = stream {
            write!(f, ", {} blocks of stream {stream}", blocks.len())?;
        }
        f.write_str(")")
    }
}

impl DeviceMemory {
    /// A snapshot, taken with every heap locked in the order of the streams, then every stream's returns, then the
    /// arena: nothing moves meanwhile.
    pub(crate) fn snapshot(&self, lists: &impl Lists) -> MemorySnapshot {
        loop {
            if let Some(snapshot) = self.try_snapshot(lists) {
                return snapshot;
            }
        }
    }

    /// `None` if a stream was made meanwhile that has memory already.
    fn try_snapshot(&self, lists: &impl Lists) -> Option<MemorySnapshot> {
        let streams: Vec<_> = self.heaps().collect();
        let mut heaps: Vec<_> = streams.iter().map(|(_, heap)| heap.heap.lock()).collect();
        let mut returns: Vec<_> = streams.iter().map(|(_, heap)| heap.returns.lock()).collect();
        let arena = self.arena.lock();
        let known: HashSet<u32> = streams.iter().map(|(stream, _)| *stream).collect();
        if arena.streams().any(|stream| !known.contains(&stream)) {
            return None;
        }
        let mut stats = self.arena_stats(&arena);
        let mut dropped = Dropped::new();
        for (((stream, _), heap), returns) in streams.iter().zip(&mut heaps).zip(&mut returns) {
            heap.usage(*stream, returns.bytes).add_to(&mut stats);
            let free = heap.free_blocks().chain(returns.blocks.iter_mut().map(|block| &mut **block));
            dropped.extend(free.map(|block| ((block.segment, block.offset), (block.bytes, state(block, lists)))));
        }
        let segments = segments(&arena, &dropped);
        Some(MemorySnapshot { stats, segments })
    }
}

/// Of a block that is not live.
fn state(block: &mut Block, lists: &impl Lists) -> BlockState {
    let uses = block.hazard.uses.get_mut();
    if uses.is_settled(|stream| lists.settled(stream)) { BlockState::Free } else { BlockState::Pending }
}

/// The blocks that are not live: segment and offset, length and state.
type Dropped = BTreeMap<(u64, u64), (u64, BlockState)>;

fn segments(arena: &Arena, dropped: &Dropped) -> Vec<SegmentSnapshot> {
    let pools: BTreeMap<PoolId, String> = arena.pools().map(|(id, pool)| (id, pool.name.to_string())).collect();
    let segment = |(id, segment): (u64, &super::arena::Segment)| {
        let spans = segment.spans.iter().map(|(offset, span)| {
            let (state, stream) = match span.owner {
                Owner::Free => (SpanState::Free, None),
                Owner::Stream(stream) => (SpanState::Stream, Some(stream)),
                Owner::Frozen => (SpanState::Frozen, None),
                Owner::Graph => (SpanState::Graph, None),
                Owner::Limbo => (SpanState::Limbo, None),
            };
            let blocks = stream.map_or_else(Vec::new, |_| blocks(id, *offset..offset + span.bytes, dropped));
            SpanSnapshot { offset: *offset, bytes: span.bytes, state, stream, blocks }
        });
        SegmentSnapshot {
            id,
            bytes: segment.bytes,
            pool: pools.get(&segment.pool).cloned().unwrap_or_default(),
            spans: spans.collect(),
        }
    };
    arena.segments().map(segment).collect()
}

/// A stream's span: what is not live, and what lies between.
fn blocks(segment: u64, span: Range<u64>, dropped: &Dropped) -> Vec<BlockSnapshot> {
    let mut blocks = Vec::new();
    let mut end = span.start;
    let live_until = |end: u64, until: u64, blocks: &mut Vec<BlockSnapshot>| {
        if until > end {
            blocks.push(BlockSnapshot { offset: end, bytes: until - end, state: BlockState::Live });
        }
    };
    for ((_, offset), (bytes, state)) in dropped.range((segment, span.start)..(segment, span.end)) {
        live_until(end, *offset, &mut blocks);
        blocks.push(BlockSnapshot { offset: *offset, bytes: *bytes, state: *state });
        end = offset + bytes;
    }
    live_until(end, span.end, &mut blocks);
    blocks
}
