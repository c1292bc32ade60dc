//! How to profile.

use thalweg_runtime::listener::{self, Detail};

/// How to profile. `ProfileOptions::default()` is coarse.
#[derive(Clone, Copy, Debug)]
pub struct ProfileOptions {
    pub(crate) listener: listener::Options,
    pub(crate) max_events: usize,
}

impl Default for ProfileOptions {
    fn default() -> Self {
        Self { listener: listener::Options::default(), max_events: 1 << 21 }
    }
}

impl ProfileOptions {
    /// As the default: coarse.
    pub fn new() -> Self {
        Self::default()
    }

    /// How much is taken note of (default: coarse).
    pub fn detail(mut self, detail: Detail) -> Self {
        self.listener.detail = detail;
        self
    }

    /// How many events of one thread may wait to be collected, which happens every few milliseconds (1 to 1,048,576;
    /// default 16,384). What comes on top is dropped and counted. An event takes 48 bytes, and a thread's ring grows to
    /// its size in steps.
    pub fn ring_events(mut self, events: usize) -> Self {
        self.listener.ring_events = events;
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
        self.listener.serialize_kernels = serialize;
        self
    }
}
