//! Timelines that can be held back, and waits that a lost device ends.
//!
//! A wait must wake when the device is lost, or when values are released, though the inner device knows nothing of
//! either. So [`Device::wait_any`](thalweg_hal::Device::wait_any), and every wait for a value that is withheld, listens
//! to the *bell*: a doorbell of the inner device. Who waits listens first, looks at the state second, and waits third;
//! who changes the state rings last. A change is either seen by the look, or ends the wait. A doorbell that the caller
//! made is a count, and rings the bell too. [`Timeline::wait`] for a value that is not withheld stays the inner
//! device's own, for devices that treat the two ways to wait differently; it looks for a loss again and again instead.

use super::Shared;
use super::reports::Reports;
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use thalweg_hal::{Doorbell, Error, Listener, Report, Result, Timeline, TimelinePoint};

/// How soon a wait for a value that is not withheld sees that the device is lost.
const RECHECK: Duration = Duration::from_millis(5);
/// Nothing is held back.
const OPEN: u64 = u64::MAX;

/// Wakes all waits. Made before the first thing that can be waited for, because making it can fail.
#[derive(Debug, Default)]
pub(super) struct Bell(OnceLock<Arc<dyn Doorbell>>);

impl Bell {
    fn doorbell(&self, shared: &Shared) -> Result<&Arc<dyn Doorbell>> {
        if let Some(doorbell) = self.0.get() {
            return Ok(doorbell);
        }
        let made = shared.inner.create_doorbell()?;
        Ok(self.0.get_or_init(|| made))
    }

    /// Listens, if the device is not lost.
    fn listen(&self, shared: &Shared) -> Result<Listener> {
        let listener = Listener::new(self.doorbell(shared)?);
        drop(shared.alive()?);
        Ok(listener)
    }

    /// Ends all waits that listen.
    pub(super) fn ring(&self) {
        // Where there is none, nobody listens.
        self.0.get().into_iter().for_each(|bell| bell.ring());
    }
}

/// A doorbell of a [`Faulty`](super::Faulty) device.
pub(super) struct FaultyDoorbell {
    rings: AtomicU64,
    shared: Arc<Shared>,
}

impl fmt::Debug for FaultyDoorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyDoorbell({:?})", self.shared.bell.0.get())
    }
}

impl FaultyDoorbell {
    pub(super) fn create(shared: &Arc<Shared>) -> Result<Arc<Self>> {
        shared.bell.doorbell(shared)?;
        Ok(Arc::new(Self { rings: AtomicU64::new(0), shared: shared.clone() }))
    }
}

impl Doorbell for FaultyDoorbell {
    fn ring(&self) {
        // Release; pairs with the Acquire in `rings`. Before the bell, so that who hears that finds it.
        self.rings.fetch_add(1, Ordering::Release);
        self.shared.bell.ring();
    }

    fn rings(&self) -> u64 {
        self.rings.load(Ordering::Acquire)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The part of a timeline that the device reaches when values are released or the device is lost.
pub(super) struct Raised {
    inner: Arc<dyn Timeline>,
    /// The highest value that may be seen.
    ceiling: AtomicU64,
    /// The highest value that was seen: a ceiling that falls at that moment does not take it back.
    seen: AtomicU64,
    /// Nobody may wait any more.
    interrupted: AtomicBool,
    reports: Mutex<Reports>,
}

impl Raised {
    pub(super) fn reports(&self) -> MutexGuard<'_, Reports> {
        // Nothing panics under the lock with the state half changed.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hides the values above `submitted`. Called before the inner device gets the first list that has one.
    pub(super) fn withhold(&self, submitted: u64) {
        // Release; pairs with the Acquire in `completed`. If values are hidden already, fewer are to be seen.
        self.ceiling.fetch_min(submitted, Ordering::Release);
    }

    /// Hides nothing any more.
    pub(super) fn release(&self) {
        self.ceiling.store(OPEN, Ordering::Release);
    }

    /// Hides all that is not visible by now, for ever.
    pub(super) fn freeze(&self) {
        self.ceiling.fetch_min(self.inner.completed(), Ordering::Release);
    }

    fn completed(&self) -> u64 {
        // In this order: the ceiling is lowered before the list is submitted that would raise the inner value past it.
        let reached = self.inner.completed();
        // Acquire; pairs with the Release in `withhold`.
        let shown = reached.min(self.ceiling.load(Ordering::Acquire));
        // AcqRel; pairs with itself: who gets the value from here has, as from the inner timeline, what was written.
        shown.max(self.seen.fetch_max(shown, Ordering::AcqRel))
    }

    /// Whether the value can be seen once the inner device has reached it.
    fn shows(&self, value: u64) -> bool {
        value <= self.ceiling.load(Ordering::Acquire)
    }
}

/// A timeline of a [`Faulty`](super::Faulty) device.
pub(super) struct FaultyTimeline {
    raised: Arc<Raised>,
    shared: Arc<Shared>,
}

impl fmt::Debug for FaultyTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyTimeline({:?})", self.raised.inner)
    }
}

impl FaultyTimeline {
    pub(super) fn create(shared: &Arc<Shared>, inner: &Arc<dyn Timeline>) -> Result<Arc<Self>> {
        shared.bell.doorbell(shared)?;
        let raised = Arc::new(Raised {
            inner: inner.clone(),
            ceiling: AtomicU64::new(OPEN),
            seen: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            reports: Mutex::default(),
        });
        shared.alive()?.add_timeline(Arc::downgrade(&raised));
        Ok(Arc::new(Self { raised, shared: shared.clone() }))
    }

    pub(super) fn raised(&self) -> &Arc<Raised> {
        &self.raised
    }
}

impl Timeline for FaultyTimeline {
    // The inner one's, which nobody else can name: reports of a validator below then say what the caller knows.
    fn id(&self) -> u64 {
        self.raised.inner.id()
    }

    fn completed(&self) -> u64 {
        self.raised.completed()
    }

    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool> {
        // A timeout too long for the clock is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let bell = self.shared.bell.listen(&self.shared)?;
            if self.completed() >= value {
                return Ok(true);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // Acquire; pairs with the Release in `interrupt`.
            if left.is_some_and(|left| left.is_zero()) || self.raised.interrupted.load(Ordering::Acquire) {
                return Ok(false);
            }
            if self.raised.shows(value) {
                let left = left.map_or(RECHECK, |left| left.min(RECHECK));
                self.raised.inner.wait(value, Some(left))?;
            } else {
                self.shared.inner.wait_any(&[], Some(&bell), left)?;
            }
        }
    }

    fn interrupt(&self) {
        // Release; pairs with the Acquire in `wait`, which the ring makes look again.
        self.raised.interrupted.store(true, Ordering::Release);
        self.raised.inner.interrupt();
        self.shared.bell.ring();
    }

    fn take_reports(&self) -> Vec<Report> {
        // Looked at first: reports are published before their value can be seen.
        let visible = self.completed();
        let mut reports = self.raised.reports();
        // Under the lock, so that those of two threads are entered in the order in which they were taken.
        let given = self.raised.inner.take_reports();
        reports.take(given, visible)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// [`Device::wait_any`](thalweg_hal::Device::wait_any) on wrapped timelines.
pub(super) fn wait_any(
    shared: &Arc<Shared>,
    points: &[TimelinePoint],
    bell: Option<&Listener>,
    timeout: Option<Duration>,
) -> Result<()> {
    let listener = shared.bell.listen(shared)?;
    let mut inner_points = Vec::with_capacity(points.len());
    for point in points {
        let raised = of(shared, &point.timeline)?;
        if raised.completed() >= point.value {
            return Ok(());
        }
        // A value that is held back must not end the wait when the inner device reaches it: the caller would only come
        // again, and spin.
        if raised.shows(point.value) {
            inner_points.push(TimelinePoint { timeline: raised.inner.clone(), value: point.value });
        }
    }
    if bell.is_some_and(Listener::is_rung) {
        return Ok(());
    }
    shared.inner.wait_any(&inner_points, Some(&listener), timeout)?;
    drop(shared.alive()?);
    Ok(())
}

/// The inner part of a timeline that this device has made.
fn of<'a>(shared: &Arc<Shared>, timeline: &'a Arc<dyn Timeline>) -> Result<&'a Arc<Raised>> {
    let own = timeline.as_any().downcast_ref::<FaultyTimeline>().filter(|own| Arc::ptr_eq(&own.shared, shared));
    let device = || shared.inner.info().name.clone();
    own.map(|own| &own.raised).ok_or_else(|| Error::ForeignObject { device: device(), what: "timeline" })
}

/// The point as the inner device understands it.
pub(super) fn unwrap(shared: &Arc<Shared>, point: &TimelinePoint) -> Result<TimelinePoint> {
    Ok(TimelinePoint { timeline: of(shared, &point.timeline)?.inner.clone(), value: point.value })
}
