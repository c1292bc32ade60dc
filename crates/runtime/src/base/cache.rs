//! A bounded cache that builds each value once, however many threads ask for it.
//!
//! ```text
//!            first to ask            it is built
//!   nothing ─────────────► building ────────────► ready ──evicted──► nothing
//!      ▲                      │
//!      └── it failed, or its builder panicked
//! ```
//!
//! | who asks for a key that is | does |
//! |---|---|
//! | not there | builds it, with nothing locked |
//! | being built | waits for that key alone: for the value or that failure; takes over if the builder panics |
//! | being built by the caller itself, or by somebody who waits for the caller | gets [`Error::Recursive`] |
//! | ready | gets it |
//!
//! The builder and those who waited for it get a failure, and it is not kept: a later caller tries again.
//!
//! # Eviction
//!
//! An insertion takes out what was not used for the longest time until both bounds hold, by a clock that ticks with
//! each insertion. So a hit writes the time of the last use only if it is not that already, and threads that use the
//! same values over and over write nothing that they share. What is taken out is dropped from the cache, nothing more:
//! owners of the value, such as a list in flight, keep it.
//!
//! # Locks
//!
//! The map is locked for a look-up, an insertion, and the choice of what to evict, which looks at every entry. Under it
//! run `Hash` and `Eq` of the keys, which must not use the cache; values, errors and keys are built, weighed, cloned
//! and dropped with nothing locked (I8). A flight's lock is held to leave or to find its ending. Neither is taken
//! under the other.
//!
//! | field | written by | under |
//! |---|---|---|
//! | `map` and its counters | a thread that begins, ends or joins a flight | its lock |
//! | `clock` | an insertion | `map` |
//! | `Entry::used` | a look-up that finds the entry | nothing |
//! | `hits` | a look-up that finds an entry in the map | `map`, shared |

mod flight;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::base::error::Error;
use crate::base::fork;
use crate::base::rank::Rank;
use crate::base::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::base::sync::{Hashing, RwLock, this_thread};
use crate::base::wait_policy::WaitPolicy;
use flight::{Attempt, Ending, Flight, Flights};
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

/// Values by key, each built once and kept within bounds.
///
/// Any number of threads ask for any keys at once. The first thread that asks for a key builds its value. Others that
/// want that key wait for it, and no other thread does. When there are too many values, those go that were not used for
/// the longest time.
/// Keys are compared whole, never by hash alone.
///
/// A value is cloned for everybody who asks: make it an [`Arc`] of something. `Hash` and `Eq` of the key run under a
/// lock of the cache and must not use it.
///
/// ```
/// use std::sync::Arc;
/// use thalweg_runtime::{Cache, Error};
///
/// # fn main() -> Result<(), Error> {
/// // At most 64 tables and a mebibyte.
/// let tables: Cache<usize, Arc<Vec<f32>>> = Cache::new(64, 1 << 20, |_, table| 4 * table.len() as u64);
/// let sines = |n: usize| tables.get(&n, || Ok(Arc::new((0..n).map(|i| (i as f32).sin()).collect())));
/// assert!(Arc::ptr_eq(&sines(100)?, &sines(100)?));
/// let stats = tables.stats();
/// assert_eq!((stats.misses, stats.hits, stats.bytes), (1, 1, 400));
/// # Ok(())
/// # }
/// ```
pub struct Cache<K, V, E = Error> {
    most_entries: usize,
    most_bytes: u64,
    weigh: fn(&K, &V) -> u64,
    clock: Clock,
    hits: AtomicU64,
    map: RwLock<Map<K, V, E>>,
}

/// The number of insertions so far. Everybody reads it, so it shares no pair of cache lines with what is written more
/// often.
#[repr(align(128))]
struct Clock(AtomicU64);

/// What has been asked of a [`Cache`], and what is in it.
///
/// Every call that got as far as the cache is a hit, a miss, or a wait that ended with the value or failure of another
/// thread's attempt. A call counts as a wait, too, if its builder panicked, or if it stopped waiting; if it went on
/// it also counts as a hit or a miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Calls that found the value.
    pub hits: u64,
    /// Calls that began to build it.
    pub misses: u64,
    /// Times that a call waited while somebody else was building it.
    pub waits: u64,
    /// Attempts to build a value that failed or panicked.
    pub failures: u64,
    /// Values that were taken out because there were too many, or too heavy to be kept at all.
    pub evictions: u64,
    /// Values that are there.
    pub entries: u64,
    /// What they weigh together, in bytes.
    pub bytes: u64,
}

struct Map<K, V, E> {
    slots: HashMap<Arc<K>, Slot<V, E>, Hashing>,
    flights: Flights<V, E>,
    /// `hits` is not used here.
    stats: CacheStats,
}

enum Slot<V, E> {
    Ready(Arc<Entry<V>>),
    Building(Arc<Flight<V, E>>),
}

/// A value that was built.
pub(crate) struct Entry<V> {
    pub(crate) value: V,
    bytes: u64,
    /// The number of its insertion; 0 if it never was inserted.
    made: AtomicU64,
    /// When it was last used, by the cache's clock. Relaxed everywhere: it only says which value to keep, and one that
    /// is late by a moment is as good.
    used: AtomicU64,
}

impl<V> Entry<V> {
    /// Writes only what is not known yet.
    fn is_used(&self, now: u64) {
        if self.used.load(Relaxed) != now {
            self.used.store(now, Relaxed);
        }
    }
}

/// What a look-up for a caller who would build finds.
enum Found<'a, K: Hash + Eq, V, E> {
    Ready(Arc<Entry<V>>),
    Nothing(Attempt<'a, K, V, E>),
    Building(Arc<Flight<V, E>>),
    Refused(Error),
}

impl<K: Hash + Eq + Clone, V: Clone, E: Clone + From<Error>> Cache<K, V, E> {
    /// An empty cache for at most so many values (at least 1) and so many bytes, by what `weigh` says of each when it
    /// has been built. A value that is heavier than all bytes together is handed out and not kept.
    pub fn new(entries: usize, bytes: u64, weigh: fn(&K, &V) -> u64) -> Self {
        let map = Map { slots: HashMap::default(), flights: Flights::default(), stats: CacheStats::default() };
        Self {
            most_entries: entries.max(1),
            most_bytes: bytes,
            weigh,
            clock: Clock(AtomicU64::new(0)),
            hits: AtomicU64::new(0),
            map: RwLock::new(Rank::CacheMap, map),
        }
    }

    /// The value, which `build` makes if it is not there. While somebody else builds it, the call waits.
    ///
    /// A hit takes a shared lock and clones the value.
    ///
    /// # Errors
    /// What `build` says, be it this call's or the one that this call waited for; [`Error::Recursive`] if waiting would
    /// never end, because the value is being built by this thread, or by one that waits for what this thread is
    /// building in this cache; that the process is a forked child.
    pub fn get(&self, key: &K, build: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        self.entry(key, WaitPolicy::Forever, build).map(|entry| entry.value.clone())
    }

    /// As [`get`](Self::get), and does not wait for somebody else.
    ///
    /// # Errors
    /// As for [`get`](Self::get); [`Error::Busy`] while somebody else builds the value.
    pub fn get_or_busy(&self, key: &K, build: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        self.entry(key, WaitPolicy::Never, build).map(|entry| entry.value.clone())
    }

    pub(crate) fn entry(
        &self,
        key: &K,
        policy: WaitPolicy,
        build: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<Entry<V>>, E> {
        fork::check_fork()?;
        if let Some(entry) = self.find(key) {
            return Ok(self.hit(entry));
        }
        // Made before the map is locked; dropped if somebody else is faster.
        let own_key = Arc::new(key.clone());
        loop {
            match self.look(&own_key, policy) {
                Found::Ready(entry) => return Ok(self.hit(entry)),
                Found::Nothing(attempt) => return attempt.run(build),
                Found::Refused(error) => return Err(error.into()),
                Found::Building(flight) => {
                    let ending = flight.wait(policy).inspect_err(|_| self.map.write().flights.leave(&flight))?;
                    match &*ending {
                        Ending::Built(entry) => return Ok(Arc::clone(entry)),
                        Ending::Failed(error) => return Err(error.clone()),
                        // The first of those who waited takes over.
                        Ending::Abandoned => {}
                    }
                }
            }
        }
    }
}

impl<K: Hash + Eq, V, E> Cache<K, V, E> {
    /// What has been asked of it, and what is in it.
    pub fn stats(&self) -> CacheStats {
        if fork::forked() {
            return CacheStats::default(); // the lock may be held for ever
        }
        CacheStats { hits: self.hits.load(Relaxed), ..self.map.read().stats }
    }

    /// Takes every value out. What is being built is not touched, and kept when it is there.
    pub fn clear(&self) {
        if fork::forked() {
            return;
        }
        let mut map = self.map.write();
        let gone: Vec<_> = map.slots.extract_if(|_, slot| matches!(slot, Slot::Ready(_))).collect();
        (map.stats.entries, map.stats.bytes) = (0, 0);
        drop(map);
        drop(gone); // with nothing locked
    }

    #[cfg(test)]
    pub(crate) fn nobody_waits(&self) -> bool {
        self.map.read().flights.is_empty()
    }

    /// The clock, for [`Entry::is_used`].
    pub(crate) fn now(&self) -> u64 {
        // A use comes after the last insertion, and not after the next.
        self.clock.0.load(Relaxed) + 1
    }

    fn find(&self, key: &K) -> Option<Arc<Entry<V>>> {
        match self.map.read().slots.get(key) {
            Some(Slot::Ready(entry)) => Some(Arc::clone(entry)),
            _ => None,
        }
    }

    fn hit(&self, entry: Arc<Entry<V>>) -> Arc<Entry<V>> {
        // Relaxed: a figure for people.
        self.hits.fetch_add(1, Relaxed);
        entry.is_used(self.now());
        entry
    }

    /// Looks again with the map locked, and begins or joins a flight. A caller that joins one has to wait, or leave it.
    fn look(&self, key: &Arc<K>, policy: WaitPolicy) -> Found<'_, K, V, E> {
        let me = this_thread();
        let own = Arc::new(Flight::new(me));
        let mut map = self.map.write();
        let flight = match map.slots.get(&**key) {
            Some(Slot::Ready(entry)) => return Found::Ready(Arc::clone(entry)),
            Some(Slot::Building(flight)) => Arc::clone(flight),
            None => {
                map.slots.insert(Arc::clone(key), Slot::Building(Arc::clone(&own)));
                map.stats.misses += 1;
                return Found::Nothing(Attempt::new(self, Arc::clone(key), own));
            }
        };
        if map.flights.would_never_end(me, &flight) {
            return Found::Refused(Error::Recursive);
        }
        if matches!(policy, WaitPolicy::Never) {
            return Found::Refused(Error::Busy);
        }
        map.stats.waits += 1;
        map.flights.join(me, &flight);
        Found::Building(flight)
    }

    /// Ends a flight: the entry is there, or nothing is. Then those who wait are told.
    fn end(&self, key: &Arc<K>, flight: &Flight<V, E>, ending: Ending<V, E>) {
        let ending = Arc::new(ending);
        let mut gone = Vec::new();
        let mut map = self.map.write();
        map.flights.end(flight);
        gone.extend(map.slots.remove_entry(&**key));
        match &*ending {
            Ending::Built(entry) if entry.bytes <= self.most_bytes => {
                // Relaxed: written under the map's lock alone.
                let now = self.clock.0.load(Relaxed) + 1;
                entry.made.store(now, Relaxed);
                entry.is_used(now);
                map.insert(Arc::clone(key), Arc::clone(entry));
                while map.stats.entries > self.most_entries as u64 || map.stats.bytes > self.most_bytes {
                    // There is one: what is too heavy by itself does not get here.
                    gone.extend(map.evict());
                }
                // Last: nothing is used later than the newest until what goes for it has been chosen.
                self.clock.0.store(now, Relaxed);
            }
            Ending::Built(_) => map.stats.evictions += 1,
            Ending::Failed(_) | Ending::Abandoned => map.stats.failures += 1,
        }
        drop(map);
        flight.tell(ending);
        drop(gone); // with nothing locked
    }
}

impl<K: Hash + Eq, V, E> Map<K, V, E> {
    fn insert(&mut self, key: Arc<K>, entry: Arc<Entry<V>>) {
        self.stats.entries += 1;
        self.stats.bytes += entry.bytes;
        self.slots.insert(key, Slot::Ready(entry));
    }

    /// Takes out what was not used for the longest time; of several, what was made first. So it is never the newest one
    /// of two or more.
    fn evict(&mut self) -> Option<(Arc<K>, Slot<V, E>)> {
        let ready = self.slots.iter().filter_map(|(key, slot)| match slot {
            Slot::Ready(entry) => Some((key, entry)),
            Slot::Building(_) => None,
        });
        // Relaxed: `made` was written under this lock; of `used` see there.
        let age = |(_, entry): &(&Arc<K>, &Arc<Entry<V>>)| (entry.used.load(Relaxed), entry.made.load(Relaxed));
        let (key, bytes) = ready.min_by_key(age).map(|(key, entry)| (Arc::clone(key), entry.bytes))?;
        self.stats.evictions += 1;
        self.stats.entries -= 1;
        self.stats.bytes -= bytes;
        self.slots.remove_entry(&*key)
    }
}

impl<K, V, E> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { most_entries, most_bytes, .. } = self;
        f.debug_struct("Cache")
            .field("most_entries", most_entries)
            .field("most_bytes", most_bytes)
            .finish_non_exhaustive()
    }
}
