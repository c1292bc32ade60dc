//! Forks. A child has the parent's memory and none of its threads: a lock that somebody held is held for ever, and
//! nothing submitted ever completes. So it is told apart before any lock is taken, also when something is dropped.

use std::sync::atomic::{AtomicBool, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);

/// Whether this process was forked from one that had called [`watch_forks`]. Costs a load.
pub fn forked() -> bool {
    // Relaxed: stored by the only thread of the child before it goes on.
    FORKED.load(Ordering::Relaxed)
}

/// From now on children of this process know that they are. Called when a device is opened. Does nothing where there is
/// no `fork`.
pub fn watch_forks() {
    #[cfg(unix)]
    {
        extern "C" fn in_child() {
            FORKED.store(true, Ordering::Relaxed);
        }
        static WATCHED: AtomicBool = AtomicBool::new(false);
        // Relaxed: only who is first matters. Not a `Once`, which a child could find half done.
        if !WATCHED.swap(true, Ordering::Relaxed) {
            // SAFETY: the handler stores to an atomic and does nothing else, which is allowed in a child; it is never
            // unloaded, since Rust libraries are not.
            let refused = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
            // ENOMEM, from a process that could not have opened a device either.
            debug_assert_eq!(refused, 0);
        }
    }
}
