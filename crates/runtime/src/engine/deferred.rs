//! Flushes that are asked for without waiting for them.

use super::Engine;
use crate::base::sync::atomic::Ordering;
use crate::base::wait_policy::WaitPolicy;

impl Engine {
    /// Has the reaper submit what a stream has recorded.
    pub(crate) fn defer_flush(&self, stream: u32) {
        // Release: pairs with the Acquire in `submit_deferred`, so that the reaper sees what was recorded.
        self.deferred[stream as usize / 64].fetch_or(1 << (stream % 64), Ordering::Release);
        self.doorbell.ring();
    }

    /// Submits what was asked for with [`defer_flush`](Self::defer_flush). For the reaper.
    pub(crate) fn submit_deferred(&self) {
        if self.life.is_closed() {
            return;
        }
        for (word, bits) in self.deferred.iter().enumerate() {
            // Acquire: pairs with the Release in `defer_flush`.
            let wanted = bits.swap(0, Ordering::Acquire);
            for bit in (0..64).filter(|bit| wanted & (1 << bit) != 0) {
                let stream = self.streams[word * 64 + bit].get();
                if stream.is_some_and(|stream| self.flush(stream.index, WaitPolicy::Never).is_err()) {
                    // Somebody is submitting there, or there is no credit: the reaper ticks until it has done it.
                    // Relaxed: only the reaper reads it.
                    bits.fetch_or(1 << bit, Ordering::Relaxed);
                }
            }
        }
    }

    /// Whether a flush of a stream has been asked for and not been done.
    pub(crate) fn is_deferred(&self, stream: u32) -> bool {
        // Relaxed: the reaper asks for what it has left.
        self.deferred[stream as usize / 64].load(Ordering::Relaxed) & (1 << (stream % 64)) != 0
    }

    /// Whether anything is left of that.
    #[cfg(all(test, loom))]
    pub(crate) fn has_deferred(&self) -> bool {
        self.deferred.iter().any(|bits| bits.load(Ordering::Acquire) != 0)
    }
}
