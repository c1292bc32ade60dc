//! The profiler: what threads and the device did when, from any number of threads.
//!
//! ```text
//!  threads ──hooks──► a ring each ──drainer──► store ──stop──► Profile ──► trace, table
//!  device ──timestamps──► whoever settles the list ──► its ring
//! ```
//!
//! - A hook costs one relaxed load while nobody profiles.
//! - A thread writes to a ring of its own and never waits: what does not fit is dropped and counted.
//! - The rings are the session's. A thread finds its own by the session's number, so that one that is late cannot
//!   write into a later session. The ring of a thread that has ended is used again once it is drained.
//! - Timestamps in the lists change no hazard, no order and no failure.
//! - Nothing happens in signal handlers, nor in a forked child. A device that is lost or closed is profiled up to
//!   there.
//!
//! # What the numbers mean
//!
//! A list's slice is exact: a barrier stands between its first timestamp and its commands, and one between these and
//! the last. A kernel's slice is exact on a device that runs one command after the other. On others, commands between
//! two barriers may overlap, and then so do their slices, each as long as the kernel and what runs beside it take; or,
//! since only barriers order timestamps, somewhat shorter. [`ProfileOptions::serialize_kernels`] gives exact times of
//! each kernel by itself, for a slower program.
//!
//! A device that takes the time only where lists begin and end has no slices of kernels. Of its lists, the beginning is
//! when it turned to the list, which may be before earlier lists have ended.
//!
//! The device's clock is not the host's: the two are compared at the start and at the stop, and the trace says how well
//! ([`Profile::clock_uncertainty`]). Slices of the device are off by as much against those of threads, not against each
//! other.

mod clock;
mod report;
mod table;
mod trace;
mod tracks;

pub use report::{Dropped, Profile};
pub use table::{KernelTable, KernelTime};

use crate::api::device::Device;
use crate::base::error::{Error, Result};
use crate::base::fork;
use crate::engine::Engine;
use crate::trace::options::{Detail, ProfileOptions};
use crate::trace::session::{MemorySample, Session};
use crate::trace::writers;
use clock::Clock;
use std::sync::{Arc, Weak};
use std::time::Instant;
use thalweg_hal::Timestamps;

/// Profiles a device from [`start`](Self::start) to [`stop`](Self::stop). Dropped, it stops as well, without waiting,
/// and nothing is kept.
///
/// ```
/// use thalweg_runtime::{Detail, Device, ProfileOptions, Profiler};
///
/// fn profiled(device: &Device, work: impl FnOnce()) -> Result<(), Box<dyn std::error::Error>> {
///     let profiler = Profiler::start(device, ProfileOptions::new().detail(Detail::Full))?;
///     work();
///     device.synchronize()?; // or the last kernels may be missing
///     let profile = profiler.stop();
///     println!("{}", profile.kernels());
///     profile.write_chrome_trace(std::fs::File::create("trace.json")?)?; // opens in ui.perfetto.dev
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[must_use = "it stops when it is dropped"]
pub struct Profiler {
    device: Device,
    pub(crate) session: Arc<Session>,
    clock: Clock,
    before: MemorySample,
}

impl Profiler {
    /// Starts to profile. Waits for the device a few times, to compare its clock with the host's; needs a stream for
    /// that.
    ///
    /// # Errors
    /// [`Error::Profiling`] if the device is being profiled already; that it is lost or closed; that a thread could not
    /// be started.
    pub fn start(device: &Device, options: ProfileOptions) -> Result<Self> {
        device.check()?;
        let engine = &device.engine;
        let session = Arc::new(Session::new(options));
        if !engine.trace.reserve(&session) {
            return Err(Error::Profiling { device: device.info().name.clone() });
        }
        // From here on, dropping it undoes everything.
        let before = MemorySample::default();
        let mut profiler = Self { device: device.clone(), session, clock: Clock::default(), before };
        let session = &profiler.session;
        let timestamps = device.info().timestamps;
        if timestamps != Timestamps::None {
            profiler.clock.readings[0] = Some(clock::read(device, |at| session.time(at))?);
        }
        start_drainer(engine, session)?;
        profiler.before = sample(engine, session);
        session.sample(profiler.before);
        writers::enter(session);
        engine.trace.open(session, timestamps);
        Ok(profiler)
    }

    /// Stops, and gives what there is by now: lists that have not settled are not in it, so synchronize first to have
    /// all. Compares the clocks once more, for which it waits for the device, a second at most.
    pub fn stop(self) -> Profile {
        let (engine, session) = (&self.device.engine, &self.session);
        self.close();
        let stopped = session.time(Instant::now());
        let mut clock = self.clock;
        // No reading of a device that is lost or closed; the first one has to do.
        if !fork::forked() && clock.readings[0].is_some() {
            clock.readings[1] = clock::read(&self.device, |at| session.time(at)).ok();
        }
        if fork::forked() {
            return Profile::empty(&self.device, session.options);
        }
        let after = sample(engine, session);
        Profile::new(&self.device, session.options, session.collect(), clock, [self.before, after], stopped)
    }

    /// Nothing more is taken note of. Does not wait.
    fn close(&self) {
        if fork::forked() || self.session.is_over() {
            return;
        }
        self.device.engine.trace.shut();
        writers::leave(&self.session);
        self.session.end();
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        if fork::forked() {
            std::mem::forget(Arc::clone(&self.session)); // its locks may be held for ever
            return;
        }
        self.close();
        self.device.engine.trace.release();
    }
}

fn start_drainer(engine: &Arc<Engine>, session: &Arc<Session>) -> Result<()> {
    let (engine, session) = (Arc::downgrade(engine), Arc::clone(session));
    let name = engine.upgrade().map_or_else(String::new, |engine| engine.hal.info().name.clone());
    let thread = std::thread::Builder::new().name("thalweg-profiler".into()).spawn(move || drain(&engine, &session));
    let refused = |source| thalweg_hal::Error::Thread { device: name, source: Arc::new(source) };
    thread.map_err(refused)?;
    Ok(())
}

/// The drainer: empties the rings, and looks at the memory, until the session ends. Nobody waits for it: whoever stops
/// drains what it leaves.
fn drain(engine: &Weak<Engine>, session: &Session) {
    while session.sleep() {
        session.drain();
        // A full profile has every allocation.
        if session.options.detail == Detail::Coarse
            && let Some(engine) = engine.upgrade()
        {
            session.sample(sample(&engine, session));
        }
    }
}

fn sample(engine: &Engine, session: &Session) -> MemorySample {
    let live = engine.memory.live_bytes();
    MemorySample { at: session.time(Instant::now()), live, reserved: engine.memory.budget.reserved() }
}
