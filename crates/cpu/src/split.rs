//! A dispatch that several workers run together.
//!
//! The worker that runs the list (the *owner*) offers the dispatch; idle workers (*helpers*) join and claim chunks of
//! its items through one counter. The owner claims chunks too, until there are none or its list has to yield; then it
//! withdraws the offer and waits until the helpers have left: at most for the time of the chunk that a helper is in.
//! That is the only wait of a worker. What is claimed then is done, and what is not is the rest of the command.
//!
//! Helpers join under the run queue's lock, and the owner withdraws under it, so that nobody joins afterwards.

use crate::pace::Key;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, Parking, lock};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{Command, Error, List, Result, Step, host};

/// A dispatch is not worth offering when it touches fewer bytes: joining costs about a microsecond.
const MIN_BYTES: u64 = 64 << 10;
/// With this many items for each worker, they are cut finer, so that a late helper still finds some.
const FINE_ITEMS: u32 = 64;
/// How many looks the owner takes before it sleeps until the helpers have left.
const SPINS: u32 = if cfg!(loom) { 0 } else { 2_000 };

/// Whether so many items of a command are worth sharing.
pub fn worthwhile(list: &List, command: &Command, items: u32) -> bool {
    let bytes = || list.bindings_of(command).iter().fold(0_u64, |sum, binding| sum.saturating_add(binding.bytes));
    items > 1 && bytes() >= MIN_BYTES
}

/// How many items to claim at a time when `workers` share `items`: one chunk each, or four where there are many items,
/// in whole eights because kernels work on several rows at once.
fn chunk_of(items: u32, workers: u32) -> u32 {
    let share = items.div_ceil(workers.max(1)).max(1);
    if share < FINE_ITEMS { share } else { share.div_ceil(4).next_multiple_of(8) }
}

/// A dispatch being shared.
pub struct Split {
    list: Arc<List>,
    /// Index of the command in the list.
    command: usize,
    /// What its items take.
    pub key: Key,
    items: u32,
    /// How many items to claim at a time, at most.
    chunk: u32,
    /// The first item that nobody has claimed; past `items` when there is none. Relaxed: it only divides the items,
    /// what they need and what they write is ordered by the run queue's lock and by [`Seat::helpers`].
    next: AtomicU64,
    /// The failure with the lowest items. Written by owner and helpers, read by the owner at the end.
    failure: Mutex<Option<(u32, Error)>>,
    /// Nanoseconds that helpers have spent and the owner has not taken. Relaxed: a sum.
    helped: AtomicU64,
}

impl Split {
    /// Divides a command between `workers`, from its item `first` on.
    pub fn new(step: Step<'_>, key: Key, first: u32, workers: usize) -> Self {
        let items = host::items(step.command());
        Self {
            list: step.list.clone(),
            command: step.at,
            key,
            items,
            chunk: chunk_of(items - first, u32::try_from(workers).unwrap_or(u32::MAX)),
            next: AtomicU64::new(first.into()),
            failure: Mutex::default(),
            helped: AtomicU64::new(0),
        }
    }

    /// How many helpers could find a chunk.
    pub fn helpers_wanted(&self) -> usize {
        ((self.items - self.done()).div_ceil(self.chunk)).saturating_sub(1) as usize
    }

    /// How many items are claimed: the first so many. When all helpers have left, they are done.
    pub fn done(&self) -> u32 {
        u32::try_from(self.next.load(Ordering::Relaxed)).map_or(self.items, |next| next.min(self.items))
    }

    /// Whether there are unclaimed items.
    pub fn is_open(&self) -> bool {
        self.next.load(Ordering::Relaxed) < u64::from(self.items)
    }

    /// Claims items that nobody else has, at most so many. `None` if there are none.
    pub fn claim(&self, most: u32) -> Option<Range<u32>> {
        let items = self.chunk.min(most);
        let start = self.next.fetch_add(items.into(), Ordering::Relaxed);
        let start = u32::try_from(start).ok().filter(|start| *start < self.items)?;
        Some(start..start.saturating_add(items).min(self.items))
    }

    /// Runs one chunk, of at most so many items. Says how many they were; 0 if none is left.
    ///
    /// # Safety
    /// - Every access that conflicts with the command is ordered before or after this call.
    /// - The list passes [`List::check`].
    pub unsafe fn run_chunk(&self, most: u32) -> u32 {
        let Some(items) = self.claim(most) else { return 0 };
        let (start, len) = (items.start, items.end - items.start);
        // SAFETY: the items of all chunks are disjoint, because `claim` returns each once; the rest is the caller's
        // promise.
        let result = unsafe { host::execute(&self.list, &self.list.commands[self.command], items, crate::NAME) };
        if let Err(error) = result {
            // Chunks are claimed in rising order, so that a chunk with lower items is not among those given up, and
            // the failure that is kept does not depend on the workers' speed.
            self.next.fetch_max(u64::from(self.items), Ordering::Relaxed);
            let mut failure = lock(&self.failure);
            if failure.as_ref().is_none_or(|(other, _)| start < *other) {
                *failure = Some((start, error));
            }
        }
        len
    }

    /// A helper has spent so long.
    pub fn add_helped(&self, time: Duration) {
        self.helped.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What helpers have spent since this was last asked.
    pub fn take_helped(&self) -> Duration {
        Duration::from_nanos(self.helped.swap(0, Ordering::Relaxed))
    }

    /// What the command ended with. For the owner, when all helpers have left.
    pub fn result(&self) -> Result<()> {
        lock(&self.failure).take().map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// Where an owner waits for its helpers. One for each worker, for as long as it lives.
pub struct Seat {
    owner: Parking,
    /// Helpers that have joined the owner's offer and not left. Raised under the run queue's lock.
    helpers: AtomicUsize,
}

impl Seat {
    /// The seat of the calling thread.
    pub fn new() -> Self {
        Self { owner: Parking::new(), helpers: AtomicUsize::new(0) }
    }

    /// A helper joins. Under the run queue's lock.
    pub fn join(&self) {
        // Relaxed: the owner reads it after it took the same lock to withdraw the offer.
        self.helpers.fetch_add(1, Ordering::Relaxed);
    }

    /// A helper leaves: it has done its chunks and let go of the list.
    pub fn leave(&self) {
        // Release: pairs with the Acquire in `wait`. The owner sees what the helper wrote.
        if self.helpers.fetch_sub(1, Ordering::Release) == 1 {
            self.owner.unpark();
        }
    }

    /// The owner waits until nobody is left. Its offer is withdrawn.
    pub fn wait(&self) {
        // Acquire: pairs with the Release in `leave`.
        let left = || self.helpers.load(Ordering::Acquire) == 0;
        for _ in 0..SPINS {
            if left() {
                return;
            }
            std::hint::spin_loop();
        }
        while !left() {
            self.owner.park();
        }
    }
}

/// A split that helpers may join.
#[derive(Clone)]
pub struct Offer {
    /// The work.
    pub split: Arc<Split>,
    /// Its owner.
    pub seat: Arc<Seat>,
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)] // a failed step is a failed test
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_items_and_leave_something_for_everyone() {
        for workers in 1..=64 {
            for items in (1..=300).chain([4_096, 100_003, u32::MAX]) {
                let chunk = chunk_of(items, workers);
                assert!(chunk >= 1);
                let chunks = items.div_ceil(chunk);
                let share = items.div_ceil(workers);
                assert!(chunk <= share, "{items} items, {workers} workers: {chunk}");
                if share >= FINE_ITEMS {
                    assert!(chunks >= 2 * workers, "{items} items, {workers} workers: {chunks} chunks");
                }
            }
        }
    }

    #[test]
    fn claims_are_disjoint_and_complete_up_to_the_largest_extent() {
        for (first, items, workers) in [(0, 2, 1), (0, 7, 3), (5, 24, 2), (0, 1_000, 3), (3, u32::MAX, 2)] {
            let (list, key) = dispatch(items);
            let split = Split::new(List::steps(&list).next().unwrap(), key, first, workers);
            assert_eq!(split.done(), first);
            let mut end = first;
            for most in (1..).map(|turn: u32| turn.saturating_pow(9)) {
                let Some(range) = split.claim(most) else { break };
                assert_eq!(range.start, end);
                assert!(range.end > range.start && range.len() <= most as usize);
                end = range.end;
                assert_eq!(split.done(), end);
            }
            assert_eq!(end, items);
            assert!(!split.is_open() && split.claim(1).is_none() && split.done() == items);
        }
    }

    #[test]
    fn helpers_are_wanted_for_what_is_left() {
        let (list, key) = dispatch(64);
        let split = |first| Split::new(List::steps(&list).next().unwrap(), key, first, 4);
        assert_eq!(split(0).helpers_wanted(), 3);
        assert_eq!(split(62).helpers_wanted(), 1);
        assert_eq!(split(63).helpers_wanted(), 0);
    }

    /// A list of one dispatch over so many items of nothing.
    fn dispatch(items: u32) -> (Arc<List>, Key) {
        let source = thalweg_hal::KernelSource {
            name: "nothing".into(),
            bindings: std::borrow::Cow::Borrowed(&[]),
            params_bytes: 0,
            wgsl: None,
            host: Some(|_| Ok(())),
        };
        let command = Command::Dispatch {
            pipeline: 0,
            bindings: thalweg_hal::IndexRange { start: 0, len: 0 },
            params: thalweg_hal::IndexRange { start: 0, len: 0 },
            extent: [items, 1, 1],
        };
        let pipeline = host::HostPipeline::new(&source, crate::NAME).unwrap();
        let list = Arc::new(List { commands: vec![command], pipelines: vec![Arc::new(pipeline)], ..List::default() });
        let key = Key::of(&list, &list.commands[0]).unwrap();
        (list, key)
    }
}
