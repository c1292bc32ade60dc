//! The reaper: one thread for each device, which settles finished work that nobody waits for and submits what somebody
//! asked for without waiting. It takes no hazard, and a submit lock only if it is free.

use crate::device::DeviceCore;
use crate::patience::Patience;
use crate::sync::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::thread::ThreadId;
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

/// Starts the reaper. It holds the device only while it works, and ends when the device is gone, lost or closed.
pub(crate) fn start(core: &Arc<DeviceCore>) -> Result<()> {
    let (weak, hal) = (Arc::downgrade(core), Arc::clone(&core.hal));
    // Nothing is ever sent: that the sender is dropped says that the reaper has ended.
    let (running, ended) = std::sync::mpsc::channel::<std::convert::Infallible>();
    let body = move || {
        let _running = running;
        // Dropped before that: whoever waits for the end may be about to unload the driver.
        let hal = hal;
        run(&weak, &*hal);
    };
    let thread = std::thread::Builder::new().name("thalweg-reaper".into()).spawn(body);
    let refused = |source| Error::Thread { device: core.hal.info().name.clone(), source: Arc::new(source) };
    let thread = thread.map_err(refused)?.thread().id();
    *core.reaper.lock() = Some(Reaper { thread, ended });
    Ok(())
}

/// The thread, for whoever waits for its end.
#[derive(Debug)]
pub(crate) struct Reaper {
    thread: ThreadId,
    ended: Receiver<std::convert::Infallible>,
}

impl Reaper {
    /// Waits until it has ended, if the patience lasts. It has been told to.
    pub(crate) fn join(&self, patience: Patience) {
        // A waker may close the device.
        if self.thread != std::thread::current().id() {
            // Both answers are errors: that it has ended, and that the time is over.
            let _ = match patience.left() {
                None => self.ended.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(left) => self.ended.recv_timeout(left),
            };
        }
    }

    /// Whether it has ended. Does not wait.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.ended.try_recv(), Err(TryRecvError::Disconnected))
    }
}

fn run(core: &Weak<DeviceCore>, hal: &dyn Device) {
    let mut watch = Vec::new();
    loop {
        let Some(alive) = core.upgrade() else { return };
        let Round { wakers, over } = round(&alive, &mut watch);
        drop(alive);
        for waker in wakers {
            // A waker that panics is its executor's defect; the others are woken all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        if over {
            return;
        }
        if let Err(error) = hal.wait_any(&watch, None) {
            core.upgrade().into_iter().for_each(|alive| alive.lose(error.clone()));
        }
    }
}

/// What came of a look at all streams.
pub(crate) struct Round {
    /// Tasks to wake, with nothing locked.
    pub(crate) wakers: Vec<Waker>,
    /// The device is lost or closed: this was the last round.
    over: bool,
}

/// One look at all streams. What to wait for before the next is left in `watch`.
pub(crate) fn round(core: &DeviceCore, watch: &mut Vec<Wait>) -> Round {
    watch.clear();
    // A backend that panics has broken its contract: nobody may wait for it any more.
    if catch_unwind(AssertUnwindSafe(|| look(core, watch))).is_err() {
        core.lose(Error::DeviceLost { device: core.hal.info().name.clone() });
    }
    let over = core.life.is_lost() || core.life.is_closed();
    let mut wakers = Vec::new();
    for stream in core.streams() {
        // Where nothing more will happen, everybody has reached what they wait for.
        let (submitted, settled) = if over { (u64::MAX, u64::MAX) } else { (stream.submitted(), stream.settled()) };
        stream.waiters.take_reached(submitted, settled, &mut wakers);
    }
    Round { wakers, over }
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
