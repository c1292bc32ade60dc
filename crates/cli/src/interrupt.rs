//! SIGINT (Ctrl-C), SIGTERM and SIGHUP: the first asks to end in order, the second ends at once. What the parent has
//! ignored stays so: `nohup` does that, and a shell for jobs in the background.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::{fs, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// Calls `first` on a thread of its own at the first SIGINT, SIGTERM or SIGHUP; any later one ends the process with
/// code 1. Those that the parent ignores are left ignored.
///
/// Nothing of ours runs in signal context: the handlers set a flag and write to a pipe that the thread reads. The
/// thread lives as long as the process.
///
/// # Errors
///
/// When the system refuses the handlers or the thread.
pub fn on_first(first: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let signals: Vec<i32> = [("INT", SIGINT), ("TERM", SIGTERM), ("HUP", SIGHUP)]
        .into_iter()
        .filter(|signal| !is_ignored(*signal))
        .map(|signal| signal.1)
        .collect();
    let asked = Arc::new(AtomicBool::new(false));
    for &signal in &signals {
        // Handlers run in the order of registration: the shutdown looks at the flag before this signal sets it.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    let mut signals = Signals::new(signals)?;
    thread::Builder::new().name("thalweg-signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            first();
        }
    })?;
    Ok(())
}

/// Has a write past the limit on a file's size fail, as one to a full disk does, in place of a signal that ends the
/// process in the middle of a line.
///
/// # Errors
///
/// When the system refuses the handler.
pub fn let_long_files_fail() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Whether the signal, by name and number, was ignored when the process was started. Linux says so in a file; where
/// there is none, a shell is asked, which cannot trap what was ignored when it was started, and so does not see it.
fn is_ignored(signal: (&str, i32)) -> bool {
    match fs::read_to_string("/proc/self/status") {
        Ok(status) => is_in_mask(&status, signal.1),
        Err(_) => does_shell_ignore(signal.0),
    }
}

fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

fn does_shell_ignore(name: &str) -> bool {
    let script = format!("trap 'exit 1' {name}; kill -{name} $$; exit 0");
    let shell = Command::new("/bin/sh").arg("-c").arg(script).stdin(Stdio::null()).stdout(Stdio::null()).status();
    shell.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_bit_in_the_mask() {
        let status = "Name:\tx\nSigIgn:\t0000000000001002\nSigCgt:\t0000000000004001\n";
        assert!(is_in_mask(status, SIGINT) && !is_in_mask(status, SIGHUP) && !is_in_mask(status, SIGTERM));
        assert!(!is_in_mask("Name:\tx\n", SIGINT) && !is_in_mask("SigIgn:\tx\n", SIGINT));
    }

    #[test]
    fn both_ways_to_ask_agree() {
        // Rust's start ignores SIGPIPE, but the processes that it starts do not.
        for signal in [("INT", SIGINT), ("TERM", SIGTERM), ("HUP", SIGHUP)] {
            assert_eq!(is_ignored(signal), does_shell_ignore(signal.0));
        }
    }
}
