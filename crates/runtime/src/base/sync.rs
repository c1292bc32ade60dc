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

pub(crate) use imp::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};
use std::sync::PoisonError;
use std::time::Duration;

/// A mutex without poisoning: no user code runs under a lock of the runtime (I8; keys of caches run under one of
/// another kind), and every critical section leaves its data consistent at each point where it could unwind.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if somebody holds it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    #[cfg(not(loom))]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(loom)]
    pub(crate) fn get_mut(&mut self) -> MutexGuard<'_, T> {
        self.lock()
    }
}

/// A lock that any number of readers share, likewise without poisoning.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(imp::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
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
        match timeout {
            None => self.0.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// loom's own waits never time out; here one with a timeout always does.
    #[cfg(loom)]
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Option<Duration>) -> MutexGuard<'a, T> {
        if timeout.is_none() { self.0.wait(guard).unwrap_or_else(PoisonError::into_inner) } else { guard }
    }
}
