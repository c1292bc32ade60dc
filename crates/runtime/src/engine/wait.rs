//! Waiting for lists, and what memory asks of them.

use super::Engine;
use crate::base::error::Result;
use crate::base::sync::yield_now;
use crate::base::wait_policy::WaitPolicy;
use crate::memory::lists::Lists;
use crate::order::point::Point;
use std::time::Duration;

/// How long one waits for the device before looking at all streams again: a close does not ring for us.
const TICK: Duration = Duration::from_millis(2);

impl Engine {
    /// Blocks until a list has settled, however it did.
    ///
    /// # Errors
    /// That the time is over, or that it never will, because the device is lost or closed.
    pub(crate) fn wait(&self, at: Point, policy: WaitPolicy) -> Result<()> {
        if self.settled(at.stream) >= at.value {
            return Ok(());
        }
        let wait_begun = self.trace.begin();
        let waited = self.wait_until_settled(at, policy);
        wait_begun.waited(at);
        waited
    }

    fn wait_until_settled(&self, at: Point, policy: WaitPolicy) -> Result<()> {
        let stream = self.stream(at.stream);
        self.life.check_waits()?;
        self.flush_to(at, policy)?;
        loop {
            let reached =
                stream.timeline.wait(at.value, policy.left()).inspect_err(|error| self.lose(error.clone()))?;
            // Up to what has completed. Somebody else may be settling it at this moment; or an edge has not settled
            // although the list has, which is a device that does not honour waits.
            if let Err(open) = self.settle(at) {
                self.wait(open, policy)?;
            }
            if stream.settled() >= at.value {
                return Ok(());
            }
            self.life.check_waits()?;
            if !reached && policy.left() == Some(Duration::ZERO) {
                return Err(policy.over());
            }
        }
    }

    /// Waits for everything recorded before this call.
    pub(crate) fn drain(&self) -> Result<()> {
        self.life.check_waits()?;
        let last = self.last();
        // All submitted before any is waited for.
        last.iter().try_for_each(|at| self.flush_to(*at, WaitPolicy::Forever))?;
        last.into_iter().try_for_each(|at| self.wait(at, WaitPolicy::Forever))
    }
}

impl Lists for Engine {
    fn settled(&self, stream: u32) -> u64 {
        self.stream(stream).settled()
    }

    fn settle_all(&self) {
        for stream in self.streams() {
            // An open edge keeps a list from settling; what it uses then stays.
            let _ = self.settle(Point { stream: stream.index, value: u64::MAX });
        }
    }

    fn last(&self) -> Vec<Point> {
        self.streams().map(|stream| stream.last()).collect()
    }

    fn flush(&self, stream: u32) {
        // A stream has its memory a moment before it is there itself.
        if let Some(stream) = self.streams[stream as usize].get() {
            // A thread that is submitting there does it too.
            let _ = self.flush_to(stream.last(), WaitPolicy::Never);
        }
    }

    fn wait_for_any(&self, goal: &[Point], policy: WaitPolicy) -> Result<()> {
        self.life.check_waits()?;
        let mut waits = Vec::new();
        for at in goal {
            let stream = self.stream(at.stream);
            // Where somebody is submitting, or there is no credit, that is waited for below.
            if stream.submitted() < at.value && self.flush_to(*at, WaitPolicy::Never).is_err() {
                self.defer_flush(at.stream);
            }
            // One that has completed waits for another, which it reads from.
            let next = stream.in_flight.next().filter(|next| stream.timeline.completed() < *next);
            waits.extend(next.map(|value| stream.point(value)));
        }
        let left = policy.left();
        if left == Some(Duration::ZERO) {
            return Err(policy.over());
        }
        if waits.is_empty() {
            yield_now();
            return Ok(());
        }
        let timeout = left.map_or(TICK, |left| left.min(TICK));
        self.hal.wait_any(&waits, None, Some(timeout)).map_err(|error| {
            self.lose(error.clone());
            error.into()
        })
    }

    fn check_waits(&self) -> Result<()> {
        self.life.check_waits()
    }

    fn pressed(&self) {
        self.doorbell.pressed();
    }
}
