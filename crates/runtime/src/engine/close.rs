//! The end of a device: closed by somebody, lost, or dropped with its last handle.

use super::Engine;
use super::exit;
use crate::base::error::{Error, Result};
use crate::base::sync::atomic::{Ordering, fence};
use crate::base::wait_policy::WaitPolicy;

impl Engine {
    /// Ends everything.
    ///
    /// 1. Nothing is recorded any more: a flag, and each recorder's own, so that what is in a list by now is known.
    /// 2. The lists are submitted and run, until the time is over. So nobody else has anything left to submit.
    /// 3. Nobody waits any more: a flag, and those who wait are woken and find it.
    /// 4. The reaper wakes the tasks that wait, and ends.
    ///
    /// A device that is closed is left alone: a second close gets the same answer, and nothing is submitted.
    pub(crate) fn close(&self, policy: WaitPolicy) -> Result<()> {
        let lists = self.unfinished.get().copied().unwrap_or_else(|| self.run_out(policy));
        if let Some(reaper) = self.reaper.get() {
            reaper.join(policy);
        }
        self.closed(lists)
    }

    /// All of that but the last, and how many lists have not run.
    fn run_out(&self, policy: WaitPolicy) -> u64 {
        self.life.begin_closing();
        // SeqCst: pairs with the fence in `open_stream`.
        fence(Ordering::SeqCst);
        let mut last = Vec::new();
        for stream in self.streams() {
            let mut recorder = stream.recorder.lock();
            recorder.closed = true;
            last.push(recorder.last());
        }
        // All submitted before any is waited for. What is not submitted, or not waited for, in time is counted below.
        last.iter().for_each(|at| drop(self.flush_to(*at, policy)));
        last.iter().for_each(|at| drop(self.wait(*at, policy)));
        let lists = last.iter().map(|at| at.value.saturating_sub(self.settled(at.stream))).sum();
        // If two threads close it at once, the first to get here says how it ended.
        let lists = *self.unfinished.get_or_init(|| lists);
        self.life.end();
        self.wake_waiting();
        lists
    }

    /// The answer to a close.
    fn closed(&self, lists: u64) -> Result<()> {
        if self.life.is_lost() {
            return self.life.check_waits();
        }
        if lists > 0 { Err(Error::Unfinished { lists }) } else { Ok(()) }
    }

    /// Makes all that wait look at the device's state: threads at once, tasks by the reaper.
    fn wake_waiting(&self) {
        self.streams().for_each(|stream| stream.timeline.interrupt());
        self.doorbell.ring();
    }

    /// From now on every wait and every operation answers that the device is lost.
    pub(crate) fn lose(&self, error: thalweg_hal::Error) {
        // A device that refuses for want of memory once too often is as lost as any other: trying again is no use.
        let device = self.hal.info().name.clone();
        let error = if error.is_retryable() { thalweg_hal::Error::DeviceLost { device } } else { error };
        self.life.lose(error);
        // SeqCst: pairs with the fence in `open_stream`, as in `close`.
        fence(Ordering::SeqCst);
        self.wake_waiting();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Wakes the reaper, which then finds the device gone. What is in flight runs on; its lists own what they use.
        self.doorbell.ring();
        // Models have neither lists to wait for nor a thread, and nothing of theirs may be in a `static`.
        if cfg!(not(loom)) {
            let last = self.streams().map(|stream| stream.point(stream.submitted()));
            let lists = last.filter(|list| !list.is_reached()).collect();
            // Queues, memories and pipelines are given back to the driver while the exit still waits for us.
            self.streams = Box::default();
            let segments = self.memory.arena.lock().clear();
            drop(segments); // with nothing locked
            self.pipelines.clear();
            let reaper = self.reaper.take();
            exit::leave(self, lists, reaper);
        }
    }
}
