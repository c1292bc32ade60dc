//! How the host waits: it looks, and sleeps until something has changed.

use crate::sync::{Condvar, Mutex, lock};
use std::sync::PoisonError;
use std::time::Instant;

/// Wakes threads that wait for something which they look at without a lock.
#[derive(Default)]
pub struct Bell {
    /// A thread holds it while it looks, before it sleeps; a thread that has changed something takes it for a moment. A
    /// look that did not see the change has begun to sleep, and is woken.
    looking: Mutex<()>,
    changed: Condvar,
}

impl Bell {
    /// Something has changed that may be waited for.
    pub fn ring(&self) {
        drop(lock(&self.looking));
        self.changed.notify_all();
    }

    /// Waits until what is looked at is so, or the time is over. `is_so` is called with the bell's lock held.
    pub fn wait_until(&self, deadline: Option<Instant>, is_so: impl Fn() -> bool) {
        let mut looking = lock(&self.looking);
        while !is_so() {
            looking = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(looking).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return,
                Some(left) => {
                    let waited = self.changed.wait_timeout(looking, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
