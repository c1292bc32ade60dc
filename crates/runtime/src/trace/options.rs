//! How much is taken note of.

/// How much a profiler takes note of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// Lists with their device time, submits, waits, compiles, driver allocations, and ranges: for programs that are
    /// measured.
    #[default]
    Coarse,
    /// Every operation, kernel (where the device takes the time of commands), allocation and free as well.
    Full,
}

/// How to profile. `ProfileOptions::default()` is coarse.
#[derive(Clone, Copy, Debug)]
pub struct ProfileOptions {
    pub(crate) detail: Detail,
    pub(crate) ring_events: usize,
    pub(crate) max_events: usize,
    pub(crate) serialize_kernels: bool,
}

impl Default for ProfileOptions {
    fn default() -> Self {
        Self { detail: Detail::Coarse, ring_events: 16_384, max_events: 1 << 21, serialize_kernels: false }
    }
}

impl ProfileOptions {
    /// As the default: coarse.
    pub fn new() -> Self {
        Self::default()
    }

    /// How much is taken note of (default: coarse).
    pub fn detail(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    /// How many events of one thread may wait to be collected, which happens every few milliseconds (1 to 1,048,576;
    /// default 16,384). What comes on top is dropped and counted. An event takes 48 bytes, and a thread's ring grows to
    /// its size in steps.
    pub fn ring_events(mut self, events: usize) -> Self {
        self.ring_events = events.clamp(1, 1 << 20);
        self
    }

    /// How many events a profile has at most (default: 2,097,152; each takes 56 bytes). What comes later is dropped and
    /// counted.
    pub fn max_events(mut self, events: usize) -> Self {
        self.max_events = events;
        self
    }

    /// Whether barriers keep every kernel from overlapping others of its stream's hardware queue (default: no), so that
    /// its time is its own. For full detail; slows devices down that overlap commands.
    pub fn serialize_kernels(mut self, serialize: bool) -> Self {
        self.serialize_kernels = serialize;
        self
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn serializes(self) -> bool {
        self.detail == Detail::Full && self.serialize_kernels
    }
}
