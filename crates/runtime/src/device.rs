//! A device with its streams, memory and pipelines.

use crate::config::Config;
use crate::error::{Failure, Result};
use crate::hazard::Use;
use crate::memory::MemoryStats;
use crate::memory::budget::Budget;
use crate::pipelines::{Pipeline, Pipelines};
use crate::reaper::{self, Doorbell};
use crate::stream::core::StreamCore;
use crate::stream::pool::{self, MAX_STREAMS, Pool};
use crate::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use thalweg_hal::{DeviceInfo, KernelSource};

/// A device that any number of threads use at once. Cloning the handle is cheap; the device is closed when the last
/// handle, stream, event and tensor of it is dropped.
#[derive(Clone, Debug)]
pub struct Device {
    pub(crate) core: Arc<DeviceCore>,
}

impl Device {
    /// Sets a device up.
    ///
    /// # Errors
    /// What the device says, or that the reaper's thread could not be started.
    pub fn new(hal: Arc<dyn thalweg_hal::Device>, config: Config) -> Result<Self> {
        let device = Self::without_reaper(hal, config)?;
        reaper::start(&device.core)?;
        Ok(device)
    }

    /// For models and tests that run the protocol alone: nothing happens in the background.
    pub(crate) fn without_reaper(hal: Arc<dyn thalweg_hal::Device>, config: Config) -> Result<Self> {
        let limits = hal.info().limits;
        let lists_in_flight = config.lists_in_flight.min(limits.max_lists_in_flight);
        let config = Config { lists_in_flight, ..config };
        let limit = config.memory_limit.unwrap_or(limits.memory_bytes / 10 * 9);
        let core = DeviceCore {
            id: thalweg_hal::unique_id(),
            budget: Arc::new(Budget::new(limit, limits.max_allocations)),
            streams: (0..MAX_STREAMS).map(|_| OnceLock::new()).collect(),
            pool: Pool::new(config.pool_streams),
            pipelines: Pipelines::default(),
            doorbell: Doorbell::new(hal.create_timeline()?),
            deferred: (0..MAX_STREAMS / 64).map(|_| AtomicU64::new(0)).collect(),
            lost: OnceLock::new(),
            #[cfg(test)]
            sabotage: Default::default(),
            config,
            hal,
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// What the device is and what it can do.
    pub fn info(&self) -> &DeviceInfo {
        self.core.hal.info()
    }

    /// What the memory is used for.
    pub fn memory(&self) -> MemoryStats {
        let budget = &self.core.budget;
        MemoryStats {
            limit: budget.limit(),
            reserved: budget.reserved(),
            live: self.core.streams().map(StreamCore::live_bytes).sum(),
            frozen: budget.frozen(),
            allocations: budget.allocations(),
        }
    }

    /// The compiled form of a kernel, compiled on first use and kept. Kernels are told apart by name.
    ///
    /// # Errors
    /// If another kernel of that name was compiled before, the kernel asks for more bindings or parameter bytes than
    /// there can be, or what the device says.
    pub fn pipeline(&self, source: &KernelSource) -> Result<Pipeline> {
        self.core.pipelines.get(&self.core, source)
    }

    /// Gives cached memory back that nothing uses: segments whose blocks are all free and settled, on every stream.
    pub fn trim(&self) {
        self.core.trim();
    }

    /// Waits until everything that any thread recorded before this call has run. Says nothing of whether it succeeded.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn synchronize(&self) -> Result<()> {
        self.core.drain()
    }

    /// The thread's current stream.
    pub(crate) fn current_lease(&self) -> Result<Arc<Lease>> {
        pool::current(self)
    }

    /// A handle on a stream, which is made if this is its first use.
    pub(crate) fn lease(&self, stream: u32, explicit: bool) -> Result<Arc<Lease>> {
        self.core.open_stream(stream)?;
        Ok(Arc::new(Lease { device: self.clone(), index: stream, explicit }))
    }
}

/// The right to use a stream, shared by its handles and the storages allocated on it. Each thread has a lease of its
/// own even where threads share a stream, so that reference counts are not shared either.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) device: Device,
    pub(crate) index: u32,
    /// Whether dropping the lease gives the stream back.
    pub(crate) explicit: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.explicit {
            self.device.core.defer_flush(self.index);
            self.device.core.pool.release_explicit(self.index);
        }
    }
}

/// What all handles of a device share.
#[derive(Debug)]
pub(crate) struct DeviceCore {
    /// Tells devices apart, also after this one is gone.
    pub(crate) id: u64,
    pub(crate) hal: Arc<dyn thalweg_hal::Device>,
    pub(crate) config: Config,
    pub(crate) budget: Arc<Budget>,
    /// Made on first use, and then there as long as the device: an index into it never goes stale.
    streams: Box<[OnceLock<StreamCore>]>,
    pub(crate) pool: Pool,
    pipelines: Pipelines,
    pub(crate) doorbell: Doorbell,
    /// A bit for each stream that somebody wants flushed without waiting for it. Set by anyone, cleared by the reaper.
    deferred: Box<[AtomicU64]>,
    /// Why the device is lost, once it is.
    lost: OnceLock<thalweg_hal::Error>,
    #[cfg(test)]
    pub(crate) sabotage: crate::tests::Sabotage,
}

impl DeviceCore {
    /// A stream that somebody has, or had, a lease of.
    pub(crate) fn stream(&self, index: u32) -> &StreamCore {
        self.streams[index as usize].get().expect("only leases and stamps name streams, and both come after opening")
    }

    /// The streams made so far.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &StreamCore> {
        self.streams.iter().filter_map(OnceLock::get)
    }

    fn open_stream(&self, index: u32) -> Result<()> {
        let slot = &self.streams[index as usize];
        if slot.get().is_none() {
            // Made with no lock held. Of two threads at once, one's is dropped again.
            let stream = StreamCore::new(index, self.hal.create_queue()?, self.hal.create_timeline()?);
            let _ = slot.set(stream);
        }
        Ok(())
    }

    /// Blocks until a value has settled, however it did.
    pub(crate) fn wait(&self, stream: u32, value: u64, deadline: Option<Instant>) -> Result<()> {
        self.stream(stream).wait(self, value, deadline)
    }

    /// How a command ended whose list has settled.
    pub(crate) fn result(&self, by: Use) -> Result<(), Failure> {
        self.stream(by.stream).retiring.result(by.value, by.command)
    }

    /// Waits for everything recorded before this call.
    pub(crate) fn drain(&self) -> Result<()> {
        self.check_lost()?;
        let last: Vec<_> = self.streams().map(|stream| (stream.index, stream.recorder.lock().last())).collect();
        // All submitted before any is waited for.
        last.iter().for_each(|(stream, value)| self.stream(*stream).flush_to(self, *value));
        last.into_iter().try_for_each(|(stream, value)| self.wait(stream, value, None))
    }

    /// Gives segments back to the device that no stream uses.
    pub(crate) fn trim(&self) {
        for stream in self.streams() {
            // An open edge keeps a list from settling; its blocks then stay.
            let _ = stream.retire(self, u64::MAX);
        }
        for stream in self.streams() {
            let mut recorder = stream.recorder.lock();
            recorder.heap.fetch(&stream.returns);
            let trimmed = recorder.heap.trim(|stream| self.stream(stream).settled());
            drop(recorder);
            drop(trimmed); // driver calls, with no lock held
        }
    }

    /// Has the reaper submit what a stream has recorded.
    pub(crate) fn defer_flush(&self, stream: u32) {
        // Release: pairs with the Acquire in `submit_deferred`, so that the reaper sees what was recorded.
        self.deferred[stream as usize / 64].fetch_or(1 << (stream % 64), Ordering::Release);
        self.doorbell.ring();
    }

    /// Submits what was asked for with [`defer_flush`](Self::defer_flush). For the reaper.
    pub(crate) fn submit_deferred(&self) {
        for (word, bits) in self.deferred.iter().enumerate() {
            // Acquire: pairs with the Release in `defer_flush`.
            let wanted = bits.swap(0, Ordering::Acquire);
            for bit in (0..64).filter(|bit| wanted & (1 << bit) != 0) {
                let stream = self.streams[word * 64 + bit].get();
                if stream.is_some_and(|stream| !stream.try_flush(self)) {
                    // Somebody is submitting there, and rings when done. Relaxed: only the reaper reads it.
                    bits.fetch_or(1 << bit, Ordering::Relaxed);
                }
            }
        }
    }

    /// Whether anything is left of that.
    #[cfg(all(test, loom))]
    pub(crate) fn has_deferred(&self) -> bool {
        self.deferred.iter().any(|bits| bits.load(Ordering::Acquire) != 0)
    }

    /// From now on every wait and every operation answers that the device is lost.
    pub(crate) fn lose(&self, error: thalweg_hal::Error) {
        // A device that refuses for want of memory once too often is as lost as any other: trying again is no use.
        let device = self.hal.info().name.clone();
        let error = if error.is_retryable() { thalweg_hal::Error::DeviceLost { device } } else { error };
        // The first reason stays.
        let _ = self.lost.set(error);
    }

    pub(crate) fn check_lost(&self) -> Result<()> {
        self.lost.get().map_or(Ok(()), |error| Err(error.clone().into()))
    }
}

impl Drop for DeviceCore {
    fn drop(&mut self) {
        // Wakes the reaper, which then finds the device gone. What is in flight runs on; its lists own what they use.
        self.doorbell.ring();
    }
}
