//! One session: the rings of its threads, the names in them, and what has been drained.
//!
//! | lock | held | by |
//! |---|---|---|
//! | `rings` | for a look at the rings | a thread at its first event, the drainer |
//! | `names` | for a look-up | a thread at its first event of a name |
//! | `store` | while rings are drained | the drainer alone: its thread, or whoever stops |
//!
//! Order: `store` -> `rings`. `rings` and `names` are leaves, also under a stream's queue of lists in flight. No writer
//! takes `store`. A session is told from others by its number, which no other has: a thread keeps a [`Writer`] for each
//! session that it has met, and writes through no other.

use super::event::{Event, Kind};
use super::options::{Detail, ProfileOptions};
use super::ring::Ring;
use crate::base::rank::Rank;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::base::sync::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most rings of a session, and so the most threads that write at once.
const MAX_RINGS: usize = 1024;
/// The most threads that a session tells apart.
const MAX_THREADS: usize = 1 << 16;
/// The most names. What comes later is called [`OTHER`].
const MAX_NAMES: usize = 1 << 16;
const OTHER: &str = "(another name)";
/// Names that a writer remembers.
const REMEMBERED: usize = 64;

/// Bytes in live storages, and taken from the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemorySample {
    pub(crate) at: u64,
    pub(crate) live: u64,
    pub(crate) reserved: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    /// Where the session's host times count from.
    pub(crate) epoch: Instant,
    pub(crate) options: ProfileOptions,
    rings: Mutex<Rings>,
    names: Mutex<Names>,
    store: Mutex<Store>,
    /// Events of threads that got no ring.
    homeless: AtomicU64,
    /// Nothing written from now on counts. Written once, by whoever stops.
    over: AtomicBool,
    /// Whether the drainer is to end; it sleeps on `wake`.
    ending: Mutex<bool>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Rings {
    all: Vec<Arc<Ring>>,
    /// By number of the thread.
    threads: Vec<String>,
}

#[derive(Debug)]
struct Names {
    ids: HashMap<Arc<str>, u32>,
    all: Vec<Arc<str>>,
}

/// What has been drained.
#[derive(Debug, Default)]
struct Store {
    events: Vec<(u32, Event)>,
    samples: Vec<MemorySample>,
    /// Events for which there was no room.
    dropped: u64,
}

/// Everything that a session has collected.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) events: Vec<(u32, Event)>,
    pub(crate) samples: Vec<MemorySample>,
    pub(crate) threads: Vec<String>,
    pub(crate) names: Vec<Arc<str>>,
    /// Events that were not kept: ring full, no ring, store full.
    pub(crate) dropped: [u64; 3],
}

impl Session {
    pub(crate) fn new(options: ProfileOptions) -> Self {
        let other: Arc<str> = OTHER.into();
        Self {
            id: thalweg_hal::unique_id(),
            epoch: Instant::now(),
            options,
            rings: Mutex::new(Rank::TraceRings, Rings::default()),
            names: Mutex::new(
                Rank::TraceNames,
                Names { ids: HashMap::from([(Arc::clone(&other), 0)]), all: vec![other] },
            ),
            store: Mutex::new(Rank::TraceStore, Store::default()),
            homeless: AtomicU64::new(0),
            over: AtomicBool::new(false),
            ending: Mutex::new(Rank::TraceEnd, false),
            wake: Condvar::default(),
        }
    }

    /// Nanoseconds since the start; 0 for what was before.
    pub(crate) fn time(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// A ring for a thread of this name; `None` if there are as many as there may be.
    pub(crate) fn writer(self: &Arc<Self>, thread: impl FnOnce() -> String) -> Option<Writer> {
        let mut rings = self.rings.lock();
        if rings.threads.len() >= MAX_THREADS {
            return None;
        }
        let free = rings.all.iter().find(|ring| ring.is_free()).cloned();
        let ring = match free {
            Some(ring) => ring,
            None if rings.all.len() >= MAX_RINGS => return None,
            None => {
                let ring = Arc::new(Ring::new(self.options.ring_events));
                rings.all.push(Arc::clone(&ring));
                ring
            }
        };
        ring.begin(rings.threads.len() as u32);
        rings.threads.push(thread());
        drop(rings);
        Some(Writer { session: Arc::clone(self), ring, remembered: vec![None; REMEMBERED] })
    }

    /// An event of a thread that has no ring.
    pub(crate) fn drop_event(&self) {
        // Relaxed: a figure.
        self.homeless.fetch_add(1, Ordering::Relaxed);
    }

    fn name(&self, name: &str) -> (Arc<str>, u32) {
        let mut names = self.names.lock();
        if let Some((name, id)) = names.ids.get_key_value(name) {
            return (Arc::clone(name), *id);
        }
        let name: Arc<str> = name.into();
        if names.all.len() >= MAX_NAMES {
            return (name, 0);
        }
        let id = names.all.len() as u32;
        names.all.push(Arc::clone(&name));
        names.ids.insert(Arc::clone(&name), id);
        (name, id)
    }

    /// Moves what has been written to the store.
    pub(crate) fn drain(&self) {
        self.drain_into(&mut self.store.lock());
    }

    fn drain_into(&self, store: &mut Store) {
        let rings = self.rings.lock().all.clone();
        for ring in rings {
            ring.drain(|thread, event| {
                if store.events.len() < self.options.max_events {
                    store.events.push((thread, event));
                } else {
                    store.dropped += 1;
                }
            });
        }
    }

    /// Enters what the memory is used for, if it has changed.
    pub(crate) fn sample(&self, sample: MemorySample) {
        let mut store = self.store.lock();
        let same = |last: &MemorySample| (last.live, last.reserved) == (sample.live, sample.reserved);
        if !store.samples.last().is_some_and(same) && store.samples.len() < self.options.max_events {
            store.samples.push(sample);
        }
    }

    /// How long the drainer sleeps between two looks: a ring holds what a thread writes meanwhile, if that does other
    /// things too.
    pub(crate) fn pause(&self) -> Duration {
        match self.options.detail {
            Detail::Coarse => Duration::from_millis(20),
            Detail::Full => Duration::from_millis(2),
        }
    }

    /// Sleeps until the next look is due; `false` if the session is over.
    pub(crate) fn sleep(&self) -> bool {
        let ending = self.ending.lock();
        if *ending {
            return false;
        }
        !*self.wake.wait(ending, Some(self.pause()))
    }

    /// Nothing written from now on counts, and the drainer ends. Does not wait.
    pub(crate) fn end(&self) {
        // Relaxed: a hint for threads to let go of it.
        self.over.store(true, Ordering::Relaxed);
        *self.ending.lock() = true;
        self.wake.notify_one();
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Drains what is left, and takes everything out.
    pub(crate) fn collect(&self) -> Collected {
        let mut store = self.store.lock();
        self.drain_into(&mut store);
        let Store { events, samples, dropped } = std::mem::take(&mut *store);
        let mut rings = self.rings.lock();
        let in_rings = rings.all.iter().map(|ring| ring.dropped()).sum();
        let threads = std::mem::take(&mut rings.threads);
        // Each thread frees its own with its writer.
        rings.all.clear();
        drop(rings);
        let names = self.names.lock().all.clone();
        Collected {
            events,
            samples,
            threads,
            names,
            dropped: [in_rings, self.homeless.load(Ordering::Relaxed), dropped],
        }
    }

    /// How many rings there are.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn rings(&self) -> usize {
        self.rings.lock().all.len()
    }
}

/// A thread's right to write to a session. Dropped at its end, or when it meets a later session.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) session: Arc<Session>,
    ring: Arc<Ring>,
    /// By address and length, which only say where to look.
    remembered: Vec<Option<(Arc<str>, u32)>>,
}

impl Writer {
    /// The number of a name.
    pub(crate) fn name(&mut self, name: &str) -> u32 {
        let slot = &mut self.remembered[(name.as_ptr().addr() / 8 + name.len()) % REMEMBERED];
        match slot {
            Some((known, id)) if **known == *name => *id,
            _ => slot.insert(self.session.name(name)).1,
        }
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.ring.push(event);
    }

    /// What ends now.
    pub(crate) fn push_slice(&mut self, kind: Kind, start: Instant, fill: impl FnOnce(&mut Self, Event) -> Event) {
        let times = (self.session.time(start), self.session.time(Instant::now()));
        let event = fill(self, Event::new(kind, times.0, times.1));
        self.push(event);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.ring.end();
    }
}
