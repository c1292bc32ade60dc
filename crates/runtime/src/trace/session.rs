//! One session: the rings of its threads, and the names in them.
//!
//! | lock | held | by |
//! |---|---|---|
//! | `rings` | for a look at the rings | a thread at its first event, the drainer |
//! | `names` | for a look-up | a thread at its first event of a name, the drainer |
//!
//! Both are leaves, also under a stream's queue of lists in flight. "The drainer" is one at a time, since it takes a
//! `&mut` [`Reader`](crate::listener::Reader); it calls what takes the events with nothing locked. A session is told
//! from others by its number, which no other has: a thread keeps a [`Writer`] for each session that it has met, and
//! writes through no other.

use super::event::{Event, Kind};
use super::options::Options;
use super::ring::Ring;
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// The most slots of a ring.
const MAX_RING_EVENTS: usize = 1 << 20;
/// The most rings of a session, and so the most threads that write at once.
const MAX_RINGS: usize = 1024;
/// The most threads that a session tells apart.
const MAX_THREADS: usize = 1 << 16;
/// The most names. What comes later is called [`OTHER`].
const MAX_NAMES: usize = 1 << 16;
const OTHER: &str = "(another name)";
/// Names that a writer remembers.
const REMEMBERED: usize = 64;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    /// Where the session's host times count from.
    pub(crate) epoch: Instant,
    pub(crate) options: Options,
    rings: Mutex<Rings>,
    names: Mutex<Names>,
    /// Events of threads that got no ring.
    homeless: AtomicU64,
    /// Nothing written from now on counts. Written once, when it ends.
    over: AtomicBool,
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

/// Events that could not be written, by what there was no room in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// The thread's ring was full; see [`Options::ring_events`].
    pub ring_full: u64,
    /// More threads wrote at once than there may be (1,024; 65,536 one after the other), or the thread had all but
    /// ended.
    pub no_ring: u64,
}

impl Session {
    pub(crate) fn new(options: Options) -> Self {
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
            homeless: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// Nanoseconds since the start; 0 for what was before.
    pub(crate) fn time(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// A ring for a thread of this name; `None` if there are as many as there may be, or nobody reads any more.
    pub(crate) fn writer(self: &Arc<Self>, thread: impl FnOnce() -> String) -> Option<Writer> {
        let mut rings = self.rings.lock();
        if self.is_over() || rings.threads.len() >= MAX_THREADS {
            return None;
        }
        let free = rings.all.iter().find(|ring| ring.is_free()).cloned();
        let ring = match free {
            Some(ring) => ring,
            None if rings.all.len() >= MAX_RINGS => return None,
            None => {
                let ring = Arc::new(Ring::new(self.options.ring_events.min(MAX_RING_EVENTS)));
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

    /// Takes out what has been written, with the numbers of the threads; nothing is locked meanwhile. For one drainer
    /// at a time.
    pub(crate) fn drain(&self, mut take: impl FnMut(u32, Event)) {
        let rings = self.rings.lock().all.clone();
        rings.iter().for_each(|ring| ring.drain(&mut take));
    }

    /// Appends the names of the threads that are not there yet, by their numbers.
    pub(crate) fn threads(&self, threads: &mut Vec<String>) {
        append(threads, &self.rings.lock().threads);
    }

    /// Appends the names that are not there yet, by their numbers.
    pub(crate) fn names(&self, names: &mut Vec<Arc<str>>) {
        append(names, &self.names.lock().all);
    }

    /// How many events could not be written so far.
    pub(crate) fn dropped(&self) -> Dropped {
        let ring_full = self.rings.lock().all.iter().map(|ring| ring.dropped()).sum();
        // Relaxed: a figure.
        Dropped { ring_full, no_ring: self.homeless.load(Ordering::Relaxed) }
    }

    /// Nothing written from now on counts.
    pub(crate) fn end(&self) {
        // Relaxed: a hint for threads to let go of it.
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Lets the rings go: nobody drains them any more. Each thread frees its own with its writer.
    pub(crate) fn forget_rings(&self) {
        let rings = std::mem::take(&mut self.rings.lock().all);
        drop(rings);
    }

    /// How many rings there are.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn rings(&self) -> usize {
        self.rings.lock().all.len()
    }
}

fn append<T: Clone>(known: &mut Vec<T>, all: &[T]) {
    known.extend_from_slice(all.get(known.len()..).unwrap_or_default());
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
