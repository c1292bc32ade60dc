//! A device with its streams, memory and pipelines.

use crate::cache::CacheStats;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::exit;
use crate::life::{self, Life};
use crate::memory::{MemorySnapshot, MemoryStats, store::Store};
use crate::patience::Patience;
use crate::pipelines::{Pipeline, Pipelines};
use crate::profile::hook::Hook;
use crate::reaper::{self, Doorbell, Reaper};
use crate::stream::core::StreamCore;
use crate::stream::pool::{self, MAX_STREAMS, Pool};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use thalweg_hal::{DeviceInfo, KernelSource, TimelinePoint};

/// A device that any number of threads use at once. Cloning the handle is cheap; the device is closed when the last
/// handle, stream, event and tensor of it is dropped.
///
/// What it is can be asked:
///
/// ```
/// # use thalweg_runtime::Device;
/// fn name(device: &Device) -> &str {
///     &device.info().name
/// }
/// ```
///
/// What it is made of, the driver's queues among it, is nobody's to touch:
///
/// ```compile_fail,E0616
/// # use thalweg_runtime::Device;
/// fn name(device: &Device) -> &str {
///     &device.core.hal.info().name
/// }
/// ```
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
        life::check_fork()?;
        exit::watch(&hal.info().driver);
        let device = Self::without_reaper(hal, config)?;
        reaper::start(&device.core)?;
        exit::enter(&device.core);
        Ok(device)
    }

    /// For models and tests that run the protocol alone: nothing happens in the background.
    pub(crate) fn without_reaper(hal: Arc<dyn thalweg_hal::Device>, config: Config) -> Result<Self> {
        let limits = hal.info().limits;
        let lists_in_flight = config.lists_in_flight.min(limits.max_lists_in_flight);
        let config = Config { lists_in_flight, ..config };
        let profile = Arc::new(Hook::new());
        let core = DeviceCore {
            id: thalweg_hal::unique_id(),
            memory: Store::new(&config, &*hal, &profile),
            streams: (0..MAX_STREAMS).map(|_| OnceLock::new()).collect(),
            pool: Pool::new(config.pool_streams),
            pipelines: Pipelines::new(&config),
            doorbell: Doorbell::new(hal.create_doorbell()?),
            deferred: (0..MAX_STREAMS / 64).map(|_| AtomicU64::new(0)).collect(),
            life: Life::new(),
            profile,
            unfinished: OnceLock::new(),
            reaper: OnceLock::new(),
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

    /// Whether the two handles are of one device.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }

    /// What the memory is used for. Locks each stream for a moment.
    pub fn memory(&self) -> MemoryStats {
        if life::forked() {
            return MemoryStats::default(); // the locks may be held for ever
        }
        self.core.memory_stats()
    }

    /// Every piece of the memory at one moment, and what it is used for. For diagnosis: nobody records, allocates or
    /// frees anything while it is taken, which is as long as it takes to list every block.
    pub fn memory_snapshot(&self) -> MemorySnapshot {
        if life::forked() {
            return MemorySnapshot::default(); // the locks may be held for ever
        }
        self.core.memory_snapshot()
    }

    /// The compiled form of a kernel: compiled on first use, by whoever asks first, and kept within the bounds that
    /// [`Config::pipeline_cache`] sets. Kernels are the same if they are so in everything, name and text among it.
    ///
    /// Whoever asks while it is being compiled waits for that kernel alone; nobody waits for another. A kernel that was
    /// compiled is found without anything that threads on other streams write. One that was evicted is compiled again;
    /// who has the `Pipeline`, and lists that use it, keep the old one.
    ///
    /// # Errors
    /// If the kernel asks for more bindings or parameter bytes than there can be; what the device says, also to those
    /// who waited for it, while whoever asks later tries again. In the scope of a stream that is not to wait
    /// ([`Stream::or_busy`](crate::Stream::or_busy)), [`Error::Busy`] while another thread compiles it.
    pub fn pipeline(&self, source: &KernelSource) -> Result<Pipeline> {
        life::check_fork()?;
        self.core.pipelines.get(self, source)
    }

    /// What has been asked of the compiled kernels ([`pipeline`](Self::pipeline)), and how many there are.
    pub fn pipeline_cache(&self) -> CacheStats {
        if life::forked() {
            return CacheStats::default(); // the lock may be held for ever
        }
        let mut stats = self.core.pipelines.stats();
        // Relaxed: figures for people.
        stats.hits +=
            self.core.streams().map(|stream| stream.counters.pipeline_hits.load(Ordering::Relaxed)).sum::<u64>();
        stats
    }

    /// What the device's streams have done so far.
    pub fn counters(&self) -> Counters {
        let sum = |counter: fn(&StreamCore) -> u64| self.core.streams().map(counter).sum();
        // Relaxed: figures for people.
        Counters {
            lists: sum(StreamCore::submitted),
            foreign_flushes: sum(|stream| stream.counters.foreign_flushes.load(Ordering::Relaxed)),
            credit_waits: sum(|stream| stream.counters.credit_waits.load(Ordering::Relaxed)),
            moves: self.core.pool.moves(),
        }
    }

    /// Gives cached memory back that nothing uses: driver allocations all of whose bytes are free and settled. Without
    /// it, that happens when memory is short, and to what has not been used for a while ([`Config::decay`]).
    pub fn trim(&self) {
        if !life::forked() {
            self.core.trim();
        }
    }

    /// Whether the device takes work.
    ///
    /// # Errors
    /// That it is lost or closed, or that the process is a forked child.
    pub fn check(&self) -> Result<()> {
        self.core.life.check_open()
    }

    /// Waits until everything that any thread recorded before this call has run. Says nothing of whether it succeeded.
    ///
    /// # Errors
    /// If the device is lost or closed.
    pub fn synchronize(&self) -> Result<()> {
        pool::check_capturable(self, "waiting for a device")?;
        self.core.drain()
    }

    /// As [`synchronize`](Self::synchronize), for async tasks.
    ///
    /// # Errors
    /// As for [`synchronize`](Self::synchronize).
    pub async fn finished(&self) -> Result<()> {
        pool::check_capturable(self, "waiting for a device")?;
        life::check_fork()?;
        self.core.life.check_waits()?;
        let events = self.core.last_values().into_iter().map(|(stream, value)| {
            let lease = Arc::new(Lease { device: self.clone(), index: stream, explicit: false });
            Event::new(lease, stream, value)
        });
        let events: Vec<_> = events.collect();
        // All submitted before any is waited for.
        for event in &events {
            event.submitted().await?;
        }
        for event in events {
            event.finished().await?;
        }
        Ok(())
    }

    /// Closes the device for everybody: from now on nothing is recorded on it, and what was recorded runs, for as long
    /// as the timeout lasts. Then whoever still waits is answered [`Error::Closed`], and the device's thread ends. Data
    /// that is there can still be read. Closing it again answers the same way.
    ///
    /// Needed only to know that everything has ended: dropping the last handle never waits, and at the exit of the
    /// process what is on the device is waited for, for a short time.
    ///
    /// # Errors
    /// [`Error::Unfinished`] if the timeout was over first, or that the device is lost. It is closed all the same.
    pub fn close(&self, timeout: Duration) -> Result<()> {
        life::check_fork()?;
        self.core.close(Patience::of(Some(timeout))).inspect_err(|_| {
            // Lists that have not run name memory that the device may still write.
            std::mem::forget(Arc::clone(&self.core));
        })
    }

    /// A handle on a stream, which is made if this is its first use.
    pub(crate) fn lease(&self, stream: u32, explicit: bool) -> Result<Arc<Lease>> {
        self.core.open_stream(stream)?;
        Ok(Arc::new(Lease { device: self.clone(), index: stream, explicit }))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if life::forked() {
            // What it holds has locks and threads of the parent's: never dropped here.
            std::mem::forget(Arc::clone(&self.core));
        }
    }
}

/// What a device's streams have done; see [`Device::counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Lists handed to the device.
    pub lists: u64,
    /// How often an operation found that what it depends on had not been submitted yet, and had another stream's list
    /// submitted early for it.
    pub foreign_flushes: u64,
    /// How often a submit had to wait because its stream had as many lists in flight as it may.
    pub credit_waits: u64,
    /// How often a thread was moved from a stream that it shared to one of its own.
    pub moves: u64,
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
        if self.explicit && !life::forked() {
            let core = &*self.device.core;
            core.defer_flush(self.index);
            core.pool.release_explicit(self.index);
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
    pub(crate) memory: Store,
    /// Made on first use, and then there as long as the device: an index into it never goes stale.
    streams: Box<[OnceLock<StreamCore>]>,
    pub(crate) pool: Pool,
    pub(crate) pipelines: Pipelines,
    pub(crate) doorbell: Doorbell,
    /// A bit for each stream that somebody wants flushed without waiting for it. Set by anyone, cleared by the reaper.
    deferred: Box<[AtomicU64]>,
    pub(crate) life: Life,
    pub(crate) profile: Arc<Hook>,
    /// How many lists had not run when the device was closed. Written once, by the first who closed it.
    unfinished: OnceLock<u64>,
    /// `None` in models that have none.
    pub(crate) reaper: OnceLock<Reaper>,
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

    /// Bytes of all streams' blocks in live storages.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.streams().map(|stream| stream.memory().live).sum()
    }

    fn open_stream(&self, index: u32) -> Result<()> {
        let slot = &self.streams[index as usize];
        if slot.get().is_none() {
            // Made with no lock held. Of two threads at once, one's is dropped again.
            let _ = slot.set(StreamCore::new(index, self.hal.create_queue()?));
            // SeqCst: pairs with the fence in `close`. Either that sees the stream, or this sees that the device is
            // closed.
            fence(Ordering::SeqCst);
            if self.life.check_open().is_err() {
                self.stream(index).recorder.lock().closed = true;
                self.stream(index).timeline.interrupt();
            }
        }
        Ok(())
    }

    /// Blocks until a value has settled, however it did.
    pub(crate) fn wait(&self, stream: u32, value: u64, patience: Patience) -> Result<()> {
        self.stream(stream).wait(self, value, patience)
    }

    /// By stream, the last value that has something to it.
    pub(crate) fn last_values(&self) -> Vec<(u32, u64)> {
        self.streams().map(|stream| (stream.index, stream.recorder.lock().last())).collect()
    }

    /// Waits for everything recorded before this call.
    pub(crate) fn drain(&self) -> Result<()> {
        self.life.check_waits()?;
        let last = self.last_values();
        // All submitted before any is waited for.
        last.iter().try_for_each(|(stream, value)| self.stream(*stream).flush_to(self, *value, Patience::Forever))?;
        last.into_iter().try_for_each(|(stream, value)| self.wait(stream, value, Patience::Forever))
    }

    /// Ends everything.
    ///
    /// 1. Nothing is recorded any more: a flag, and each recorder's own, so that what is in a list by now is known.
    /// 2. The lists are submitted and run, until the patience is over. So nobody else has anything left to submit.
    /// 3. Nobody waits any more: a flag, and whoever is waiting is woken and finds it.
    /// 4. The reaper wakes the tasks that wait, and ends.
    ///
    /// A device that is closed is left alone: whoever closes it again gets the same answer, and nothing is submitted.
    pub(crate) fn close(&self, patience: Patience) -> Result<()> {
        let lists = self.unfinished.get().copied().unwrap_or_else(|| self.run_out(patience));
        if let Some(reaper) = self.reaper.get() {
            reaper.join(patience);
        }
        self.closed(lists)
    }

    /// All of that but the last, and how many lists have not run.
    fn run_out(&self, patience: Patience) -> u64 {
        self.life.begin_closing();
        // SeqCst: pairs with the fence in `open_stream`.
        fence(Ordering::SeqCst);
        let mut last = Vec::new();
        for stream in self.streams() {
            let mut recorder = stream.recorder.lock();
            recorder.closed = true;
            last.push((stream, recorder.last()));
        }
        // All submitted before any is waited for. What is not submitted, or not waited for, in time is counted below.
        last.iter().for_each(|(stream, value)| drop(stream.flush_to(self, *value, patience)));
        last.iter().for_each(|(stream, value)| drop(stream.wait(self, *value, patience)));
        let lists = last.iter().map(|(stream, value)| value.saturating_sub(stream.settled())).sum();
        // Of two who close it at once, the first to get here says how it ended.
        let lists = *self.unfinished.get_or_init(|| lists);
        self.life.end();
        self.wake_waiting();
        lists
    }

    /// What whoever closed the device is told.
    fn closed(&self, lists: u64) -> Result<()> {
        if self.life.is_lost() {
            return self.life.check_waits();
        }
        if lists > 0 { Err(Error::Unfinished { lists }) } else { Ok(()) }
    }

    /// Has everybody who waits look at the device's state: threads at once, tasks by the reaper.
    fn wake_waiting(&self) {
        self.streams().for_each(|stream| stream.timeline.interrupt());
        self.doorbell.ring();
    }

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
                if stream.is_some_and(|stream| stream.flush(self, Patience::Never).is_err()) {
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

    /// From now on every wait and every operation answers that the device is lost.
    pub(crate) fn lose(&self, error: thalweg_hal::Error) {
        // A device that refuses for want of memory once too often is as lost as any other: trying again is no use.
        let device = self.hal.info().name.clone();
        let error = if error.is_retryable() { thalweg_hal::Error::DeviceLost { device } } else { error };
        self.life.lose(error);
        // SeqCst: pairs with the fence in `open_stream`, as in `close`.
        fence(Ordering::SeqCst);
        self.wake_waiting();
    }
}

impl Drop for DeviceCore {
    fn drop(&mut self) {
        // Wakes the reaper, which then finds the device gone. What is in flight runs on; its lists own what they use.
        self.doorbell.ring();
        // Models have neither lists to wait for nor a thread, and nothing of theirs may be in a `static`.
        if cfg!(not(loom)) {
            let last = |stream: &StreamCore| TimelinePoint {
                timeline: Arc::clone(&stream.timeline),
                value: stream.submitted(),
            };
            let lists = self.streams().map(last).filter(|list| !list.is_reached()).collect();
            // Queues, memories and pipelines are given back to the driver while the exit still waits for us.
            self.streams = Box::default();
            let segments = self.memory.arena.lock().clear();
            drop(segments); // with nothing locked
            self.pipelines.clear();
            let reaper = self.reaper.take();
            exit::leave(self, lists, reaper);
        }
    }
}
