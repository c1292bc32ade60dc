//! Compiled kernels: one compile for each, within bounds.
//!
//! The device's [`Cache`] has every compiled kernel once. A stream on which it was asked for has a share in it, with a reference
//! count of its own, and a thread remembers the shares that it asked for. So a look-up that finds one writes nothing that
//! threads on other streams write. (It is the thread that remembers, not the stream: a table of the stream's would need a
//! lock, which costs as much as all the rest of the look-up.)
//!
//! ```text
//!  thread's table ──weak──► the stream's share ──────► the backend's pipeline
//!                                ▲                              ▲
//!                                └──── the compiled kernel ─────┘
//!                                               ▲
//!                                      the device's cache
//! ```
//!
//! What a thread remembers is the cache's. When a kernel is evicted its shares go with it, and threads and streams that are
//! idle keep nothing alive. Whoever has a [`Pipeline`], and every list that uses it until that has settled, has the share, so
//! the backend's pipeline goes when the device is done with it.
//!
//! | field | written by | under |
//! |---|---|---|
//! | `Compiled::shares` | who asks on a stream for the first time | its lock, a leaf |
//! | `Share::seen` | who finds it | nothing |
//! | a thread's table | that thread | nothing |

#[cfg(all(test, not(loom)))]
mod tests;

use crate::cache::{Cache, CacheStats, Entry, Used};
use crate::config::Config;
use crate::device::{Device, DeviceCore};
use crate::error::Result;
use crate::patience::Patience;
use crate::stream::pool;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::any::Any;
use std::sync::{Arc, Weak};
use thalweg_hal::KernelSource;

/// A kernel compiled for one device, by [`Device::pipeline`](crate::Device::pipeline).
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(crate) hal: Arc<dyn thalweg_hal::Pipeline>,
    /// The [`DeviceCore::id`] of its device.
    pub(crate) device: u64,
}

impl Pipeline {
    /// The kernel's declaration.
    pub fn source(&self) -> &KernelSource {
        self.hal.source()
    }
}

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

    /// The pipeline, as the calling thread remembers it, or from the cache.
    pub(crate) fn get(&self, device: &Device, source: &KernelSource) -> Result<Pipeline> {
        let core = &*device.core;
        let recalled = pool::with_known(device, |stream, _, remembered| remembered.recall(core.id, stream, source));
        // With nothing borrowed from here on: of another kernel, it may be the last share.
        if let Some(share) = recalled.flatten().filter(|share| share.hal.source() == source) {
            core.stream(share.stream).counters.count_pipeline_hit();
            share.is_used(self.0.now());
            return Ok(Pipeline { hal: share, device: core.id });
        }
        self.look_up(device, source)
    }

    #[cold]
    fn look_up(&self, device: &Device, source: &KernelSource) -> Result<Pipeline> {
        let core = &*device.core;
        let Some((stream, patience)) = pool::with_known(device, |stream, patience, _| (stream, patience)) else {
            // A thread without a stream.
            let entry = self.entry(core, source, Patience::Forever)?;
            return Ok(Pipeline { hal: Arc::clone(&entry.value.hal), device: core.id });
        };
        let share = self.entry(core, source, patience)?.share(stream);
        pool::with_known(device, |_, _, remembered| remembered.remember(core.id, stream, source, &share));
        Ok(Pipeline { hal: share, device: core.id })
    }

    fn entry(&self, core: &DeviceCore, source: &KernelSource, patience: Patience) -> Result<Arc<Entry<Arc<Compiled>>>> {
        self.0.entry(source, patience, || {
            let span = core.profile.begin();
            let (hal, shares) = (core.hal.create_pipeline(source)?, Mutex::default());
            span.compiled(&source.name);
            Ok(Arc::new(Compiled { hal, shares }))
        })
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

impl Entry<Arc<Compiled>> {
    /// The stream's share.
    fn share(&self, stream: u32) -> Arc<Share> {
        let Compiled { hal, shares } = &*self.value;
        let mut shares = shares.lock();
        if let Some((_, share)) = shares.iter().find(|(of, _)| *of == stream) {
            return Arc::clone(share);
        }
        let share = Share { stream, hal: Arc::clone(hal), seen: AtomicU64::new(0), used: self.used.clone() };
        shares.push((stream, Arc::new(share)));
        Arc::clone(&shares[shares.len() - 1].1)
    }
}

/// A stream's share in a pipeline: a reference count of its own, and a time of the last use. No two of them share a pair of
/// cache lines, for the streams' threads write them all the time.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Share {
    stream: u32,
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

/// How many pipelines a thread remembers.
const REMEMBERED: usize = 64;

/// The pipelines that a thread asked for, as far as there is room. A kernel has two places, by its address and the stream.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// None of them until the first is remembered.
    places: Vec<Place>,
}

/// A stream's share, and what the kernel's address was: that only says where to look. It may be of a kernel that has been
/// evicted, and keeps nothing of it but a few words of memory.
#[derive(Clone, Debug, Default)]
struct Place {
    address: usize,
    /// The [`DeviceCore::id`].
    device: u64,
    stream: u32,
    share: Weak<Share>,
}

impl Remembered {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new() }
    }

    /// The stream's share that was last remembered for a kernel at this address.
    pub(crate) fn recall(&self, device: u64, stream: u32, source: &KernelSource) -> Option<Arc<Share>> {
        let address = std::ptr::from_ref(source).addr();
        let places: &[Place; REMEMBERED] = self.places.as_slice().try_into().ok()?;
        let places = indices(address, stream).map(|index| &places[index]);
        places.into_iter().find(|place| place.is_of(address, device, stream))?.share.upgrade()
    }

    pub(crate) fn remember(&mut self, device: u64, stream: u32, source: &KernelSource, share: &Arc<Share>) {
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
