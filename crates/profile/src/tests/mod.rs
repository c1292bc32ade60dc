//! The profiler with programs of which every step is known.

pub(crate) mod known;
mod profile;
mod trace;
