//! The end of the process: what is on a device is waited for before its driver goes.
//!
//! A driver's own handlers for the exit were registered when it was loaded, before any device was opened, and so before
//! ours; handlers run the last first. (A driver that is loaded later has handlers that run earlier; so there is one of
//! ours for each device that has a driver.) So our threads have left the driver when it is torn down. That goes for
//! devices that are gone, too: dropping the last handle of one waits neither for what it runs nor for its thread.
//!
//! What a driver registers after that, nothing of ours can come before. Mesa's that computes on the processor compiles
//! a kernel when it first runs, on a thread of its own, and its compiler may then register its destructors: a process
//! that ends during such a run may crash in there. Closing the device before the exit helps
//! ([`Device::close`](crate::Device::close)).

use crate::device::DeviceCore;
use crate::patience::Patience;
use crate::reaper::Reaper;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use thalweg_hal::{DeviceKind, TimelinePoint};

/// How long the exit waits for what is on the devices: longer than any list should take, and no longer than somebody
/// would watch a program that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The devices that the exit has to do with. (Not through `sync`: it is no part of the protocols, and a `static`.)
static DEVICES: Mutex<Devices> = Mutex::new(Devices { open: Vec::new(), left: Vec::new() });
/// Notified when one moves from `open` to `left`.
static LEAVING: Condvar = Condvar::new();

struct Devices {
    /// Those that can be used, and those whose last handle is being dropped at this moment.
    open: Vec<Weak<DeviceCore>>,
    /// What others have left.
    left: Vec<Left>,
}

fn devices() -> MutexGuard<'static, Devices> {
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is still there of a device whose last handle has been dropped.
struct Left {
    /// Its last lists, stream by stream.
    lists: Vec<TimelinePoint>,
    /// Its thread, which has been told to end; `None` if that has been waited for.
    reaper: Option<Reaper>,
}

impl Left {
    fn is_over(&self) -> bool {
        self.reaper.as_ref().is_none_or(Reaper::has_ended) && self.lists.iter().all(TimelinePoint::is_reached)
    }

    fn wait(&self, patience: Patience) {
        for TimelinePoint { timeline, value } in &self.lists {
            // What keeps it from ending is not told to anybody: see `at_exit`.
            let _ = timeline.wait(*value, patience.left());
        }
        self.reaper.iter().for_each(|reaper| reaper.join(patience));
    }
}

/// Has the devices closed at the exit. Called when the driver has been loaded: for each device that has one, since it
/// may have been loaded just now, after another device was opened. The processor has none, and is watched once.
pub(crate) fn watch(kind: DeviceKind) {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    thalweg_hal::process::watch_forks();
    // Relaxed: only who is first matters.
    if !WATCHED.swap(true, Ordering::Relaxed) || kind != DeviceKind::Cpu {
        // SAFETY: the handler does not unwind, and is never unloaded, since Rust libraries are not.
        let refused = unsafe { libc::atexit(at_exit) };
        // ENOMEM, from a process that could not have opened a device either.
        debug_assert_eq!(refused, 0);
    }
}

/// Enters an open device.
pub(crate) fn enter(core: &Arc<DeviceCore>) {
    devices().open.push(Arc::downgrade(core));
}

/// Enters what a device leaves that is being dropped. Forgets what others have left that is over by now, so that there
/// are no more of them than there are devices that have not come to their end.
pub(crate) fn leave(core: &DeviceCore, lists: Vec<TimelinePoint>, reaper: Option<Reaper>) {
    let mut devices = devices();
    devices.open.retain(|device| !std::ptr::eq(device.as_ptr(), core));
    let over: Vec<Left> = devices.left.extract_if(.., |left| left.is_over()).collect();
    devices.left.push(Left { lists, reaper });
    drop(devices);
    LEAVING.notify_all();
    drop(over); // with nothing locked: it may be the last that holds a driver's objects
}

extern "C" fn at_exit() {
    // A forked child has none of the threads that could be waited for.
    if thalweg_hal::process::forked() {
        return;
    }
    // Called more than once, the exit takes no longer.
    static PATIENT: OnceLock<Patience> = OnceLock::new();
    let patience = *PATIENT.get_or_init(|| Patience::of(Some(PATIENCE)));
    let open: Vec<_> = devices().open.iter().filter_map(Weak::upgrade).collect();
    for device in open {
        // Nobody is left to be told: not of a panic, which must not leave this function, nor of what has not run.
        let _ = catch_unwind(AssertUnwindSafe(|| device.close(patience)));
        // Other threads may still use it.
        std::mem::forget(device);
    }
    let left = wait_for_leaving(patience);
    let _ = catch_unwind(AssertUnwindSafe(|| left.iter().for_each(|left| left.wait(patience))));
}

/// What the devices have left that are gone, once those have left that other threads are dropping.
fn wait_for_leaving(patience: Patience) -> Vec<Left> {
    let is_leaving = |devices: &mut Devices| devices.open.iter().any(|device| device.strong_count() == 0);
    let left = patience.left().unwrap_or(PATIENCE);
    let waited = LEAVING.wait_timeout_while(devices(), left, is_leaving);
    std::mem::take(&mut waited.unwrap_or_else(PoisonError::into_inner).0.left)
}
