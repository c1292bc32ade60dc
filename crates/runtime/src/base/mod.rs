//! What every layer uses: locks and atomics, how long to wait, errors, settings, and the cache.

pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod fork;
pub(crate) mod memory_stats;
pub(crate) mod rank;
pub(crate) mod sync;
pub(crate) mod timed_mutex;
pub(crate) mod wait_policy;
