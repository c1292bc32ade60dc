//! SIGINT (Ctrl-C) and SIGTERM: the first asks to end in order, the second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// Calls `first` on a thread of its own at the first SIGINT or SIGTERM; any later one ends the process with code 1.
///
/// Nothing of ours runs in signal context: the handlers set a flag and write to a pipe that the thread reads. The
/// thread lives as long as the process.
///
/// # Errors
///
/// When the system refuses the handlers or the thread.
pub fn on_first(first: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Handlers run in the order of registration: the shutdown looks at the flag before this signal sets it.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("thalweg-signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            first();
        }
    })?;
    Ok(())
}
