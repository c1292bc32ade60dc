//! Who touched which bytes: for each memory, disjoint ranges with the accesses that still matter.
//!
//! An access stops mattering when every later conflicting access that misses it must miss a newer one too: reads and
//! writes that come before a newer write, reads that come before a newer read, and reads of the same queue before its
//! newer read (a [`Clock`] that has the newer has the older). So a range keeps about one write, and one read a queue.

use super::clock::{Clock, Epoch};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// What an access does, as far as conflicts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

/// An earlier access that conflicts with a new one, and the bytes that both touch.
#[derive(Clone, Debug)]
pub(super) struct Conflict {
    pub(super) bytes: Range<u64>,
    pub(super) other: Epoch,
    pub(super) kind: Kind,
}

/// An access that a newer one has displaced: what it takes to put it back.
#[derive(Debug)]
pub(super) struct Displaced {
    memory: u64,
    bytes: Range<u64>,
    epoch: Epoch,
    kind: Kind,
}

/// Bytes with the same accesses. The start is the key in the map.
#[derive(Clone, Debug)]
struct Segment {
    end: u64,
    /// One, but for writes that [`History::undo`] put back.
    writes: SmallVec<[Epoch; 1]>,
    /// At most one of each queue.
    reads: SmallVec<[Epoch; 2]>,
}

impl Segment {
    fn empty(end: u64) -> Self {
        Self { end, writes: SmallVec::new(), reads: SmallVec::new() }
    }

    /// An access that conflicts with one of this kind and is not covered.
    fn conflict(&self, kind: Kind, clock: &Clock) -> Option<(Epoch, Kind)> {
        let open = |epochs: &[Epoch]| epochs.iter().copied().find(|epoch| !clock.covers(*epoch));
        let write = open(&self.writes).map(|epoch| (epoch, Kind::Write));
        match kind {
            Kind::Read => write,
            Kind::Write => write.or_else(|| open(&self.reads).map(|epoch| (epoch, Kind::Read))),
        }
    }

    /// Adds an access without a look at what it displaces.
    fn push(&mut self, epoch: Epoch, kind: Kind) {
        match kind {
            Kind::Read => self.reads.push(epoch),
            Kind::Write => self.writes.push(epoch),
        }
    }

    /// Drops the accesses for which `gone` says so; whether any is left.
    fn forget(&mut self, mut gone: impl FnMut(Epoch) -> bool) -> bool {
        self.writes.retain(|epoch| !gone(*epoch));
        self.reads.retain(|epoch| !gone(*epoch));
        !(self.writes.is_empty() && self.reads.is_empty())
    }
}

/// A command that is being recorded.
pub(super) struct Recording<'a> {
    pub(super) epoch: Epoch,
    /// What comes before the command.
    pub(super) before: &'a Clock,
    /// The first command of its list: displaced accesses of the list itself are not kept.
    pub(super) list_start: u64,
    /// What the host has seen complete: such accesses are not kept either.
    pub(super) host: &'a Clock,
}

/// The accesses to all memories that still matter.
#[derive(Debug, Default)]
pub(super) struct History {
    memories: HashMap<u64, BTreeMap<u64, Segment>>,
    /// Ranges of all memories.
    segments: usize,
    /// The number of ranges at which the next sweep is worth its cost.
    sweep_at: usize,
}

impl History {
    /// The first earlier access that conflicts and is not in `before`.
    pub(super) fn conflict(&self, memory: u64, bytes: &Range<u64>, kind: Kind, before: &Clock) -> Option<Conflict> {
        let segments = self.memories.get(&memory)?;
        // Disjoint and sorted: walking back from the end, the first range that ends before `bytes` ends the walk.
        let touched = segments.range(..bytes.end).rev().take_while(|(_, segment)| segment.end > bytes.start);
        touched.filter_map(|(start, segment)| Some((start, segment, segment.conflict(kind, before)?))).last().map(
            |(start, segment, (other, kind))| {
                let bytes = bytes.start.max(*start)..bytes.end.min(segment.end);
                Conflict { bytes, other, kind }
            },
        )
    }

    /// Records an access that has no conflict, and puts what it displaces into `displaced`.
    pub(super) fn record(
        &mut self,
        memory: u64,
        bytes: &Range<u64>,
        kind: Kind,
        recording: &Recording<'_>,
        displaced: &mut Vec<Displaced>,
    ) {
        let Recording { epoch: new, before, list_start, host } = *recording;
        self.change(memory, bytes, |range, segment| {
            let mut keep = |epoch: Epoch, kind| {
                let own = epoch.queue == new.queue && epoch.number >= list_start;
                if !own && !host.covers(epoch) {
                    displaced.push(Displaced { memory, bytes: range.clone(), epoch, kind });
                }
            };
            match kind {
                Kind::Write => {
                    segment.reads.drain(..).for_each(|epoch| keep(epoch, Kind::Read));
                    segment.writes.drain(..).for_each(|epoch| keep(epoch, Kind::Write));
                }
                Kind::Read => segment.reads.retain(|epoch| {
                    let older = before.covers(*epoch) || epoch.queue == new.queue;
                    if older {
                        keep(*epoch, Kind::Read);
                    }
                    !older
                }),
            }
            segment.push(new, kind);
        });
    }

    /// Takes the accesses of a list back, from command `list_start` of the queue on, and puts back what they displaced.
    ///
    /// Exact also when other lists were recorded in between: those did not displace this list's accesses (they would
    /// have had to come after a list that has not been handed over), and an access put back beside a newer one that it
    /// comes before can cause no report that the newer one would not cause.
    pub(super) fn undo(
        &mut self,
        queue: usize,
        list_start: u64,
        memories: impl Iterator<Item = u64>,
        displaced: Vec<Displaced>,
    ) {
        for memory in memories {
            self.retain(memory, |epoch| epoch.queue == queue && epoch.number >= list_start);
        }
        for Displaced { memory, bytes, epoch, kind } in displaced {
            self.change(memory, &bytes, |_, segment| segment.push(epoch, kind));
        }
    }

    /// Whether there is so much that a sweep is worth the walk: its cost is then a constant for each access, amortised.
    pub(super) fn is_large(&self) -> bool {
        const WORTHWHILE: usize = 256;
        self.segments >= self.sweep_at.max(WORTHWHILE)
    }

    /// Forgets what the host has seen complete, if there is much.
    pub(super) fn sweep(&mut self, host: &Clock) {
        if !self.is_large() {
            return;
        }
        self.memories.retain(|_, segments| {
            segments.retain(|_, segment| segment.forget(|epoch| host.covers(epoch)));
            !segments.is_empty()
        });
        self.segments = self.memories.values().map(BTreeMap::len).sum();
        self.sweep_at = 2 * self.segments;
    }

    /// Ranges that are kept.
    #[cfg(test)]
    pub(super) fn segments(&self) -> usize {
        assert_eq!(self.segments, self.memories.values().map(BTreeMap::len).sum::<usize>());
        self.segments
    }

    /// The ranges in words.
    #[cfg(test)]
    pub(super) fn picture(&self) -> String {
        format!("{:?}", self.memories)
    }

    fn retain(&mut self, memory: u64, mut gone: impl FnMut(Epoch) -> bool) {
        if let Some(segments) = self.memories.get_mut(&memory) {
            let before = segments.len();
            segments.retain(|_, segment| segment.forget(&mut gone));
            self.segments -= before - segments.len();
            if segments.is_empty() {
                self.memories.remove(&memory);
            }
        }
    }

    /// Calls `change` for ranges that together are exactly `bytes`, splitting and adding ranges as needed.
    fn change(&mut self, memory: u64, bytes: &Range<u64>, mut change: impl FnMut(Range<u64>, &mut Segment)) {
        let segments = self.memories.entry(memory).or_default();
        // Usually the same blocks again and again.
        if let Some(segment) = segments.get_mut(&bytes.start)
            && segment.end == bytes.end
        {
            return change(bytes.clone(), segment);
        }
        let before = segments.len();
        split(segments, bytes.start);
        split(segments, bytes.end);
        let mut gaps: SmallVec<[Range<u64>; 4]> = SmallVec::new();
        let mut at = bytes.start;
        for (start, segment) in segments.range_mut(bytes.clone()) {
            if at < *start {
                gaps.push(at..*start);
            }
            at = segment.end;
            change(*start..segment.end, segment);
        }
        if at < bytes.end {
            gaps.push(at..bytes.end);
        }
        for gap in gaps {
            let segment = segments.entry(gap.start).or_insert_with(|| Segment::empty(gap.end));
            change(gap, segment);
        }
        self.segments += segments.len() - before;
    }
}

/// Makes `at` a border between ranges, if it lies inside one.
fn split(segments: &mut BTreeMap<u64, Segment>, at: u64) {
    if let Some((_, left)) = segments.range_mut(..at).next_back()
        && left.end > at
    {
        let right = left.clone();
        left.end = at;
        segments.insert(at, right);
    }
}
