//! Queues: a thread each that does the work, and one that calls the handlers.
//!
//! The engine is an adversary. Whatever Metal does not order, it orders by its seed, one dispatch at a time, so a
//! missing barrier or fence gives wrong values without a race in the simulator itself:
//!
//! - between two barriers of a concurrent encoder, dispatches run in any order; a serial encoder keeps its order;
//! - encoders of one queue run one after the other, the other way round, or interleaved, unless a fence, a wait for an
//!   event, or a buffer that Metal tracks the hazards of comes between them;
//! - a wait for an event holds back what was committed to the queue after it; a signal comes after all that was
//!   committed before;
//! - command buffers complete in order, late by a little, and their handlers are called by a thread of their own.
//!
//! Queues run in parallel. No thread is ever joined: a process may end with work in flight. Lock order: a queue's inbox
//! before a fence; nothing else is held while another lock is taken.

mod thread;
mod work;

use crate::metal::residency::Sets;
use crate::rt::class::lock;
use crate::rules::{QUEUE_FULL, broken};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
pub use work::{Dispatch, Done, Encoder, Item, Outcome, Running};

/// How long a queue may be full before nobody believes that it moves.
const FULL_FOR: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Inbox {
    committed: Vec<Running>,
    /// An event that the thread waits for was signalled.
    poked: bool,
    /// The queue's object is gone.
    closed: bool,
    started: bool,
}

/// A queue, known to its object, its command buffers and its threads.
pub struct QueueState {
    pub id: u64,
    pub label: Mutex<String>,
    /// What is resident for its command buffers.
    pub sets: Mutex<Sets>,
    most: usize,
    /// Command buffers that were made and have not completed.
    places: Mutex<usize>,
    left: Condvar,
    inbox: Mutex<Inbox>,
    changed: Condvar,
}

impl QueueState {
    pub fn new(most: usize) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            label: Mutex::default(),
            sets: Mutex::default(),
            most,
            places: Mutex::new(0),
            left: Condvar::new(),
            inbox: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Takes a place for a command buffer, and blocks while there is none.
    pub fn enter(&self) {
        let patience = crate::config().patience.unwrap_or(FULL_FOR);
        let wait = self.left.wait_timeout_while(lock(&self.places), patience, |places| *places >= self.most);
        let (mut places, _) = wait.unwrap_or_else(PoisonError::into_inner);
        if *places >= self.most {
            broken(QUEUE_FULL, format_args!("{} command buffers, none of which ends", *places));
        }
        *places += 1;
    }

    /// A command buffer has completed, or died without a commit.
    pub fn leave(&self) {
        *lock(&self.places) -= 1;
        self.left.notify_one();
    }

    /// Takes a command buffer's work.
    pub fn commit(self: &Arc<Self>, mut work: Running) {
        work.check_residency(&lock(&self.sets).clone(), "at the commit");
        let mut inbox = lock(&self.inbox);
        // Fences are about the order of commits, which is the order under this lock.
        work.order(self.id);
        if work.rejected {
            drop(inbox);
            return thread::reject(work);
        }
        inbox.committed.push(work);
        if !std::mem::replace(&mut inbox.started, true) {
            thread::start(self);
        }
        drop(inbox);
        self.changed.notify_one();
    }

    /// An event that the queue waits for was signalled.
    pub fn poke(&self) {
        lock(&self.inbox).poked = true;
        self.changed.notify_one();
    }

    /// No more is committed; the threads end when the work does.
    pub fn close(&self) {
        lock(&self.inbox).closed = true;
        self.changed.notify_one();
    }
}
