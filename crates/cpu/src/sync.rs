//! Locks without poison, and waits with a deadline. `--cfg loom` swaps what is behind the locks, the atomics and the
//! parking of a thread, of which the protocols are made.

#[cfg(loom)]
pub use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
use std::sync::PoisonError;
#[cfg(not(loom))]
pub use std::sync::{Condvar, Mutex, MutexGuard, atomic};
use std::time::{Duration, Instant};

/// Locks. Poison is ignored: no user code runs under a lock of this crate, and each critical section leaves its data
/// whole at every point where it could unwind.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where one thread, which made it, waits until another wakes it.
pub struct Parking {
    #[cfg(not(loom))]
    thread: std::thread::Thread,
    /// loom's `unpark` also wakes a thread that waits for a lock, which has not got it then.
    #[cfg(loom)]
    notify: loom::sync::Notify,
}

impl Parking {
    /// Of the calling thread.
    pub fn new() -> Self {
        Self {
            #[cfg(not(loom))]
            thread: std::thread::current(),
            #[cfg(loom)]
            notify: loom::sync::Notify::new(),
        }
    }

    /// Returns when it has been woken since it last did, or for no reason.
    pub fn park(&self) {
        #[cfg(not(loom))]
        std::thread::park();
        #[cfg(loom)]
        self.notify.wait();
    }

    /// Wakes the thread, now or when it next parks.
    pub fn unpark(&self) {
        #[cfg(not(loom))]
        self.thread.unpark();
        #[cfg(loom)]
        self.notify.notify();
    }
}

/// The end of a timeout that starts now; `None` if there is none, or if it is past what the clock can say.
pub fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// Waits for a notification until the deadline, if there is one. `None` once the deadline is past. Like any wait on a
/// condition variable it may return without a notification.
pub fn wait_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> Option<MutexGuard<'a, T>> {
    let Some(deadline) = deadline else { return Some(condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)) };
    let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
    Some(condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0)
}
