//! The mock's timelines. Who asks for a value, or waits for one, makes the device advance.

use super::{Shared, until};
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use thalweg_hal::{Error, Report, Reported, Result, Timeline, unique_id};

/// A timeline's value, without letting the device advance.
pub(super) fn peek(timeline: &dyn Timeline) -> u64 {
    timeline.as_any().downcast_ref::<MockTimeline>().map_or_else(|| timeline.completed(), MockTimeline::value)
}

/// A timeline of the mock. Its value changes under the device's lock only.
pub(super) struct MockTimeline {
    this: Weak<MockTimeline>,
    id: u64,
    value: AtomicU64,
    /// Nobody may wait any more.
    interrupted: AtomicBool,
    /// Reports on reached values, not yet taken.
    reports: Mutex<Vec<Report>>,
    shared: Arc<Shared>,
}

impl fmt::Debug for MockTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MockTimeline({} at {})", self.id, self.value())
    }
}

impl MockTimeline {
    pub(super) fn create(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            id: unique_id(),
            value: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            reports: Mutex::default(),
            shared: Arc::clone(shared),
        })
    }

    pub(super) fn of(timeline: &dyn Timeline, device: &str) -> Result<Arc<Self>> {
        let ours = timeline.as_any().downcast_ref::<Self>().and_then(|timeline| timeline.this.upgrade());
        ours.ok_or_else(|| Error::ForeignObject { device: device.to_owned(), what: "timeline" })
    }

    pub(super) fn value(&self) -> u64 {
        // Acquire: pairs with the Release in `reach`.
        self.value.load(Ordering::Acquire)
    }

    /// The device's lock is held. The result is there before the value.
    pub(super) fn reach(&self, value: u64, reports: Vec<(u32, Reported)>) {
        let reports = reports.into_iter().map(|(command, what)| Report { value, command, what });
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).extend(reports);
        // Release: pairs with the Acquire in `value`.
        self.value.fetch_max(value, Ordering::Release);
        self.shared.changed.notify_all();
    }
}

impl Timeline for MockTimeline {
    fn id(&self) -> u64 {
        self.id
    }

    /// Asking lets the device take a step, so that asking again and again ends.
    fn completed(&self) -> u64 {
        self.shared.lock().step(&self.shared.name);
        self.value()
    }

    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.shared.lock();
        while self.value() < value {
            // Relaxed: under the device's lock.
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(false);
            }
            if !state.step(&self.shared.name) {
                state = self.shared.pause(state, deadline.map(until)).0;
            }
        }
        Ok(true)
    }

    fn interrupt(&self) {
        let _state = self.shared.lock();
        // Relaxed: under the device's lock.
        self.interrupted.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
    }

    fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
