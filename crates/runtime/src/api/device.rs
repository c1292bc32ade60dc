//! A device with its streams, memory and pipelines.

use super::current;
use super::event::Event;
use crate::base::cache::CacheStats;
use crate::base::config::Config;
use crate::base::error::Result;
use crate::base::fork;
use crate::base::memory_stats::MemoryStats;
use crate::base::sync::atomic::Ordering;
use crate::base::wait_policy::WaitPolicy;
use crate::engine::Engine;
use crate::engine::stream::StreamState;
use crate::memory::snapshot::MemorySnapshot;
use crate::order::point::Point;
use crate::order::work::Pipeline;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{DeviceInfo, KernelSource};

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
///     &device.engine.hal.info().name
/// }
/// ```
// audit: FA
#[derive(Clone)]
pub struct Device {
    pub(crate) engine: Arc<Engine>,
}

impl Device {
    /// Sets a device up.
    ///
    /// # Errors
    /// What the device says, or that the reaper's thread could not be started.
    pub fn new(hal: Arc<dyn thalweg_hal::Device>, config: Config) -> Result<Self> {
        fork::check_fork()?;
        Ok(Self { engine: Engine::start(hal, config)? })
    }

    /// For models and tests that run the protocol alone: nothing happens in the background.
    #[cfg(test)]
    pub(crate) fn without_reaper(hal: Arc<dyn thalweg_hal::Device>, config: Config) -> Result<Self> {
        Ok(Self { engine: Arc::new(Engine::without_reaper(hal, config)?) })
    }

    /// What the device is and what it can do.
    pub fn info(&self) -> &DeviceInfo {
        self.engine.hal.info()
    }

    /// Whether the two handles are of one device.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.engine, &other.engine)
    }

    /// What the memory is used for. Locks each stream's memory for a moment.
    pub fn memory(&self) -> MemoryStats {
        if fork::forked() {
            return MemoryStats::default(); // the locks may be held for ever
        }
        self.engine.memory.stats()
    }

    /// Every piece of the memory at one moment, and what it is used for. For diagnosis: nobody allocates or frees
    /// anything while it is taken, which is as long as it takes to list every block.
    pub fn memory_snapshot(&self) -> MemorySnapshot {
        if fork::forked() {
            return MemorySnapshot::default(); // the locks may be held for ever
        }
        self.engine.memory.snapshot(&*self.engine)
    }

    /// The compiled form of a kernel: the thread that asks first compiles it, and it is kept within the bounds that
    /// [`Config::pipeline_cache`] sets. Kernels are the same if they are so in everything, name and text among it.
    ///
    /// A thread that asks while the kernel is being compiled waits for that kernel alone; nobody waits for another. A
    /// kernel that was compiled is found under a shared lock, by what it is: where many threads ask, keep the
    /// `Pipeline`, or use [`Stream::static_pipeline`](crate::Stream::static_pipeline). A kernel that was evicted is
    /// compiled again; owners of the old `Pipeline`, and lists that use it, keep the old one.
    ///
    /// # Errors
    /// If the kernel asks for more bindings or parameter bytes than there can be; what the device says. Threads
    /// that waited for it get the same error, and a later call tries again. In the scope of a stream that is not to
    /// wait ([`Stream::or_busy`](crate::Stream::or_busy)), [`Error::Busy`](crate::Error::Busy) while another thread
    /// compiles it.
    pub fn pipeline(&self, source: &KernelSource) -> Result<Pipeline> {
        fork::check_fork()?;
        self.engine.pipeline(source, current::policy(self))
    }

    /// Whether a pipeline was compiled for this device.
    pub fn has(&self, pipeline: &Pipeline) -> bool {
        pipeline.device == self.engine.id
    }

    /// What has been asked of the compiled kernels ([`pipeline`](Self::pipeline)), and how many there are.
    pub fn pipeline_cache(&self) -> CacheStats {
        if fork::forked() {
            return CacheStats::default(); // the lock may be held for ever
        }
        self.engine.pipelines.stats()
    }

    /// What the device's streams have done so far.
    pub fn counters(&self) -> Counters {
        let sum = |counter: fn(&StreamState) -> u64| self.engine.streams().map(counter).sum();
        // Relaxed: figures for people.
        Counters {
            lists: sum(StreamState::submitted),
            foreign_flushes: sum(|stream| stream.counters.foreign_flushes.load(Ordering::Relaxed)),
            credit_waits: sum(|stream| stream.counters.credit_waits.load(Ordering::Relaxed)),
            moves: self.engine.assignment.moves(),
        }
    }

    /// Gives back cached memory that nothing uses: driver allocations in which every byte is free and settled. Without
    /// this call that happens when memory is short, and to what has not been used for a while ([`Config::decay`]).
    pub fn trim(&self) {
        if !fork::forked() {
            self.engine.memory.trim(&*self.engine);
        }
    }

    /// How many bytes are best read back at a time, where they go through staging: half of it, so that others have room
    /// too.
    pub fn staged_at_once(&self) -> u64 {
        self.engine.memory.most_staged()
    }

    /// Whether the device takes work.
    ///
    /// # Errors
    /// That it is lost or closed, or that the process is a forked child.
    pub fn check(&self) -> Result<()> {
        self.engine.life.check_open()
    }

    /// Waits until everything that any thread recorded before this call has run. Says nothing of whether it succeeded.
    ///
    /// # Errors
    /// If the device is lost or closed.
    pub fn synchronize(&self) -> Result<()> {
        current::check_capturable(self, "waiting for a device")?;
        self.engine.drain()
    }

    /// As [`synchronize`](Self::synchronize), for async tasks.
    ///
    /// # Errors
    /// As for [`synchronize`](Self::synchronize).
    pub async fn finished(&self) -> Result<()> {
        current::check_capturable(self, "waiting for a device")?;
        fork::check_fork()?;
        self.engine.life.check_waits()?;
        let events: Vec<_> = self.engine.last().into_iter().map(|at| self.event(at)).collect();
        // All submitted before any is waited for.
        for event in &events {
            event.submitted().await?;
        }
        for event in events {
            event.finished().await?;
        }
        Ok(())
    }

    fn event(&self, at: Point) -> Event {
        Event::new(Arc::new(Lease { device: self.clone(), index: at.stream, explicit: false }), at)
    }

    /// What to wait for where the device is busy: the next list of this thread's stream that has not run; if it has
    /// none, the last of each other stream. Nothing, if the device has nothing to do.
    pub(crate) fn unfinished(&self) -> Vec<Event> {
        let unfinished = |at: &Point| self.engine.stream(at.stream).settled() < at.value;
        let own = current::current(self).ok().map(|stream| {
            let state = stream.state();
            (state.settled(), state.last())
        });
        if let Some((settled, last)) = own
            && settled < last.value
        {
            return vec![self.event(Point { value: settled + 1, ..last })];
        }
        self.engine.last().into_iter().filter(unfinished).map(|at| self.event(at)).collect()
    }

    /// Closes the device for everybody: from now on nothing is recorded on it, and what was recorded runs, for as long
    /// as the timeout lasts. Then those who still wait are answered [`Error::Closed`](crate::Error::Closed), and the
    /// device's thread ends. Data that is there can still be read. Closing it again answers the same way.
    ///
    /// Needed only to know that everything has ended: dropping the last handle never waits, and at the exit of the
    /// process what is on the device is waited for, for a short time.
    ///
    /// # Errors
    /// [`Error::Unfinished`](crate::Error::Unfinished) if the timeout was over first, or that the device is lost. It is
    /// closed all the same.
    pub fn close(&self, timeout: Duration) -> Result<()> {
        fork::check_fork()?;
        self.engine.close(WaitPolicy::of(Some(timeout))).inspect_err(|_| {
            // Lists that have not run name memory that the device may still write.
            std::mem::forget(Arc::clone(&self.engine));
        })
    }

    /// A handle on a stream, which is made if this is its first use.
    pub(crate) fn lease(&self, stream: u32, explicit: bool) -> Result<Arc<Lease>> {
        self.engine.open_stream(stream)?;
        Ok(Arc::new(Lease { device: self.clone(), index: stream, explicit }))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if fork::forked() {
            // What it holds has locks and threads of the parent's: never dropped here.
            std::mem::forget(Arc::clone(&self.engine));
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({:?})", self.engine.hal)
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
        if self.explicit && !fork::forked() {
            let engine = &*self.device.engine;
            engine.defer_flush(self.index);
            engine.assignment.release_explicit(self.index);
        }
    }
}
