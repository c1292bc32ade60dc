//! Which standard streams the command was started without.
//!
//! Rust's own start opens /dev/null, to read and write, in place of each standard stream that is closed. After that
//! nothing tells `>&-` from a parent that hands over /dev/null opened so, as Python's and Node's do when output is not
//! wanted. So it is looked at before: the linker has the function below run ahead of Rust's start.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, fcntl_getfd};
use rustix::stdio;

/// Standard input, output and error: whether each was closed.
static CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

// The word in the attribute says that std is not there yet. The function uses nothing of it: three system calls that
// read a number each, and stores.
ctor::declarative::ctor! {
    #[ctor(unsafe)]
    fn look() {
        for (stream, closed) in [stdio::stdin(), stdio::stdout(), stdio::stderr()].into_iter().zip(&CLOSED) {
            // Relaxed: there is no other thread yet.
            closed.store(fcntl_getfd(stream) == Err(Errno::BADF), Ordering::Relaxed);
        }
    }
}

/// Whether this standard stream (0, 1 or 2) was closed when the command was started.
pub fn was_closed(stream: usize) -> bool {
    CLOSED[stream].load(Ordering::Relaxed)
}
