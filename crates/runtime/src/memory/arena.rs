//! The level behind the streams' free lists: driver allocations, carved into spans.
//!
//! A *segment* is one driver allocation, of one pool. It is divided without gaps into *spans*, each a multiple of 256
//! bytes:
//!
//! ```text
//!            take                        give_back, of any part, reclaimed from its stream
//!   free ────────────► stream ───────────────────────────────────────────────────────────► free
//!   free ────────────► frozen, graph ──► limbo ──(settled)───────────────────────────────► free
//! ```
//!
//! - A span is free only if every byte of it is settled, so nothing here has uses. Uses are kept with blocks.
//! - Two free spans are never neighbours, nor are two of one stream: they are merged. What a stream gives back is cut
//!   out.
//! - The one that fits best is taken, so that what is wholly free stays so. Of the pool of large blocks, which are a
//!   segment each, only one that fits exactly.
//! - Memory with undefined content is *raw* until it is first written. A span that is raw is filled with zeros by its
//!   new owner, so what a second owner gets was written by the first.
//! - What was dropped while lists may read it is in *limbo*: freed when the last value that each stream had recorded by
//!   then has settled.
//!
//! All of it is plain data under one lock, a leaf, in [`DeviceMemory`](super::device_memory::DeviceMemory). It calls no
//! driver: the thread that grows inserts the memory afterwards, and what goes back is returned, to be dropped with
//! nothing locked.

use super::ranges::Ranges;
use super::stats::Usage;
use crate::order::point::Point;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_hal::{BINDING_ALIGNMENT, Memory};

/// Which pool: its number.
pub(crate) type PoolId = u64;
/// The pool of the streams' blocks that are neither small nor large.
pub(crate) const BLOCKS: PoolId = 0;
/// The pool of frozen storage that names none.
pub(crate) const DEFAULT: PoolId = 1;
/// The pool of what the host reads and writes.
pub(crate) const HOST: PoolId = 2;
/// The pool of the streams' small blocks.
pub(crate) const SMALL: PoolId = 3;
/// The pool of the streams' large blocks: each is a segment.
pub(crate) const LARGE: PoolId = 4;
/// The first number of a pool that somebody made.
const FIRST: PoolId = 5;

/// Of each stream, the last list that may use some bytes.
pub(crate) type Values = Arc<[Point]>;

/// What a span is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nothing; every byte is settled.
    Free,
    /// Blocks of a stream.
    Stream(u32),
    /// Frozen storage.
    Frozen,
    /// Whatever takes spans of a pool for itself.
    Graph,
    /// Dropped; lists may still use it.
    Limbo,
}

/// A span that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) memory: Arc<dyn Memory>,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Whether some of it was never written since its memory was allocated.
    pub(crate) raw: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// Of this pool; if it has none, and `anywhere`, of another.
    pub(crate) pool: PoolId,
    pub(crate) anywhere: bool,
    /// So many bytes.
    pub(crate) bytes: u64,
    /// At least so many.
    pub(crate) least: u64,
}

#[derive(Debug)]
pub(super) struct Span {
    pub(super) bytes: u64,
    pub(super) owner: Owner,
}

#[derive(Debug)]
pub(super) struct Segment {
    memory: Arc<dyn Memory>,
    pub(super) bytes: u64,
    pub(super) pool: PoolId,
    /// By offset; without gaps.
    pub(super) spans: BTreeMap<u64, Span>,
    /// What of the free spans was never written.
    raw: Ranges,
    /// When it was made or a span of it was last given back, in times that any was.
    given_back: u64,
    /// How often a span was taken.
    takes: u64,
    /// `takes` at the last [`Arena::decay`], if it was wholly free then.
    seen: Option<u64>,
}

impl Segment {
    /// Enters what was free as somebody's. A stream's becomes one with what it has beside it.
    fn set(&mut self, offset: u64, bytes: u64, owner: Owner) {
        let (mut first, mut length) = (offset, bytes);
        if matches!(owner, Owner::Stream(_)) {
            if let Some((before, span)) = self.spans.range(..offset).next_back().filter(|(_, span)| span.owner == owner)
            {
                (first, length) = (*before, span.bytes + bytes);
                self.spans.remove(&offset);
            }
            let behind = offset + bytes;
            if let Some(next) = self.spans.get(&behind).filter(|span| span.owner == owner).map(|span| span.bytes) {
                self.spans.remove(&behind);
                length += next;
            }
        }
        self.spans.insert(first, Span { bytes: length, owner });
    }

    fn is_free(&self) -> bool {
        self.spans.len() == 1 && self.spans.values().all(|span| span.owner == Owner::Free)
    }
}

#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) name: Arc<str>,
    /// Its handle is gone: what becomes wholly free goes back to the driver.
    pub(super) dropped: bool,
}

/// A span that was dropped.
#[derive(Debug)]
struct Dropped {
    segment: u64,
    offset: u64,
    bytes: u64,
    raw: bool,
    /// Rises.
    number: u64,
    /// What has to settle first; not asked yet at first.
    until: Option<Values>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Arena {
    /// By number, which rises.
    segments: BTreeMap<u64, Segment>,
    next_segment: u64,
    /// Pool, bytes, segment, offset.
    free: BTreeSet<(PoolId, u64, u64, u64)>,
    pools: BTreeMap<PoolId, PoolState>,
    next_pool: PoolId,
    limbo: Vec<Dropped>,
    next_dropped: u64,
    /// `next_dropped` at the last call of `limbo_end`: the drop of that number rings the doorbell.
    asked: u64,
    /// Segments ever taken out.
    removed: u64,
    /// How often a segment was made or a span given back.
    given_back: u64,
    usage: Usage,
}

impl Arena {
    pub(crate) fn new() -> Self {
        let pool = |name: &str| PoolState { name: name.into(), dropped: false };
        Self {
            segments: BTreeMap::new(),
            next_segment: 0,
            free: BTreeSet::new(),
            pools: BTreeMap::from([
                (BLOCKS, pool("blocks")),
                (DEFAULT, pool("default")),
                (HOST, pool("host")),
                (SMALL, pool("small blocks")),
                (LARGE, pool("large blocks")),
            ]),
            next_pool: FIRST,
            limbo: Vec::new(),
            next_dropped: 0,
            asked: 0,
            removed: 0,
            given_back: 0,
            usage: Usage::default(),
        }
    }

    /// Bytes by use.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// How many segments were ever taken out.
    pub(crate) fn removed(&self) -> u64 {
        self.removed
    }

    /// The name of each pool that has any memory, with the bytes of its segments and those that are free.
    pub(crate) fn by_pool(&self) -> Vec<(Arc<str>, u64, u64)> {
        let sums = |(id, pool): (&PoolId, &PoolState)| {
            let segments =
                self.segments.values().filter(|segment| segment.pool == *id).map(|segment| segment.bytes).sum();
            let free = self.free.range((*id, 0, 0, 0)..(id + 1, 0, 0, 0)).map(|(_, bytes, ..)| bytes).sum();
            (Arc::clone(&pool.name), segments, free)
        };
        self.pools.iter().map(sums).filter(|(_, segments, _)| *segments > 0).collect()
    }

    /// The longest free span.
    pub(crate) fn largest_free(&self) -> u64 {
        self.pools.keys().filter_map(|pool| self.largest(*pool)).map(|(_, bytes, ..)| bytes).max().unwrap_or(0)
    }

    pub(crate) fn add_pool(&mut self, name: &str) -> PoolId {
        let id = self.next_pool;
        self.next_pool += 1;
        self.pools.insert(id, PoolState { name: name.into(), dropped: false });
        id
    }

    /// What a pool's handle was the last to want. Gives back what is to be dropped with nothing locked.
    pub(crate) fn drop_pool(&mut self, id: PoolId) -> Vec<Arc<dyn Memory>> {
        if let Some(pool) = self.pools.get_mut(&id) {
            pool.dropped = true;
        }
        self.take_segments(|segment| segment.pool == id)
    }

    /// Bytes of a pool's segments.
    pub(super) fn bytes_of(&self, pool: PoolId) -> u64 {
        self.segments.values().filter(|segment| segment.pool == pool).map(|segment| segment.bytes).sum()
    }

    /// Enters memory that was grown. `raw`: its content is undefined.
    pub(crate) fn insert(&mut self, pool: PoolId, memory: Arc<dyn Memory>, bytes: u64, raw: bool) {
        let id = self.next_segment;
        self.next_segment += 1;
        self.given_back += 1;
        let spans = BTreeMap::from([(0, Span { bytes, owner: Owner::Free })]);
        let raw = if raw { Ranges::of(0..bytes) } else { Ranges::default() };
        self.segments
            .insert(id, Segment { memory, bytes, pool, spans, raw, given_back: self.given_back, takes: 0, seen: None });
        self.free.insert((pool, bytes, id, 0));
        self.usage.segments += bytes;
        self.usage.free += bytes;
    }

    /// Takes the free span that fits best, or the largest that is long enough.
    pub(crate) fn take(&mut self, want: Want, owner: Owner) -> Option<Place> {
        let mut found = self.find(want.pool, want);
        if found.is_none() && want.anywhere {
            // Of the same kind of memory.
            let others = |pool: &&PoolId| **pool != want.pool && (**pool == HOST) == (want.pool == HOST);
            found = self.pools.keys().filter(others).find_map(|pool| self.find(*pool, want));
        }
        let entry @ (pool, free, id, offset) = found?;
        self.free.remove(&entry);
        let bytes = want.bytes.min(free);
        let segment = self.segments.get_mut(&id)?;
        segment.takes += 1;
        segment.set(offset, bytes, owner);
        if free > bytes {
            segment.spans.insert(offset + bytes, Span { bytes: free - bytes, owner: Owner::Free });
            self.free.insert((pool, free - bytes, id, offset + bytes));
        }
        let (memory, raw) = (Arc::clone(&segment.memory), segment.raw.take(offset..offset + bytes));
        self.usage.change(Owner::Free, owner, bytes);
        Some(Place { memory, segment: id, offset, bytes, raw })
    }

    fn find(&self, pool: PoolId, want: Want) -> Option<(PoolId, u64, u64, u64)> {
        if (pool, want.pool, want.anywhere) == (LARGE, LARGE, false) {
            return self.free.range((pool, want.bytes, 0, 0)..(pool, want.bytes + 1, 0, 0)).next().copied();
        }
        let fits = self.free.range((pool, want.bytes, 0, 0)..(pool + 1, 0, 0, 0)).next().copied();
        fits.or_else(|| self.largest(pool).filter(|(_, bytes, ..)| *bytes >= want.least))
    }

    fn largest(&self, pool: PoolId) -> Option<(PoolId, u64, u64, u64)> {
        self.free.range((pool, 0, 0, 0)..(pool + 1, 0, 0, 0)).next_back().copied()
    }

    /// Makes a span free, or a part of one, every byte of which is settled. `raw`: some of it was never written.
    pub(crate) fn give_back(&mut self, id: u64, offset: u64, bytes: u64, raw: bool) {
        self.given_back += 1;
        let Some(segment) = self.segments.get_mut(&id) else { return };
        segment.given_back = self.given_back;
        let Some((start, span)) = segment.spans.range_mut(..=offset).next_back() else { return };
        let (start, owner, end) = (*start, span.owner, *start + span.bytes);
        debug_assert!(owner != Owner::Free && offset + bytes <= end, "given back twice, or in two pieces");
        self.usage.change(owner, Owner::Free, bytes);
        if raw {
            segment.raw.add(offset..offset + bytes);
        }
        // What is left of the span, on both sides.
        span.bytes = offset - start;
        if offset + bytes < end {
            segment.spans.insert(offset + bytes, Span { bytes: end - offset - bytes, owner });
        }
        let (mut first, mut length) = (offset, bytes);
        if start == offset
            && let Some((before, free)) =
                segment.spans.range(..offset).next_back().filter(|(_, s)| s.owner == Owner::Free)
        {
            (first, length) = (*before, free.bytes + bytes);
            segment.spans.remove(&offset);
            self.free.remove(&(segment.pool, length - bytes, id, first));
        }
        let behind = offset + bytes;
        if let Some(free) = segment.spans.get(&behind).filter(|span| span.owner == Owner::Free).map(|span| span.bytes) {
            segment.spans.remove(&behind);
            self.free.remove(&(segment.pool, free, id, behind));
            length += free;
        }
        segment.spans.insert(first, Span { bytes: length, owner: Owner::Free });
        self.free.insert((segment.pool, length, id, first));
    }

    /// Puts a span into limbo. Says whether it is the first since somebody last asked for its end. `raw`: some of it
    /// was never written.
    pub(crate) fn put_in_limbo(&mut self, id: u64, offset: u64, raw: bool) -> bool {
        let span = self.segments.get_mut(&id).and_then(|segment| segment.spans.get_mut(&offset));
        let Some(span) = span else { return false };
        let bytes = span.bytes;
        self.usage.change(span.owner, Owner::Limbo, bytes);
        span.owner = Owner::Limbo;
        let number = self.next_dropped;
        self.next_dropped += 1;
        self.limbo.push(Dropped { segment: id, offset, bytes, raw, number, until: None });
        number == self.asked
    }

    /// Where limbo ends now, if there is something in it. The caller then takes a snapshot of the streams, and hands
    /// both to [`leave_limbo`](Self::leave_limbo).
    pub(crate) fn limbo_end(&mut self) -> Option<u64> {
        self.asked = self.next_dropped;
        (!self.limbo.is_empty()).then_some(self.next_dropped)
    }

    /// Frees what is in limbo and has settled. `values` was taken after `end`. Gives back what is to be dropped with
    /// nothing locked: segments of pools that are gone.
    pub(crate) fn leave_limbo(
        &mut self,
        end: u64,
        values: &Values,
        settled: impl Fn(u32) -> u64,
    ) -> Vec<Arc<dyn Memory>> {
        for dropped in self.limbo.iter_mut().filter(|dropped| dropped.number < end) {
            dropped.until.get_or_insert_with(|| Arc::clone(values));
        }
        let done = |dropped: &Dropped| {
            let until = dropped.until.as_ref();
            until.is_some_and(|values| values.iter().all(|last| settled(last.stream) >= last.value))
        };
        let (left, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.limbo).into_iter().partition(done);
        self.limbo = kept;
        left.iter().for_each(|dropped| self.give_back(dropped.segment, dropped.offset, dropped.bytes, dropped.raw));
        let pools = &self.pools;
        let gone: BTreeSet<_> = pools.iter().filter(|(_, pool)| pool.dropped).map(|(id, _)| *id).collect();
        if gone.is_empty() { Vec::new() } else { self.take_segments(|segment| gone.contains(&segment.pool)) }
    }

    /// Bytes and number of the segments that are wholly free.
    pub(crate) fn whole(&self) -> (u64, u64) {
        let free = self.segments.values().filter(|segment| segment.is_free());
        free.fold((0, 0), |(bytes, count), segment| (bytes + segment.bytes, count + 1))
    }

    /// Takes out segments that are wholly free, those first that have been so for longest, until they have so many
    /// bytes; to be dropped with nothing locked.
    pub(crate) fn take_whole(&mut self, bytes: u64) -> Vec<Arc<dyn Memory>> {
        let mut whole: Vec<_> =
            self.segments.values().filter(|segment| segment.is_free()).map(|s| (s.given_back, s.bytes)).collect();
        whole.sort_unstable();
        let mut taken = 0;
        let goes = |(_, length): &&(u64, u64)| {
            let before = taken;
            taken += length;
            before < bytes
        };
        let Some((last, _)) = whole.iter().take_while(goes).last().copied() else { return Vec::new() };
        self.take_segments(|segment| segment.given_back <= last)
    }

    /// Takes out the segments that are wholly free and were so at the last call, with nothing taken of them since.
    /// Gives back their bytes, too.
    pub(crate) fn decay(&mut self) -> (u64, Vec<Arc<dyn Memory>>) {
        let before = self.usage.segments;
        let old = self.take_segments(|segment| segment.seen == Some(segment.takes));
        for segment in self.segments.values_mut() {
            segment.seen = segment.is_free().then_some(segment.takes);
        }
        (before - self.usage.segments, old)
    }

    fn take_segments(&mut self, pick: impl Fn(&Segment) -> bool) -> Vec<Arc<dyn Memory>> {
        let picked = |(_, segment): &(&u64, &Segment)| segment.is_free() && pick(segment);
        let ids: Vec<u64> = self.segments.iter().filter(picked).map(|(id, _)| *id).collect();
        let mut memories = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(Segment { memory, bytes, pool, .. }) = self.segments.remove(&id) else { continue };
            self.free.remove(&(pool, bytes, id, 0));
            self.usage.segments -= bytes;
            self.usage.free -= bytes;
            self.removed += 1;
            memories.push(memory);
        }
        // A pool that is gone is forgotten with its last segment.
        let used = |id: &PoolId| self.segments.values().any(|segment| segment.pool == *id);
        let forgotten: Vec<_> =
            self.pools.iter().filter(|(id, pool)| pool.dropped && !used(id)).map(|(id, _)| *id).collect();
        forgotten.into_iter().for_each(|id| drop(self.pools.remove(&id)));
        memories
    }

    /// By number.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u64, &Segment)> {
        self.segments.iter().map(|(id, segment)| (*id, segment))
    }

    /// By number.
    pub(super) fn pools(&self) -> impl Iterator<Item = (PoolId, &PoolState)> {
        self.pools.iter().map(|(id, pool)| (*id, pool))
    }

    /// The streams that have spans; each as often as it has.
    pub(super) fn streams(&self) -> impl Iterator<Item = u32> {
        let spans = self.segments.values().flat_map(|segment| segment.spans.values());
        spans.filter_map(|span| if let Owner::Stream(stream) = span.owner { Some(stream) } else { None })
    }

    /// Everything, to be dropped with nothing locked: the device is going.
    pub(crate) fn clear(&mut self) -> Vec<Arc<dyn Memory>> {
        let segments = std::mem::take(&mut self.segments);
        self.free.clear();
        self.limbo.clear();
        self.usage = Usage::default();
        segments.into_values().map(|segment| segment.memory).collect()
    }
}

/// Up to the next multiple of what bindings are aligned to; at least one. `None` past the largest number.
pub(crate) fn rounded(bytes: u64) -> Option<u64> {
    bytes.max(1).checked_next_multiple_of(BINDING_ALIGNMENT)
}

#[cfg(all(test, not(loom)))]
mod tests;
