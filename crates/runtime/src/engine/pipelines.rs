//! Compiled kernels: one compile for each, within bounds.
//!
//! The device's [`Cache`] has every compiled kernel once. A stream on which it was asked for has a share in it, with a
//! reference count of its own, and a thread remembers the shares that it asked for. So a look-up that finds one writes
//! nothing that threads on other streams write. (It is the thread that remembers, not the stream: a table of the
//! stream's would need a lock, which costs as much as all the rest of the look-up.)
//!
//! ```text
//!  thread's table ──weak──► the stream's share ──────► the backend's pipeline
//!                                ▲                              ▲
//!                                └──── the compiled kernel ─────┘
//!                                               ▲
//!                                      the device's cache
//! ```
//!
//! What a thread remembers is the cache's. When a kernel is evicted its shares go with it, and threads and streams that
//! are idle keep nothing alive. Whoever has a [`Pipeline`], and every list that uses it until that has settled, has the
//! share, so the backend's pipeline goes when the device is done with it.
//!
//! | field | written by | under |
//! |---|---|---|
//! | `Compiled::shares` | who asks on a stream for the first time | its lock, a leaf |
//! | `Share::seen` | who finds it | nothing |
//! | a thread's table | that thread | nothing |

#[cfg(all(test, not(loom)))]
mod tests;

use super::Engine;
use crate::base::cache::{Cache, CacheStats, Entry, Used};
use crate::base::config::Config;
use crate::base::error::Result;
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::base::wait_policy::WaitPolicy;
use crate::order::work::Pipeline;
use std::any::Any;
use std::cell::RefCell;
use std::sync::{Arc, Weak};
use thalweg_hal::KernelSource;

/// The pipelines of a device.
#[derive(Debug)]
pub(crate) struct Pipelines(Cache<KernelSource, Arc<Compiled>>);

/// A kernel that was compiled.
#[derive(Debug)]
struct Compiled {
    hal: Arc<dyn thalweg_hal::Pipeline>,
    /// By stream, for those on which it was asked for. Locked to find or add one.
    shares: Mutex<Vec<(u32, Arc<Share>)>>,
}

impl Pipelines {
    pub(crate) fn new(config: &Config) -> Self {
        Self(Cache::new(config.pipelines, config.pipeline_bytes, |_, compiled: &Arc<Compiled>| compiled.hal.bytes()))
    }

    /// What has been asked of the cache alone; what threads found without it each stream counts.
    pub(crate) fn stats(&self) -> CacheStats {
        self.0.stats()
    }

    /// Drops all of them.
    pub(crate) fn clear(&self) {
        self.0.clear();
    }
}

impl Engine {
    /// A compiled kernel, for a thread that records on a stream or on none: as it remembers it, or from the cache.
    pub(crate) fn pipeline(&self, stream: Option<u32>, source: &KernelSource, policy: WaitPolicy) -> Result<Pipeline> {
        let Some(stream) = stream else {
            let entry = self.compiled(source, policy)?;
            return Ok(Pipeline { hal: Arc::clone(&entry.value.hal), device: self.id });
        };
        let recalled = KNOWN.try_with(|remembered| remembered.borrow().recall(self.id, stream, source));
        // With nothing borrowed from here on: of another kernel, it may be the last share.
        if let Some(share) = recalled.ok().flatten().filter(|share| share.hal.source() == source) {
            self.stream(stream).counters.count_pipeline_hit();
            share.is_used(self.pipelines.0.now());
            return Ok(Pipeline { hal: share, device: self.id });
        }
        self.look_up(stream, source, policy)
    }

    #[cold]
    fn look_up(&self, stream: u32, source: &KernelSource, policy: WaitPolicy) -> Result<Pipeline> {
        let share = self.compiled(source, policy)?.share(stream);
        // A thread that is ending remembers nothing.
        let _ = KNOWN.try_with(|remembered| remembered.borrow_mut().remember(self.id, stream, source, &share));
        Ok(Pipeline { hal: share, device: self.id })
    }

    fn compiled(&self, source: &KernelSource, policy: WaitPolicy) -> Result<Arc<Entry<Arc<Compiled>>>> {
        self.pipelines.0.entry(source, policy, || {
            let begun = self.trace.begin();
            let (hal, shares) = (self.hal.create_pipeline(source)?, Mutex::new(Rank::Shares, Vec::new()));
            begun.compiled(&source.name);
            Ok(Arc::new(Compiled { hal, shares }))
        })
    }
}

impl Entry<Arc<Compiled>> {
    /// The stream's share.
    fn share(&self, stream: u32) -> Arc<Share> {
        let Compiled { hal, shares } = &*self.value;
        let mut shares = shares.lock();
        if let Some((_, share)) = shares.iter().find(|(of, _)| *of == stream) {
            return Arc::clone(share);
        }
        let share = Share { hal: Arc::clone(hal), seen: AtomicU64::new(0), used: self.used.clone() };
        shares.push((stream, Arc::new(share)));
        Arc::clone(&shares[shares.len() - 1].1)
    }
}

/// A stream's share in a pipeline: a reference count of its own, and a time of the last use. No two of them share a
/// pair of cache lines, for the streams' threads write them all the time.
#[derive(Debug)]
#[repr(align(128))]
struct Share {
    hal: Arc<dyn thalweg_hal::Pipeline>,
    /// The cache's clock when it was last used on this stream. Relaxed, as [`Used`].
    seen: AtomicU64,
    used: Used,
}

impl Share {
    /// Tells the cache, if this stream has not done so since the last insertion.
    fn is_used(&self, now: u64) {
        if self.seen.load(Relaxed) != now {
            self.seen.store(now, Relaxed);
            self.used.at(now);
        }
    }
}

impl thalweg_hal::Pipeline for Share {
    fn source(&self) -> &KernelSource {
        self.hal.source()
    }
    fn check(&self, extent: [u32; 3], params: &[u8], operand_bytes: &[u64]) -> std::result::Result<(), &'static str> {
        self.hal.check(extent, params, operand_bytes)
    }
    fn bytes(&self) -> u64 {
        self.hal.bytes()
    }
    /// The backend's own pipeline.
    fn as_any(&self) -> &dyn Any {
        self.hal.as_any()
    }
}

thread_local! {
    /// Of all devices.
    static KNOWN: RefCell<Remembered> = const { RefCell::new(Remembered { places: Vec::new() }) };
}

/// How many pipelines a thread remembers.
const REMEMBERED: usize = 64;

/// The pipelines that a thread asked for, as far as there is room. A kernel has two places, by its address and the
/// stream.
#[derive(Debug)]
struct Remembered {
    /// None of them until the first is remembered.
    places: Vec<Place>,
}

/// A stream's share, and what the kernel's address was: that only says where to look. It may be of a kernel that has
/// been evicted, and keeps nothing of it but a few words of memory.
#[derive(Clone, Debug, Default)]
struct Place {
    address: usize,
    /// The [`Engine::id`].
    device: u64,
    stream: u32,
    share: Weak<Share>,
}

impl Remembered {
    /// The stream's share that was last remembered for a kernel at this address.
    fn recall(&self, device: u64, stream: u32, source: &KernelSource) -> Option<Arc<Share>> {
        let address = std::ptr::from_ref(source).addr();
        let places: &[Place; REMEMBERED] = self.places.as_slice().try_into().ok()?;
        let places = indices(address, stream).map(|index| &places[index]);
        places.into_iter().find(|place| place.is_of(address, device, stream))?.share.upgrade()
    }

    fn remember(&mut self, device: u64, stream: u32, source: &KernelSource, share: &Arc<Share>) {
        let address = std::ptr::from_ref(source).addr();
        self.places.resize(REMEMBERED, Place::default());
        let indices = indices(address, stream);
        // One that holds nothing that can be found again, or the first.
        let free = |index: &&usize| {
            let place = &self.places[**index];
            place.is_of(address, device, stream) || place.share.strong_count() == 0
        };
        let index = indices.iter().find(free).unwrap_or(&indices[0]);
        self.places[*index] = Place { address, device, stream, share: Arc::downgrade(share) };
    }
}

impl Place {
    fn is_of(&self, address: usize, device: u64, stream: u32) -> bool {
        (self.address, self.device, self.stream) == (address, device, stream)
    }
}

fn indices(address: usize, stream: u32) -> [usize; 2] {
    // Kernels that lie side by side have places side by side.
    let first = (address / size_of::<KernelSource>()).wrapping_add(stream as usize) % REMEMBERED;
    [first, first ^ 1]
}
