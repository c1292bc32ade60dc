//! The reaper: one thread for each device, which settles finished work that nobody waits for and submits what somebody
//! asked for without waiting. It takes no hazard, and a submit lock only if it is free.

use crate::device::DeviceCore;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use thalweg_hal::{Device, Error, Result, Timeline, Wait};

/// Wakes the reaper. A timeline that the host signals, so that it can be waited for beside the streams'.
#[derive(Debug)]
pub(crate) struct Doorbell {
    timeline: Arc<dyn Timeline>,
    /// Rung since the reaper last looked. Set by ringers, cleared by the reaper.
    rung: AtomicBool,
    /// The timeline's value.
    rings: Mutex<u64>,
}

impl Doorbell {
    pub(crate) fn new(timeline: Arc<dyn Timeline>) -> Self {
        Self { timeline, rung: AtomicBool::new(false), rings: Mutex::new(0) }
    }

    /// Makes the reaper look at everything that was done before this call.
    pub(crate) fn ring(&self) {
        // AcqRel: pairs with the swap in `listen`. If the bell is rung already, the reaper has yet to look, and will
        // see what this thread did before.
        if !self.rung.swap(true, Ordering::AcqRel) {
            let mut rings = self.rings.lock();
            *rings += 1;
            self.timeline.signal(*rings);
        }
    }

    /// What to wait for to hear the next ring. Whoever calls this looks at the streams afterwards.
    fn listen(&self) -> Wait {
        // AcqRel: pairs with the swap in `ring`. Cleared before the counter is read: a ring from here on is heard.
        self.rung.swap(false, Ordering::AcqRel);
        Wait { timeline: Arc::clone(&self.timeline), value: *self.rings.lock() + 1 }
    }
}

/// Starts the reaper. It holds the device only while it works, and ends when the device is gone or lost.
pub(crate) fn start(core: &Arc<DeviceCore>) -> Result<()> {
    let (weak, hal) = (Arc::downgrade(core), Arc::clone(&core.hal));
    let thread = std::thread::Builder::new().name("thalweg-reaper".into()).spawn(move || run(&weak, &*hal));
    let refused = |source| Error::Thread { device: core.hal.info().name.clone(), source: Arc::new(source) };
    thread.map(drop).map_err(refused)
}

fn run(core: &Weak<DeviceCore>, hal: &dyn Device) {
    let mut watch = Vec::new();
    loop {
        let Some(core) = core.upgrade() else { return };
        watch.clear();
        watch.push(core.doorbell.listen());
        core.submit_deferred();
        for stream in core.streams() {
            // Up to whatever has completed; an edge that is open settles first, and then wakes us.
            let _ = stream.retire(&core, u64::MAX);
            if let Some(value) = stream.retiring.next() {
                watch.push(Wait { timeline: Arc::clone(&stream.timeline), value });
            }
        }
        drop(core);
        if hal.wait_any(&watch, None).is_err() {
            return; // lost: whoever waits is told by the wait itself
        }
    }
}
