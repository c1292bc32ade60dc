//! Streams at work: how lists get to the device and back, and memory to the streams.
//!
//! ```text
//!  record ──► OpenList ──seal──► Queue::submit ──► in flight ──signal──► settled
//!  recorder's lock               submitter's turn  lock of lists in flight
//! ```
//!
//! [`Engine`] is the table of a device's streams. Its methods take a stream's number, or a [`Point`] of its timeline:
//!
//! | file | does |
//! |---|---|
//! | `record.rs` | an operation into a stream's open list (I1, I2) |
//! | `submit.rs` | the open list to the device (I1, I3) |
//! | `settle.rs`, `in_flight.rs` | what has run out of it again (I7) |
//! | `wait.rs`, `waiters.rs` | waiting for it, by threads and by tasks |
//! | `allocate.rs`, `span.rs`, `instance.rs` | memory for a stream, of a pool, for the runs of a graph |
//! | `pipelines.rs` | compiled kernels |
//! | `assignment.rs` | which thread has which stream |
//! | `deferred.rs`, `reaper.rs` | what the device's own thread does for others |
//! | `life.rs`, `close.rs`, `exit.rs` | the end: closed, lost, dropped, the process's |

mod allocate;
pub(crate) mod assignment;
mod close;
mod deferred;
pub(crate) mod exit;
mod in_flight;
pub(crate) mod instance;
pub(crate) mod life;
pub(crate) mod pipelines;
pub(crate) mod reaper;
pub(crate) mod record;
mod settle;
pub(crate) mod span;
pub(crate) mod stream;
mod submit;
mod wait;
pub(crate) mod waiters;

use crate::base::config::Config;
use crate::base::error::Result;
use crate::base::sync::atomic::{AtomicU64, Ordering, fence};
use crate::memory::device_memory::DeviceMemory;
use crate::order::point::Point;
use crate::trace::hook::Hook;
use assignment::{Assignment, MAX_STREAMS};
use life::Life;
use pipelines::Pipelines;
use reaper::{Doorbell, Reaper};
use std::sync::{Arc, OnceLock};
use stream::StreamState;

/// What all handles of a device share.
pub(crate) struct Engine {
    /// Tells devices apart, also after this one is gone.
    pub(crate) id: u64,
    pub(crate) hal: Arc<dyn thalweg_hal::Device>,
    pub(crate) config: Config,
    pub(crate) memory: DeviceMemory,
    /// Made on first use, and then there as long as the device: an index into it never goes stale.
    streams: Box<[OnceLock<StreamState>]>,
    pub(crate) assignment: Assignment,
    pub(crate) pipelines: Pipelines,
    pub(crate) doorbell: Doorbell,
    /// A bit for each stream that somebody wants flushed without waiting for it. Set by anyone, cleared by the reaper.
    deferred: Box<[AtomicU64]>,
    pub(crate) life: Life,
    pub(crate) trace: Arc<Hook>,
    /// How many lists had not run when the device was closed. Written once, by the first who closed it.
    unfinished: OnceLock<u64>,
    /// `None` in models that have none.
    pub(crate) reaper: OnceLock<Reaper>,
    #[cfg(test)]
    pub(crate) sabotage: Arc<crate::tests::Sabotage>,
}

impl Engine {
    /// A device with its thread, entered for the exit of the process.
    ///
    /// # Errors
    /// What the device says, or that the thread could not be started.
    pub(crate) fn start(hal: Arc<dyn thalweg_hal::Device>, config: Config) -> Result<Arc<Self>> {
        exit::watch(&hal.info().driver);
        let engine = Arc::new(Self::without_reaper(hal, config)?);
        reaper::start(&engine)?;
        exit::enter(&engine);
        Ok(engine)
    }

    /// For models and tests that run the protocol alone: nothing happens in the background.
    pub(crate) fn without_reaper(hal: Arc<dyn thalweg_hal::Device>, config: Config) -> Result<Self> {
        let limits = hal.info().limits;
        let lists_in_flight = config.lists_in_flight.min(limits.max_lists_in_flight);
        let config = Config { lists_in_flight, ..config };
        let trace = Arc::new(Hook::new());
        let memory = DeviceMemory::new(&config, &hal, &trace, MAX_STREAMS);
        Ok(Self {
            id: thalweg_hal::unique_id(),
            streams: (0..MAX_STREAMS).map(|_| OnceLock::new()).collect(),
            assignment: Assignment::new(config.pool_streams),
            pipelines: Pipelines::new(&config),
            doorbell: Doorbell::new(hal.create_doorbell()?),
            deferred: (0..MAX_STREAMS / 64).map(|_| AtomicU64::new(0)).collect(),
            life: Life::new(),
            trace,
            unfinished: OnceLock::new(),
            reaper: OnceLock::new(),
            #[cfg(test)]
            sabotage: Arc::clone(&memory.sabotage),
            memory,
            config,
            hal,
        })
    }

    /// A stream that somebody has, or had, a lease of.
    #[inline]
    pub(crate) fn stream(&self, index: u32) -> &StreamState {
        self.streams[index as usize].get().expect("only leases and uses name streams, and both come after opening")
    }

    /// The streams made so far.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &StreamState> {
        self.streams.iter().filter_map(OnceLock::get)
    }

    /// Up to this value the stream's lists have settled, and their results are known.
    #[inline]
    pub(crate) fn settled(&self, stream: u32) -> u64 {
        self.stream(stream).settled()
    }

    /// Makes a stream, if this is its first use.
    pub(crate) fn open_stream(&self, index: u32) -> Result<()> {
        let slot = &self.streams[index as usize];
        if slot.get().is_none() {
            self.memory.open_heap(index);
            // Made with no lock held. `set` keeps the first; of two threads at once, the other's is dropped.
            let _ = slot.set(StreamState::new(index, self.hal.create_queue()?));
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

    /// Of each stream, the last list that has something to it.
    pub(crate) fn last(&self) -> Vec<Point> {
        self.streams().map(StreamState::last).collect()
    }
}
