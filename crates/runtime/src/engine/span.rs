//! Spans of pools: bytes without uses of their own.

use super::Engine;
use crate::base::error::Result;
use crate::base::fork;
use crate::base::wait_policy::WaitPolicy;
use crate::memory::Request;
use crate::memory::arena::{Owner, Place, PoolId, rounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thalweg_hal::Memory;

/// Some bytes of a pool. When it is dropped they are not used again before everything has settled that was recorded by
/// then, on any stream. A graph submits its list more than once, and keeps the span as long.
pub(crate) struct PoolSpan {
    engine: Arc<Engine>,
    place: Place,
    /// Some of it was never written. Cleared by its owner, who fills it.
    raw: AtomicBool,
}

impl PoolSpan {
    /// At least `bytes` bytes of a pool, which no stream hands out. What is in them is not defined, or it is raw. They
    /// are aligned to 256 bytes, and every use of them has settled.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or what the device says.
    pub(crate) fn take(
        engine: &Arc<Engine>,
        pool: PoolId,
        bytes: u64,
        owner: Owner,
        policy: WaitPolicy,
    ) -> Result<Self> {
        engine.life.check_open()?;
        let memory = &engine.memory;
        let bytes = rounded(bytes).ok_or_else(|| memory.too_large(bytes))?;
        let request = Request { pool, bytes, least: bytes };
        let place = memory.obtain(&**engine, request, policy, |want| memory.arena.lock().take(want, owner))?;
        let raw = AtomicBool::new(place.raw);
        Ok(Self { engine: Arc::clone(engine), place, raw })
    }

    /// Whether some of it was never written, so that its owner has to fill it, as the first use of its bytes.
    pub(crate) fn is_raw(&self) -> bool {
        // Relaxed, here and below: what fills and what uses it are ordered by its owner.
        self.raw.load(Ordering::Relaxed)
    }

    /// All of it is written, or will be by commands that are recorded.
    pub(crate) fn set_filled(&self) {
        self.raw.store(false, Ordering::Relaxed);
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What the bytes are of.
    pub(crate) fn memory(&self) -> &Arc<dyn Memory> {
        &self.place.memory
    }

    /// Where they start in it: a multiple of 256.
    pub(crate) fn offset(&self) -> u64 {
        self.place.offset
    }

    /// How many they are, as they are rounded.
    pub(crate) fn bytes(&self) -> u64 {
        self.place.bytes
    }
}

impl Drop for PoolSpan {
    fn drop(&mut self) {
        if fork::forked() {
            // Leaked, the driver's memory too: what the engine holds has locks and threads of the parent's.
            std::mem::forget((Arc::clone(&self.place.memory), Arc::clone(&self.engine)));
            return;
        }
        let raw = *self.raw.get_mut();
        let first = self.engine.memory.arena.lock().put_in_limbo(self.place.segment, self.place.offset, raw);
        if first {
            // The reaper empties it, for memory to go back to the device without anybody being short of it.
            self.engine.doorbell.submitted();
        }
    }
}
