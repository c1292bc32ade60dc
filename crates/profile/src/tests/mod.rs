//! The profiler on devices whose every step is known.

pub(crate) mod known;
mod profile;
mod trace;
