//! What a device's memory is used for, in numbers: in reports and in errors.

use serde::Serialize;
use std::fmt;

/// What a device's memory is used for, in bytes where nothing else is said. See [`crate::Device::memory`].
///
/// `reserved` is the sum of `live`, `cached`, `frozen`, `graphs`, `limbo`, `free`, `in_transit` and `overhead`; exactly
/// so while nobody else uses the device, and in [`MemorySnapshot`](crate::MemorySnapshot) always.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryStats {
    /// The most that may be reserved.
    pub limit: u64,
    /// Above this, what is cached is used up and given back before more is taken from the device.
    pub soft_limit: u64,
    /// Taken from the device.
    pub reserved: u64,
    /// The most that was ever reserved.
    pub peak_reserved: u64,
    /// In live tensors, rounded up to blocks; without frozen ones.
    pub live: u64,
    /// No less than what was ever live at once: the sum of the peaks of all streams, each of which counts what was
    /// freed when the stream fetches it.
    pub peak_live: u64,
    /// In blocks that are free, kept by the streams that had them.
    pub cached: u64,
    /// Of all that, memory that the host reads and writes: what data is copied through.
    pub staging: u64,
    /// In frozen tensors.
    pub frozen: u64,
    /// In graphs.
    pub graphs: u64,
    /// Frozen tensors and graphs that were dropped and may still be in use.
    pub limbo: u64,
    /// Nobody's, and ready for anybody.
    pub free: u64,
    /// The longest piece of that.
    pub largest_free: u64,
    /// Reserved for an allocation that is being made, or held by a list that has settled and is about to be dropped.
    pub in_transit: u64,
    /// What the device has taken for itself: room for what lists bring along and report.
    pub overhead: u64,
    /// Number of driver allocations, the device's own among them.
    pub allocations: u64,
    /// The most that there may be.
    pub max_allocations: u64,
    /// Number of allocations that a stream's own blocks served.
    pub hits: u64,
    /// Number of those that they did not.
    pub misses: u64,
    /// Number of misses that waited for the device.
    pub waits: u64,
    /// Number of spans that were taken back from streams.
    pub reclaimed: u64,
    /// Given back to the device because nobody had used it for a while, in all.
    pub decayed: u64,
}

/// What most of it is; there are more fields than a line has room for.
impl fmt::Debug for MemoryStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStats")
            .field("limit", &self.limit)
            .field("reserved", &self.reserved)
            .field("live", &self.live)
            .field("cached", &self.cached)
            .field("frozen", &self.frozen)
            .field("graphs", &self.graphs)
            .field("free", &self.free)
            .finish_non_exhaustive()
    }
}
