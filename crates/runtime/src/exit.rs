//! The end of the process: what is on a device is waited for before its driver goes.
//!
//! A driver's own handlers for the exit were registered when it was loaded, before any device was opened, and so before ours;
//! handlers run the last first. So our threads have left the driver when it is torn down.

use crate::device::DeviceCore;
use crate::patience::Patience;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How long the exit waits for what is on the devices: longer than any list should take, and no longer than somebody would
/// watch a program that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The devices that may be open. (Not through `sync`: it is no part of the protocols, and a `static`.)
static DEVICES: Mutex<Vec<Weak<DeviceCore>>> = Mutex::new(Vec::new());

/// Has the devices closed at the exit. Called when the driver has been loaded.
pub(crate) fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    thalweg_hal::process::watch_forks();
    // Relaxed: only who is first matters.
    if !WATCHED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handler does not unwind, and is never unloaded, since Rust libraries are not.
        let refused = unsafe { libc::atexit(at_exit) };
        // ENOMEM, from a process that could not have opened a device either.
        debug_assert_eq!(refused, 0);
    }
}

/// Enters an open device.
pub(crate) fn enter(core: &Arc<DeviceCore>) {
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    devices.retain(|device| device.strong_count() > 0);
    devices.push(Arc::downgrade(core));
}

extern "C" fn at_exit() {
    // A forked child has none of the threads that could be waited for.
    if thalweg_hal::process::forked() {
        return;
    }
    let patience = Patience::of(Some(PATIENCE));
    let devices = std::mem::take(&mut *DEVICES.lock().unwrap_or_else(PoisonError::into_inner));
    for device in devices.iter().filter_map(Weak::upgrade) {
        // Nobody is left to be told: not of a panic, which must not leave this function, nor of what has not run. What was
        // recorded and not submitted has nobody to read it.
        let _ = catch_unwind(AssertUnwindSafe(|| device.close(patience, false)));
        // Other threads may still use it.
        std::mem::forget(device);
    }
}
