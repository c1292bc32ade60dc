//! The reaper: one thread for each device, which settles finished work that nobody waits for and submits what somebody
//! asked for without waiting. It takes no hazard, and a submit lock only if it is free.

use crate::device::DeviceCore;
use crate::sync::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use thalweg_hal::{Device, Error, Result, Timeline, Wait};

/// Wakes the reaper. A timeline that the host signals, so that it can be waited for beside the streams'.
#[derive(Debug)]
pub(crate) struct Doorbell {
    timeline: Arc<dyn Timeline>,
    state: Mutex<Rings>,
}

#[derive(Debug, Default)]
struct Rings {
    /// The timeline's value.
    count: u64,
    /// Rung since the reaper last listened. Part of the same state as the count: cleared on its own, a ring that came
    /// between the two would be counted and never heard.
    rung: bool,
}

impl Doorbell {
    pub(crate) fn new(timeline: Arc<dyn Timeline>) -> Self {
        Self { timeline, state: Mutex::default() }
    }

    /// Makes the reaper look at everything that was done before this call.
    pub(crate) fn ring(&self) {
        let mut state = self.state.lock();
        // If it is rung already, the reaper has yet to look.
        if !state.rung {
            state.rung = true;
            state.count += 1;
            self.timeline.signal(state.count);
        }
    }

    /// What to wait for to hear the next ring. Whoever calls this looks at the streams afterwards.
    pub(crate) fn listen(&self) -> Wait {
        let mut state = self.state.lock();
        state.rung = false;
        Wait { timeline: Arc::clone(&self.timeline), value: state.count + 1 }
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
        let Some(alive) = core.upgrade() else { return };
        watch.clear();
        // A backend that panics has broken its contract: nobody may wait for it any more.
        if catch_unwind(AssertUnwindSafe(|| look(&alive, &mut watch))).is_err() {
            return alive.lose(Error::DeviceLost { device: hal.info().name.clone() });
        }
        drop(alive);
        if let Err(error) = hal.wait_any(&watch, None) {
            return core.upgrade().into_iter().for_each(|alive| alive.lose(error.clone()));
        }
    }
}

/// Does what there is to do, and collects what to wait for.
fn look(core: &DeviceCore, watch: &mut Vec<Wait>) {
    watch.push(core.doorbell.listen());
    core.submit_deferred();
    for stream in core.streams() {
        // Up to whatever has completed; an edge that is open settles first, and then wakes us.
        let _ = stream.retire(core, u64::MAX);
        if let Some(value) = stream.retiring.next() {
            watch.push(Wait { timeline: Arc::clone(&stream.timeline), value });
        }
    }
}
