//! What there is to say of the memory, in numbers.

use super::arena::Owner;
use crate::base::memory_stats::MemoryStats;

/// Bytes of all segments, by what they are used for. The sum of the others is `segments`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) segments: u64,
    pub(crate) free: u64,
    pub(crate) streams: u64,
    pub(crate) frozen: u64,
    pub(crate) graphs: u64,
    pub(crate) limbo: u64,
}

impl Usage {
    /// Bytes change hands.
    pub(super) fn change(&mut self, from: Owner, to: Owner, bytes: u64) {
        *self.of(from) -= bytes;
        *self.of(to) += bytes;
    }

    fn of(&mut self, owner: Owner) -> &mut u64 {
        match owner {
            Owner::Free => &mut self.free,
            Owner::Stream(_) => &mut self.streams,
            Owner::Frozen => &mut self.frozen,
            Owner::Graph => &mut self.graphs,
            Owner::Limbo => &mut self.limbo,
        }
    }
}

/// What one stream knows of its memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamUsage {
    pub(crate) stream: u32,
    pub(crate) live: u64,
    pub(crate) cached: u64,
    pub(crate) peak: u64,
    pub(crate) allocations: u64,
    pub(crate) misses: u64,
}

impl StreamUsage {
    pub(crate) fn add_to(&self, stats: &mut MemoryStats) {
        stats.live += self.live;
        stats.cached += self.cached;
        stats.peak_live += self.peak;
        // A miss that is out of memory hands nothing out.
        stats.hits += self.allocations.saturating_sub(self.misses);
        stats.misses += self.misses;
    }
}
