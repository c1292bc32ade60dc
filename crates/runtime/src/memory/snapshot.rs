//! Every byte that is taken from the device, and what it is used for, at one moment.

use super::arena::{Arena, Owner, PoolId};
use super::heap::Block;
use super::stats::MemoryStats;
use crate::device::DeviceCore;
use crate::stream::core::StreamCore;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use thalweg_hal::Access;

/// A device's memory at one moment: what there is of it, piece by piece, and the same in numbers. See
/// [`crate::Device::memory_snapshot`].
///
/// Segments are divided into spans without gaps, and the spans of streams into blocks of one size. All lengths and offsets are
/// in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemorySnapshot {
    /// The sums.
    pub stats: MemoryStats,
    /// By number, which rises with age.
    pub segments: Vec<SegmentSnapshot>,
}

/// A driver allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SegmentSnapshot {
    /// Its number, never used again.
    pub id: u64,
    /// Its length.
    pub bytes: u64,
    /// The pool's name: "blocks" for those of the streams, "default" for frozen storage that names none.
    pub pool: String,
    /// In the order of their bytes.
    pub spans: Vec<SpanSnapshot>,
}

/// A piece of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// The size of its blocks, if it is a stream's.
    pub class: Option<u64>,
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

/// A piece of a stream's span.
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
    /// A tensor.
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

impl DeviceCore {
    /// A snapshot, taken with every recorder locked in the order of their index, then every stream's returns, then the arena:
    /// nothing moves meanwhile.
    pub(crate) fn memory_snapshot(&self) -> MemorySnapshot {
        loop {
            if let Some(snapshot) = self.try_snapshot() {
                return snapshot;
            }
        }
    }

    /// `None` if a stream was made meanwhile that has memory already.
    fn try_snapshot(&self) -> Option<MemorySnapshot> {
        let streams: Vec<&StreamCore> = self.streams().collect();
        let mut recorders: Vec<_> = streams.iter().map(|stream| stream.recorder.lock()).collect();
        let mut returns: Vec<_> = streams.iter().map(|stream| stream.returns.lock()).collect();
        let arena = self.memory.arena.lock();
        let known: HashSet<u32> = streams.iter().map(|stream| stream.index).collect();
        if arena.streams().any(|stream| !known.contains(&stream)) {
            return None;
        }
        let mut stats = self.memory.stats(&arena);
        let mut states = HashMap::new();
        for ((stream, recorder), returns) in streams.iter().zip(&mut recorders).zip(&mut returns) {
            recorder.heap.uses(stream.index, returns.bytes).add_to(&mut stats);
            let free = recorder.heap.free_blocks().chain(returns.blocks.iter_mut().map(|block| &mut **block));
            states.extend(free.map(|block| ((block.span.segment, block.offset), self.state(block))));
        }
        let segments = segments(&arena, &states);
        Some(MemorySnapshot { stats, segments })
    }

    /// Of a block that is not live.
    fn state(&self, block: &mut Block) -> BlockState {
        let uses = block.hazard.uses.get_mut();
        let is_settled = uses.before(Access::Write).all(|by| self.stream(by.stream).settled() >= by.value);
        if is_settled { BlockState::Free } else { BlockState::Pending }
    }
}

fn segments(arena: &Arena, states: &HashMap<(u64, u64), BlockState>) -> Vec<SegmentSnapshot> {
    let pools: BTreeMap<PoolId, String> = arena.pools().map(|(id, pool)| (id, pool.name.to_string())).collect();
    let segment = |(id, segment): (u64, &super::arena::Segment)| {
        let spans = segment.spans.iter().map(|(offset, span)| {
            let (state, stream, class) = match span.owner {
                Owner::Free => (SpanState::Free, None, None),
                Owner::Stream { stream, block } => (SpanState::Stream, Some(stream), Some(block)),
                Owner::Frozen => (SpanState::Frozen, None, None),
                Owner::Graph => (SpanState::Graph, None, None),
                Owner::Limbo => (SpanState::Limbo, None, None),
            };
            let block = |bytes: u64| {
                let state = move |at: &u64| states.get(&(id, *at)).copied().unwrap_or(BlockState::Live);
                let offsets = (0..span.bytes / bytes).map(move |index| offset + index * bytes);
                offsets.map(move |offset| BlockSnapshot { offset, bytes, state: state(&offset) }).collect()
            };
            let blocks = class.map_or_else(Vec::new, block);
            SpanSnapshot { offset: *offset, bytes: span.bytes, state, stream, class, blocks }
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
