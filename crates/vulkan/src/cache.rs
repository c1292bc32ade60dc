//! Compiled pipelines in the driver's cache, and on disk ([`thalweg_hal::disk`]).
//!
//! The driver's cache only ever grows, though pipelines are evicted. When it is longer than a file may be, it is
//! started over, empty, and so is the file: both hold what was compiled since. What a program uses is in there again
//! after its next run.
//!
//! It is looked after by one thread at a time, whichever has just compiled something; others compile on meanwhile. A
//! file is written after the first compile, when enough has been compiled since the last one ([`Written::is_due`]), and
//! when the device goes: a process that ends or is killed without that has compiled little in vain, and writing takes a
//! small part of the time that compiling does.

mod driver;

pub use driver::DriverCache;

use crate::sync::lock;
use crate::upkeep::Upkeep;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thalweg_hal::disk::{CacheFile, MAX_BYTES};

/// A file is written when the cache has grown by a quarter, but by so many bytes at least.
const LEAST_GROWTH: u64 = 64 << 10;
/// Or when this has been spent on compiling, and this for each byte that there is to write: several times what writing
/// takes.
const SPENT: Duration = Duration::from_millis(10);
const SPENT_FOR_A_BYTE: Duration = Duration::from_nanos(60);

/// An object into which a driver puts what it compiled.
pub trait Compiled: Sized {
    /// An empty one of the same device; none if the driver refuses.
    fn empty(&self) -> Option<Self>;

    /// How many bytes of data there are.
    fn bytes(&self) -> u64;

    /// The data, with which another process makes one.
    fn data(&self) -> Option<Vec<u8>>;
}

/// The cache of one device.
pub struct PipelineCache<C> {
    /// The driver's. None, if it refuses one: every pipeline is compiled anew. Compiles that began before the cache was
    /// started over have the old one.
    current: Mutex<Option<Arc<C>>>,
    /// How long compiles took since the last file, in nanoseconds.
    spent: AtomicU64,
    upkeep: Upkeep<Kept>,
    /// The most bytes of data.
    most: u64,
}

/// What the thread that looks after the cache knows.
struct Kept {
    /// Where it is kept, if anywhere.
    file: Option<CacheFile>,
    written: Written,
    /// Whether this process has written it.
    is_ours: bool,
}

impl Kept {
    /// Replaces the file. One that cannot be written is not tried again before another is due.
    fn write(&mut self, cache: &impl Compiled) {
        let Some(file) = &self.file else { return };
        let Some(data) = cache.data() else { return };
        (self.written, self.is_ours) = (Written(data.len() as u64), true);
        // The next process compiles again, then.
        let _ = file.write(&data);
    }
}

/// How many bytes of data were last written to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written(u64);

impl Written {
    /// Whether data of so many bytes is worth another file, so much time having been spent on compiling since.
    fn is_due(self, bytes: u64, spent: Duration) -> bool {
        let has_grown = bytes.saturating_sub(self.0) >= LEAST_GROWTH.max(self.0 / 4);
        let is_dear = spent >= SPENT + SPENT_FOR_A_BYTE * u32::try_from(bytes).unwrap_or(u32::MAX);
        bytes != self.0 && (has_grown || is_dear)
    }
}

impl<C: Compiled> PipelineCache<C> {
    /// A cache that is kept in a file, if there is one. `make` has the driver make its own, from what is on disk, if
    /// that is of use.
    pub fn open(file: Option<CacheFile>, make: impl FnOnce(&[u8]) -> Option<C>) -> Self {
        Self::with(file, MAX_BYTES, make)
    }

    fn with(file: Option<CacheFile>, most: u64, make: impl FnOnce(&[u8]) -> Option<C>) -> Self {
        let data = file.as_ref().and_then(CacheFile::read).unwrap_or_default();
        let current = Mutex::new(make(&data).map(Arc::new));
        let kept = Kept { file, written: Written(data.len() as u64), is_ours: false };
        Self { current, spent: AtomicU64::new(0), upkeep: Upkeep::new(kept), most }
    }

    /// The driver's cache, to compile with.
    pub fn current(&self) -> Option<Arc<C>> {
        lock(&self.current).clone()
    }

    /// A pipeline was compiled, in that time. Starts the cache over if it has become too long, and writes the file if
    /// that is due; unless another thread is at it.
    pub fn compiled(&self, took: Duration) {
        // Relaxed: only the sum matters.
        self.spent.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.upkeep.ask(|kept| {
            let Some(cache) = self.current() else { return };
            let bytes = cache.bytes();
            if bytes > self.most {
                let empty = cache.empty().map(Arc::new);
                *lock(&self.current) = empty;
                // Of what is in the file, nothing is in the cache any more.
                kept.written = Written(0);
                return;
            }
            let spent = Duration::from_nanos(self.spent.load(Ordering::Relaxed));
            // A process may end at any moment, and the first kernel may be its only one.
            let is_first = !kept.is_ours && kept.written != Written(bytes);
            if is_first || kept.written.is_due(bytes, spent) {
                self.spent.store(0, Ordering::Relaxed);
                kept.write(&*cache);
            }
        });
    }

    /// Writes what is not in the file yet, and lets go of the driver's cache, before the device goes.
    pub fn close(&mut self) {
        let Some(cache) = lock(&self.current).take() else { return };
        let (kept, bytes) = (self.upkeep.get_mut(), cache.bytes());
        if bytes <= self.most && Written(bytes) != kept.written {
            kept.write(&*cache);
        }
    }
}

#[cfg(test)]
mod tests;
