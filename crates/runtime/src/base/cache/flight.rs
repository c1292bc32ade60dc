//! One attempt to build a value: who builds, who waits, and how it ended.

use super::{Cache, Entry};
use crate::base::error::Result;
use crate::base::rank::Rank;
use crate::base::sync::atomic::AtomicU64;
use crate::base::sync::{Condvar, Mutex, ThreadId, this_thread};
use crate::base::wait_policy::WaitPolicy;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// How an attempt ended.
pub(super) enum Ending<V, E> {
    Built(Arc<Entry<V>>),
    Failed(E),
    /// The builder panicked. Nothing is known of the value.
    Abandoned,
}

/// An attempt under way.
pub(super) struct Flight<V, E> {
    builder: ThreadId,
    /// Written once, by the builder.
    ending: Mutex<Option<Arc<Ending<V, E>>>>,
    ended: Condvar,
}

impl<V, E> Flight<V, E> {
    pub(super) fn new(builder: ThreadId) -> Self {
        Self { builder, ending: Mutex::new(Rank::CacheFlight, None), ended: Condvar::default() }
    }

    /// Ends the attempt for those who wait.
    pub(super) fn tell(&self, ending: Arc<Ending<V, E>>) {
        *self.ending.lock() = Some(ending);
        self.ended.notify_all();
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// That the time is over. The caller then [leaves](Flights::leave).
    pub(super) fn wait(&self, policy: WaitPolicy) -> Result<Arc<Ending<V, E>>> {
        let mut ending = self.ending.lock();
        loop {
            if let Some(ending) = &*ending {
                return Ok(Arc::clone(ending));
            }
            let left = policy.left();
            if left == Some(Duration::ZERO) {
                return Err(policy.over());
            }
            ending = self.ended.wait(ending, left);
        }
    }
}

/// Who waits for which attempt. The thread that ends an attempt takes out those who wait for it, so nobody is listed
/// here who is about to go on.
pub(super) struct Flights<V, E>(Vec<(ThreadId, Arc<Flight<V, E>>)>);

impl<V, E> Default for Flights<V, E> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V, E> Flights<V, E> {
    /// Whether a thread that waits for an attempt waits for itself: the attempt is its own, or its builder waits,
    /// directly or through others, for one of the thread's. This ends, since nobody joins who would close a circle.
    pub(super) fn would_never_end(&self, thread: ThreadId, flight: &Arc<Flight<V, E>>) -> bool {
        let mut builder = flight.builder;
        loop {
            if builder == thread {
                return true;
            }
            match self.0.iter().find(|(waiting, _)| *waiting == builder) {
                Some((_, awaited)) => builder = awaited.builder,
                None => return false,
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn join(&mut self, thread: ThreadId, flight: &Arc<Flight<V, E>>) {
        self.0.push((thread, Arc::clone(flight)));
    }

    /// The calling thread waits no more.
    pub(super) fn leave(&mut self, flight: &Flight<V, E>) {
        let me = this_thread();
        self.0.retain(|(thread, awaited)| *thread != me || !std::ptr::eq(&**awaited, flight));
    }

    /// The attempt is over.
    pub(super) fn end(&mut self, flight: &Flight<V, E>) {
        self.0.retain(|(_, awaited)| !std::ptr::eq(&**awaited, flight));
    }
}

/// The right, and the duty, to build a value. Dropped without having done it, by a panic, it lets somebody else.
pub(super) struct Attempt<'a, K: Hash + Eq, V, E> {
    cache: &'a Cache<K, V, E>,
    key: Arc<K>,
    flight: Arc<Flight<V, E>>,
    ended: bool,
}

impl<'a, K: Hash + Eq, V, E> Attempt<'a, K, V, E> {
    pub(super) fn new(cache: &'a Cache<K, V, E>, key: Arc<K>, flight: Arc<Flight<V, E>>) -> Self {
        Self { cache, key, flight, ended: false }
    }

    /// Builds it, with nothing locked.
    pub(super) fn run(mut self, build: impl FnOnce() -> Result<V, E>) -> Result<Arc<Entry<V>>, E>
    where
        E: Clone,
    {
        let built = build().map(|value| {
            let bytes = (self.cache.weigh)(&self.key, &value);
            Arc::new(Entry { value, bytes, made: AtomicU64::new(0), used: AtomicU64::new(0) })
        });
        let ending = match &built {
            Ok(entry) => Ending::Built(Arc::clone(entry)),
            Err(error) => Ending::Failed(error.clone()),
        };
        self.ended = true;
        self.cache.end(&self.key, &self.flight, ending);
        built
    }
}

impl<K: Hash + Eq, V, E> Drop for Attempt<'_, K, V, E> {
    fn drop(&mut self) {
        if !self.ended {
            self.cache.end(&self.key, &self.flight, Ending::Abandoned);
        }
    }
}
