//! The only door to the locks and atomics that protocols are made of; `--cfg loom` swaps what is behind it. (Tables
//! that are filled once use the standard library's `OnceLock`.)
//!
//! `Arc` is always the standard library's: a loom `Arc` cannot hold a trait object, and the HAL's traits are handed
//! around as such. Nothing here relies on a reference count for ordering.

#[cfg(loom)]
pub(crate) use loom::sync::atomic;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic;

#[cfg(loom)]
use loom::sync as imp;
#[cfg(not(loom))]
use std::sync as imp;

#[cfg(loom)]
pub(crate) use loom::thread::yield_now;
#[cfg(not(loom))]
pub(crate) use std::thread::yield_now;

use super::rank::{Held, Place, Rank};
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

/// A mutex without poisoning: no user code runs under a lock of the runtime (I8; keys of caches run under one of
/// another kind), and every critical section leaves its data consistent at each point where it could unwind.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    place: Place,
    inner: imp::Mutex<T>,
}

impl<T> Mutex<T> {
    /// A lock of a rank of which nobody holds two.
    pub(crate) fn new(rank: Rank, value: T) -> Self {
        Self::with_id(rank, 0, value)
    }

    /// A lock of a rank of which somebody may hold several, taken by rising id.
    pub(crate) fn with_id(rank: Rank, id: u64, value: T) -> Self {
        Self { place: Place::new(rank, id), inner: imp::Mutex::new(value) }
    }

    #[track_caller]
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.place.check();
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Guard { inner, held: self.place.enter() }
    }

    /// `None` if somebody holds it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let inner = match self.inner.try_lock() {
            Ok(guard) => guard,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        Some(Guard { inner, held: self.place.enter() })
    }

    #[cfg(not(loom))]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(loom)]
    pub(crate) fn get_mut(&mut self) -> MutexGuard<'_, T> {
        self.lock()
    }
}

/// What a lock guards, until this is dropped. The lock is let go before it stops to count as held.
#[derive(Debug)]
pub(crate) struct Guard<G> {
    inner: G,
    held: Held,
}

pub(crate) type MutexGuard<'a, T> = Guard<imp::MutexGuard<'a, T>>;

impl<G: Deref> Deref for Guard<G> {
    type Target = G::Target;

    #[inline]
    fn deref(&self) -> &G::Target {
        &self.inner
    }
}

impl<G: DerefMut> DerefMut for Guard<G> {
    #[inline]
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.inner
    }
}

/// A lock that any number of readers share, likewise without poisoning.
#[derive(Debug)]
pub(crate) struct RwLock<T> {
    place: Place,
    inner: imp::RwLock<T>,
}

impl<T> RwLock<T> {
    pub(crate) fn new(rank: Rank, value: T) -> Self {
        Self { place: Place::new(rank, 0), inner: imp::RwLock::new(value) }
    }

    #[track_caller]
    pub(crate) fn read(&self) -> Guard<imp::RwLockReadGuard<'_, T>> {
        self.place.check();
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        Guard { inner, held: self.place.enter() }
    }

    #[track_caller]
    pub(crate) fn write(&self) -> Guard<imp::RwLockWriteGuard<'_, T>> {
        self.place.check();
        let inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        Guard { inner, held: self.place.enter() }
    }
}

#[cfg(loom)]
pub(crate) use loom::thread::ThreadId;
#[cfg(not(loom))]
pub(crate) use std::thread::ThreadId;

/// The thread that calls.
#[cfg(not(loom))]
pub(crate) fn this_thread() -> ThreadId {
    std::thread::current().id()
}

/// The thread of the model that calls.
#[cfg(loom)]
pub(crate) fn this_thread() -> ThreadId {
    loom::thread::current().id()
}

/// How hash tables hash: with secrets of their own, against keys that were chosen to collide.
#[cfg(not(loom))]
pub(crate) type Hashing = std::collections::hash_map::RandomState;

/// The same every time: loom replays an execution, and has to find what the execution found.
#[cfg(loom)]
pub(crate) type Hashing = std::hash::BuildHasherDefault<std::collections::hash_map::DefaultHasher>;

/// A condition variable for [`Mutex`].
#[derive(Debug, Default)]
pub(crate) struct Condvar(imp::Condvar);

impl Condvar {
    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits for a notification, at most as long as `timeout` says. Like any such wait it may end without one.
    #[cfg(not(loom))]
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Option<Duration>) -> MutexGuard<'a, T> {
        guard.held.check_again();
        let Guard { inner, held } = guard;
        let inner = match timeout {
            None => self.0.wait(inner).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => self.0.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner).0,
        };
        Guard { inner, held }
    }

    /// loom's own waits never time out; here one with a timeout always does.
    #[cfg(loom)]
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Option<Duration>) -> MutexGuard<'a, T> {
        let Guard { inner, held } = guard;
        let wait = |inner| self.0.wait(inner).unwrap_or_else(PoisonError::into_inner);
        Guard { inner: if timeout.is_none() { wait(inner) } else { inner }, held }
    }
}
