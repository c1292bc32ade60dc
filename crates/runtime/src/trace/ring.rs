//! The ring of one thread: it writes, somebody else drains.
//!
//! A slot is a few atomic words, so there is no unsafe code and nothing is torn: the drainer reads a slot only after
//! the owner has published it, and the owner writes it again only after the drainer has said that it is read. A full
//! ring drops the event and counts it; the owner never waits.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `written`, slots, `dropped` | the owner | the drainer |
//! | `read` | the drainer | the owner |
//! | `thread` | the owner, before its first event | the drainer |
//! | `ended` | the owner, last of all; the next owner clears it under the session's lock | who looks for a ring |
//!
//! A ring whose owner has ended and that is drained has a next owner. The session says who "the drainer" is.

use super::event::{Event, WORDS};
use crate::base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;

/// Slots that are allocated together, when the first of them is written: a thread that does little takes little.
const CHUNK: usize = 512;

type Slot = [AtomicU64; WORDS];

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Ring {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    capacity: u64,
    /// Events ever written.
    written: AtomicU64,
    /// Events ever drained.
    read: AtomicU64,
    /// Events ever dropped.
    dropped: AtomicU64,
    thread: AtomicU32,
    ended: AtomicBool,
}

impl Ring {
    /// A ring of at least one event, without an owner.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            chunks: (0..capacity.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
            capacity: capacity as u64,
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            thread: AtomicU32::new(0),
            ended: AtomicBool::new(true),
        }
    }

    /// Whether nobody writes it any more and everything in it has been drained. Asked under the session's lock, by who
    /// would be the next owner.
    pub(crate) fn is_free(&self) -> bool {
        // Acquire: pairs with the Release in `end`, after which `written` and `dropped` stay as they are.
        // Acquire: pairs with the Release in `drain`, so that the slots are not written while they are read.
        self.ended.load(Ordering::Acquire) && self.written.load(Ordering::Relaxed) == self.read.load(Ordering::Acquire)
    }

    /// The caller, who has found it free and holds the session's lock, writes it from now on.
    pub(crate) fn begin(&self, thread: u32) {
        // Relaxed: published with the first event.
        self.thread.store(thread, Ordering::Relaxed);
        // Relaxed: asked under the same lock, or to no harm.
        self.ended.store(false, Ordering::Relaxed);
    }

    /// The owner writes no more.
    pub(crate) fn end(&self) {
        // Release: pairs with the Acquire in `is_free`.
        self.ended.store(true, Ordering::Release);
    }

    /// Writes an event, or drops it and counts it. For the owner alone.
    pub(crate) fn push(&self, event: Event) {
        // Relaxed: the owner's own.
        let at = self.written.load(Ordering::Relaxed);
        // Acquire: pairs with the Release in `drain`: the slot has been read.
        if at - self.read.load(Ordering::Acquire) >= self.capacity {
            // Relaxed: the owner's own; the reader has synchronised with it or takes a lower number.
            self.dropped.store(self.dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return;
        }
        let index = (at % self.capacity) as usize;
        let chunk = self.chunks[index / CHUNK].get_or_init(|| {
            let slots = (self.capacity as usize - index / CHUNK * CHUNK).min(CHUNK);
            (0..slots).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect()
        });
        for (slot, word) in chunk[index % CHUNK].iter().zip(event.words()) {
            // Relaxed: published below.
            slot.store(word, Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in `drain`.
        self.written.store(at + 1, Ordering::Release);
    }

    /// Takes out what has been written, with its thread. For one drainer at a time.
    pub(crate) fn drain(&self, mut take: impl FnMut(u32, Event)) {
        // Acquire: pairs with the Release in `push`. The thread is that of all these events: the ring has a next owner
        // only when there are none.
        let written = self.written.load(Ordering::Acquire);
        let thread = self.thread.load(Ordering::Relaxed);
        // Relaxed: the drainer's own.
        for at in self.read.load(Ordering::Relaxed)..written {
            let index = (at % self.capacity) as usize;
            let chunk = self.chunks[index / CHUNK].get().expect("written with its first event");
            // Relaxed: published with `written`.
            let words = std::array::from_fn(|word| chunk[index % CHUNK][word].load(Ordering::Relaxed));
            take(thread, Event::of_words(words));
        }
        // Release: pairs with the Acquire in `push` and in `is_free`.
        self.read.store(written, Ordering::Release);
    }

    /// Events dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        // Relaxed: a figure.
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::event::Kind;
    use super::*;

    fn event(number: u64) -> Event {
        Event { value: number, ..Event::new(Kind::Wait, number, number + 1) }
    }

    #[test]
    fn what_fits_comes_out_in_order_and_the_rest_is_counted() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..50 {
            let capacity = random.usize(1..2 * CHUNK);
            let ring = Ring::new(capacity);
            let (mut number, mut dropped) = (0, 0);
            for _ in 0..20 {
                let burst = random.u64(..2 * capacity as u64);
                (number..number + burst).for_each(|number| ring.push(event(number)));
                let mut found = Vec::new();
                ring.drain(|_, event| found.push(event));
                let expected: Vec<_> = (number..number + burst.min(capacity as u64)).map(event).collect();
                assert_eq!(found, expected, "capacity {capacity}, seed {seed}");
                dropped += burst - expected.len() as u64;
                assert_eq!(ring.dropped(), dropped, "capacity {capacity}, seed {seed}");
                number += burst;
            }
        }
    }

    #[test]
    fn a_ring_is_free_when_its_owner_has_ended_and_it_is_drained() {
        let ring = Ring::new(4);
        assert!(ring.is_free());
        ring.begin(3);
        assert!(!ring.is_free(), "it has an owner");
        ring.push(event(1));
        ring.end();
        assert!(!ring.is_free(), "it is not drained");
        ring.drain(|thread, _| assert_eq!(thread, 3));
        assert!(ring.is_free());
    }
}
