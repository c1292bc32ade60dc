//! How much is taken note of.

/// How much is taken note of.
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

/// What a [`Listener`](crate::listener::Listener) is told.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How much it is told (default: coarse).
    pub detail: Detail,
    /// How many events of one thread may wait to be drained (1 to 1,048,576, and the nearer of the two for what is
    /// outside; default 16,384). What comes on top is dropped and counted. An event takes 48 bytes, and a thread's ring
    /// grows to its size in steps.
    pub ring_events: usize,
    /// Whether barriers keep every kernel from overlapping others of its stream's hardware queue (default: no), so that
    /// its time is its own. For full detail; slows devices down that overlap commands.
    pub serialize_kernels: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { detail: Detail::Coarse, ring_events: 16_384, serialize_kernels: false }
    }
}
