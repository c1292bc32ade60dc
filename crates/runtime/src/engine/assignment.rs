//! Which thread has which stream: how many threads share each stream of the pool, and which streams are explicit.

use crate::base::error::{Error, Result};
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::Ordering::Relaxed;
use crate::base::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

/// The most streams of a device, pooled and explicit.
pub(crate) const MAX_STREAMS: usize = 256;

/// Who uses which stream.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// By pool stream: how many threads record on it. Written under `explicit`; read by the threads without.
    threads: Box<[AtomicU32]>,
    /// How many of those are 0. Likewise.
    vacant: AtomicUsize,
    moves: AtomicU64,
    explicit: Mutex<Explicit>,
}

#[derive(Debug)]
struct Explicit {
    /// Explicit streams that were dropped. Their timelines go on counting when they are used again.
    free: Vec<u32>,
    /// The first explicit stream that was never used.
    unused: u32,
}

// The counts are hints outside the lock, and ordered by it inside: Relaxed everywhere.
impl Assignment {
    pub(crate) fn new(streams: usize) -> Self {
        Self {
            threads: (0..streams).map(|_| AtomicU32::new(0)).collect(),
            vacant: AtomicUsize::new(streams),
            moves: AtomicU64::new(0),
            explicit: Mutex::new(Rank::Assignment, Explicit { free: Vec::new(), unused: streams as u32 }),
        }
    }

    /// The least loaded stream of the pool, for one thread.
    pub(crate) fn assign(&self) -> u32 {
        let _exclusive = self.explicit.lock();
        self.enter_least()
    }

    fn enter_least(&self) -> u32 {
        let load = |(_, threads): &(usize, &AtomicU32)| threads.load(Relaxed);
        let least = self.threads.iter().enumerate().min_by_key(load).map_or(0, |(index, _)| index);
        if self.threads[least].fetch_add(1, Relaxed) == 0 {
            self.vacant.fetch_sub(1, Relaxed);
        }
        least as u32
    }

    /// A thread is done with a stream of the pool.
    pub(crate) fn release(&self, stream: u32) {
        let _exclusive = self.explicit.lock();
        self.leave(stream);
    }

    fn leave(&self, stream: u32) {
        if self.threads[stream as usize].fetch_sub(1, Relaxed) == 1 {
            self.vacant.fetch_add(1, Relaxed);
        }
    }

    /// Another stream for a thread that shares `stream`, if there is one that nobody uses. It has left the old one
    /// then.
    pub(crate) fn move_away(&self, stream: u32, idle: impl FnOnce() -> bool) -> Option<u32> {
        let shared = || self.threads[stream as usize].load(Relaxed) > 1 && self.vacant.load(Relaxed) > 0;
        if !shared() || !idle() {
            return None;
        }
        let _exclusive = self.explicit.lock();
        if !shared() {
            return None; // somebody else was faster
        }
        let free = self.enter_least();
        self.leave(stream);
        self.moves.fetch_add(1, Relaxed);
        Some(free)
    }

    /// Undoes a move.
    pub(crate) fn move_back(&self, from: u32, to: u32) {
        let _exclusive = self.explicit.lock();
        if self.threads[to as usize].fetch_add(1, Relaxed) == 0 {
            self.vacant.fetch_sub(1, Relaxed);
        }
        self.leave(from);
        self.moves.fetch_sub(1, Relaxed);
    }

    /// Threads by stream, and how many streams have none.
    #[cfg(all(test, loom))]
    pub(crate) fn load(&self) -> (Vec<u32>, usize) {
        (self.threads.iter().map(|threads| threads.load(Relaxed)).collect(), self.vacant.load(Relaxed))
    }

    pub(crate) fn moves(&self) -> u64 {
        self.moves.load(Relaxed)
    }

    /// A stream for one owner.
    pub(crate) fn take_explicit(&self) -> Result<u32> {
        let mut explicit = self.explicit.lock();
        if let Some(stream) = explicit.free.pop() {
            return Ok(stream);
        }
        if explicit.unused as usize >= MAX_STREAMS {
            return Err(Error::TooManyStreams { limit: MAX_STREAMS });
        }
        explicit.unused += 1;
        Ok(explicit.unused - 1)
    }

    /// The owner is done with it.
    pub(crate) fn release_explicit(&self, stream: u32) {
        self.explicit.lock().free.push(stream);
    }
}
