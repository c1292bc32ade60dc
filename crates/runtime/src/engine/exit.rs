//! The end of the process: what is on a device is waited for before its driver goes.
//!
//! A driver's own handlers for the exit were registered when it was loaded, by the time that its first device was open,
//! and so before ours; handlers run the last first. (A driver that is loaded later has handlers that run earlier; so
//! there is one of ours for each driver, and another whenever the number of its devices has doubled.) So our threads
//! have left the driver when it is torn down. That goes for devices that are gone, too: dropping the last handle of one
//! waits neither for what it runs nor for its thread.
//!
//! What a driver registers after that, nothing of ours can come before. Mesa's that computes on the processor compiles
//! a kernel when it first runs, on a thread of its own, and its compiler may then register its destructors: a process
//! that opens one device, and ends during such a run, may crash in there. Closing the device before the exit helps
//! ([`Device::close`](crate::Device::close)).

use super::Engine;
use super::reaper::Reaper;
use crate::base::wait_policy::WaitPolicy;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use thalweg_hal::TimelinePoint;

/// How long the exit waits for what is on the devices: longer than any list should take, and no longer than somebody
/// would watch a program that hangs.
const LONGEST: Duration = Duration::from_secs(2);

/// The devices that the exit has to do with. (Not through `sync`: it is no part of the protocols, and a `static`.)
static DEVICES: Mutex<Devices> = Mutex::new(Devices { open: Vec::new(), left: Vec::new() });
/// Notified when one moves from `open` to `left`.
static LEAVING: Condvar = Condvar::new();

struct Devices {
    /// Those that can be used, and those that lose their last handle at this moment.
    open: Vec<Weak<Engine>>,
    /// What others have left.
    left: Vec<Left>,
}

fn devices() -> MutexGuard<'static, Devices> {
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is still there of a device after the drop of its last handle.
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

    fn wait(&self, policy: WaitPolicy) {
        for TimelinePoint { timeline, value } in &self.lists {
            // What keeps it from ending is not told to anybody: see `at_exit`.
            let _ = timeline.wait(*value, policy.left());
        }
        self.reaper.iter().for_each(|reaper| reaper.join(policy));
    }
}

/// The drivers that have been loaded ([`DeviceInfo::driver`]), and how many devices of each were opened. No driver at
/// all, as for the processor, counts as one.
///
/// [`DeviceInfo::driver`]: thalweg_hal::DeviceInfo::driver
static WATCHED: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
/// How many handlers there are.
#[cfg(test)]
static REGISTERED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Has the devices closed at the exit. Called for each device that has been opened: its driver may have been loaded
/// just now, after another one's device was opened. And a driver may register more when it first runs something: with
/// one handler a driver, the case `exit_main_returns_while_it_hangs_vulkan` did not end in 8 of 30 runs. So there is
/// another handler whenever the number of its devices has doubled, which is a few, however many are opened.
pub(crate) fn watch(driver: &str) {
    thalweg_hal::process::watch_forks();
    // Held for the registration, so that nobody goes on with a device of the driver before there is a handler.
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let opened = watched.entry(driver.to_owned()).or_default();
    *opened += 1;
    if !opened.is_power_of_two() {
        return;
    }
    // SAFETY: the handler does not unwind, and is never unloaded, since Rust libraries are not.
    let refused = unsafe { libc::atexit(at_exit) };
    // ENOMEM, from a process that could not have opened a device either.
    debug_assert_eq!(refused, 0);
    #[cfg(test)]
    REGISTERED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

/// Enters an open device.
pub(crate) fn enter(engine: &Arc<Engine>) {
    devices().open.push(Arc::downgrade(engine));
}

/// Enters what a device leaves that is being dropped. Forgets what others have left that is over by now, so that there
/// are no more of them than there are devices that have not come to their end.
pub(crate) fn leave(engine: &Engine, lists: Vec<TimelinePoint>, reaper: Option<Reaper>) {
    let mut devices = devices();
    devices.open.retain(|device| !std::ptr::eq(device.as_ptr(), engine));
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
    static POLICY: OnceLock<WaitPolicy> = OnceLock::new();
    let policy = *POLICY.get_or_init(|| WaitPolicy::of(Some(LONGEST)));
    let open: Vec<_> = devices().open.iter().filter_map(Weak::upgrade).collect();
    for device in open {
        // Nobody is left to be told: not of a panic, which must not leave this function, nor of what has not run.
        let _ = catch_unwind(AssertUnwindSafe(|| device.close(policy)));
        // Other threads may still use it.
        std::mem::forget(device);
    }
    let left = wait_for_leaving(policy);
    let _ = catch_unwind(AssertUnwindSafe(|| left.iter().for_each(|left| left.wait(policy))));
}

/// What the devices have left that are gone, once those have left that other threads are dropping.
fn wait_for_leaving(policy: WaitPolicy) -> Vec<Left> {
    let is_leaving = |devices: &mut Devices| devices.open.iter().any(|device| device.strong_count() == 0);
    let left = policy.left().unwrap_or(LONGEST);
    let waited = LEAVING.wait_timeout_while(devices(), left, is_leaving);
    std::mem::take(&mut waited.unwrap_or_else(PoisonError::into_inner).0.left)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Config, Device};
    use std::sync::atomic::Ordering;
    use thalweg_doubles::mock::{MockConfig, MockDevice};

    // audit: C22
    #[test]
    fn a_thousand_devices_have_few_handlers() {
        for _ in 0..1000 {
            let device = Device::new(MockDevice::new(MockConfig::default()), Config::default()).unwrap();
            drop((Device::new(thalweg_cpu::CpuDevice::open().unwrap(), Config::default()).unwrap(), device));
        }
        let watched = WATCHED.lock().unwrap();
        assert!(watched["mock"] >= 1000 && watched[""] >= 1000, "{watched:?}");
        // One, and one for each doubling; other tests of this process have opened others.
        let handlers: usize = watched.values().map(|opened| opened.ilog2() as usize + 1).sum();
        assert_eq!(REGISTERED.load(Ordering::Relaxed), handlers, "{watched:?}");
    }
}
