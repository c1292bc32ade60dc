//! The peer: a caching allocator of the usual kind. One lock around everything, segments from the device that are split
//! and joined again, and the smallest free block that is large enough.
//!
//! A free block may be had at once by the stream that used it last, since the stream's next work comes after it anyway,
//! and by any other when the device is done with it. A block that is joined from several may be had when all of them
//! may.

use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_hal::{Device, Memory, MemoryKind};

/// Sizes are multiples of this.
const UNIT: u64 = 256;
/// What the device is asked for is a multiple of this.
const SEGMENT: u64 = 2 << 20;

/// The allocator. Streams are numbered from 0.
pub struct BestFit {
    device: Arc<dyn Device>,
    blocks: Vec<Block>,
    /// Places in `blocks` that nothing is in.
    unused: Vec<usize>,
    /// Free blocks, by size.
    free: BTreeSet<(u64, usize)>,
    segments: Vec<Option<Arc<dyn Memory>>>,
    /// By stream: its work so far, and how much of it the device has done.
    streams: Vec<Stream>,
    limit: u64,
    pub reserved: u64,
    /// Requests that found nothing and had the device asked.
    pub misses: u64,
    /// Those of them that another stream's block would have served, on which the device is still at work.
    pub pending: u64,
}

#[derive(Clone, Copy, Default)]
struct Stream {
    recorded: u64,
    done: u64,
}

struct Block {
    segment: usize,
    bytes: u64,
    free: bool,
    /// The neighbours in its segment.
    before: Option<usize>,
    after: Option<usize>,
    /// The last uses: stream, and its work then.
    uses: Vec<(usize, u64)>,
}

impl BestFit {
    pub fn new(device: Arc<dyn Device>, streams: usize, limit: u64) -> Self {
        Self {
            device,
            blocks: Vec::new(),
            unused: Vec::new(),
            free: BTreeSet::new(),
            segments: Vec::new(),
            streams: vec![Stream::default(); streams],
            limit,
            reserved: 0,
            misses: 0,
            pending: 0,
        }
    }

    /// A block for a stream's work; `None` if there is no memory.
    pub fn allocate(&mut self, stream: usize, bytes: u64) -> Option<usize> {
        let bytes = bytes.next_multiple_of(UNIT);
        let at = match self.find(stream, bytes) {
            Some(at) => at,
            None => {
                self.misses += 1;
                self.pending += u64::from(self.free.range((bytes, 0)..).next().is_some());
                match self.grow(bytes) {
                    Some(at) => at,
                    None => {
                        // The device has done everything before there is said to be no memory.
                        (0..self.streams.len()).for_each(|stream| self.wait(stream));
                        self.find(stream, bytes).or_else(|| {
                            self.trim();
                            self.grow(bytes)
                        })?
                    }
                }
            }
        };
        self.free.remove(&(self.blocks[at].bytes, at));
        self.split(at, bytes);
        self.streams[stream].recorded += 1;
        let used = self.streams[stream].recorded;
        let block = &mut self.blocks[at];
        block.free = false;
        // Whatever it was used for comes before this.
        block.uses.clear();
        block.uses.push((stream, used));
        Some(at)
    }

    pub fn free(&mut self, at: usize) {
        // Used by what the stream has recorded until now.
        let (stream, _) = self.blocks[at].uses[0];
        self.blocks[at].uses[0].1 = self.streams[stream].recorded;
        self.blocks[at].free = true;
        let mut at = at;
        if let Some(after) = self.blocks[at].after.filter(|after| self.blocks[*after].free) {
            self.free.remove(&(self.blocks[after].bytes, after));
            self.join(at, after);
        }
        if let Some(before) = self.blocks[at].before.filter(|before| self.blocks[*before].free) {
            self.free.remove(&(self.blocks[before].bytes, before));
            self.join(before, at);
            at = before;
        }
        self.free.insert((self.blocks[at].bytes, at));
    }

    /// The device has done what a stream has recorded.
    pub fn wait(&mut self, stream: usize) {
        self.streams[stream].done = self.streams[stream].recorded;
    }

    fn find(&self, stream: usize, bytes: u64) -> Option<usize> {
        let may_be_had =
            |uses: &[(usize, u64)]| uses.iter().all(|(by, at)| *by == stream || *at <= self.streams[*by].done);
        self.free.range((bytes, 0)..).map(|(_, at)| *at).find(|at| may_be_had(&self.blocks[*at].uses))
    }

    fn grow(&mut self, bytes: u64) -> Option<usize> {
        let bytes = bytes.next_multiple_of(SEGMENT);
        if self.reserved + bytes > self.limit {
            return None;
        }
        self.segments.push(Some(self.device.allocate(MemoryKind::Device, bytes).ok()?));
        self.reserved += bytes;
        let segment = self.segments.len() - 1;
        let at = self.place(Block { segment, bytes, free: true, before: None, after: None, uses: Vec::new() });
        self.free.insert((bytes, at));
        Some(at)
    }

    /// Gives segments back that are one free block, with which the device is done.
    fn trim(&mut self) {
        let idle = |at: &usize| {
            let Block { before, after, uses, .. } = &self.blocks[*at];
            before.is_none() && after.is_none() && uses.iter().all(|(by, use_)| *use_ <= self.streams[*by].done)
        };
        let idle: Vec<usize> = self.free.iter().map(|(_, at)| *at).filter(idle).collect();
        for at in idle {
            let Block { segment, bytes, .. } = self.blocks[at];
            self.free.remove(&(bytes, at));
            self.segments[segment] = None;
            self.reserved -= bytes;
            self.unused.push(at);
        }
    }

    fn split(&mut self, at: usize, bytes: u64) {
        let Block { segment, bytes: whole, after, .. } = self.blocks[at];
        if whole == bytes {
            return;
        }
        let uses = self.blocks[at].uses.clone();
        let rest = self.place(Block { segment, bytes: whole - bytes, free: true, before: Some(at), after, uses });
        if let Some(after) = after {
            self.blocks[after].before = Some(rest);
        }
        self.blocks[at].bytes = bytes;
        self.blocks[at].after = Some(rest);
        self.free.insert((whole - bytes, rest));
    }

    /// Makes the second of two neighbours part of the first.
    fn join(&mut self, first: usize, second: usize) {
        let uses = std::mem::take(&mut self.blocks[second].uses);
        for (by, at) in uses {
            match self.blocks[first].uses.iter_mut().find(|(stream, _)| *stream == by) {
                Some((_, known)) => *known = at.max(*known),
                None => self.blocks[first].uses.push((by, at)),
            }
        }
        self.blocks[first].bytes += self.blocks[second].bytes;
        self.blocks[first].after = self.blocks[second].after;
        if let Some(after) = self.blocks[second].after {
            self.blocks[after].before = Some(first);
        }
        self.unused.push(second);
    }

    fn place(&mut self, block: Block) -> usize {
        match self.unused.pop() {
            Some(at) => {
                self.blocks[at] = block;
                at
            }
            None => {
                self.blocks.push(block);
                self.blocks.len() - 1
            }
        }
    }
}
