//! The profiler: what threads and the device did when, from any number of threads.
//!
//! ```text
//!  threads ──hooks──► a ring each ──drainer──► store ──stop──► Profile ──► trace, table
//!  device ──timestamps──► whoever settles the list ──► its ring
//! ```
//!
//! - A hook costs one relaxed load while nobody profiles.
//! - A thread writes to a [ring] of its own and never waits: what does not fit is dropped and counted.
//! - The rings are the [session]'s. A thread finds its own by the session's number, so that one that is late cannot
//!   write into a later session. The ring of a thread that has ended is used again once it is drained.
//! - [Timestamps](marks) in the lists change no hazard, no order and no failure.
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
pub(crate) mod event;
pub(crate) mod hook;
pub(crate) mod marks;
mod report;
pub(crate) mod ring;
pub(crate) mod session;
mod table;
mod trace;
mod tracks;
mod writers;

pub use report::{Dropped, Profile};
pub use table::{KernelTable, KernelTime};
pub use writers::{Range, range};

use crate::device::{Device, DeviceCore};
use crate::error::{Error, Result};
use crate::life;
use clock::Clock;
use session::{MemorySample, Session};
use std::sync::{Arc, Weak};
use std::time::Instant;
use thalweg_hal::Timestamps;

/// How much a [`Profiler`] takes note of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// Lists with their device time, submits, waits, compiles, driver allocations, and ranges: for programs that are
    /// measured.
    #[default]
    Coarse,
    /// Every operation, kernel (where the device takes the time of commands), allocation and free as well.
    Full,
}

/// How to profile. `ProfileOptions::default()` is coarse.
#[derive(Clone, Copy, Debug)]
pub struct ProfileOptions {
    detail: Detail,
    ring_events: usize,
    max_events: usize,
    serialize_kernels: bool,
}

impl Default for ProfileOptions {
    fn default() -> Self {
        Self { detail: Detail::Coarse, ring_events: 16_384, max_events: 1 << 21, serialize_kernels: false }
    }
}

impl ProfileOptions {
    /// As the default: coarse.
    pub fn new() -> Self {
        Self::default()
    }

    /// How much is taken note of (default: coarse).
    pub fn detail(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    /// How many events of one thread may wait to be collected, which happens every few milliseconds (1 to 1,048,576;
    /// default 16,384). What comes on top is dropped and counted. An event takes 48 bytes, and a thread's ring grows to
    /// its size in steps.
    pub fn ring_events(mut self, events: usize) -> Self {
        self.ring_events = events.clamp(1, 1 << 20);
        self
    }

    /// How many events a profile has at most (default: 2,097,152; each takes 56 bytes). What comes later is dropped and
    /// counted.
    pub fn max_events(mut self, events: usize) -> Self {
        self.max_events = events;
        self
    }

    /// Whether barriers keep every kernel from overlapping others of its stream's hardware queue (default: no), so that
    /// its time is its own. For full detail; slows devices down that overlap commands.
    pub fn serialize_kernels(mut self, serialize: bool) -> Self {
        self.serialize_kernels = serialize;
        self
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn serializes(self) -> bool {
        self.detail == Detail::Full && self.serialize_kernels
    }
}

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
        let core = &device.core;
        let session = Arc::new(Session::new(options));
        if !core.profile.reserve(&session) {
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
        start_drainer(core, session)?;
        profiler.before = sample(core, session);
        session.sample(profiler.before);
        writers::enter(session);
        core.profile.open(session, timestamps);
        Ok(profiler)
    }

    /// Stops, and gives what there is by now: lists that have not settled are not in it, so synchronize first to have
    /// all. Compares the clocks once more, for which it waits for the device, a second at most.
    pub fn stop(self) -> Profile {
        let (core, session) = (&self.device.core, &self.session);
        self.close();
        let stopped = session.time(Instant::now());
        let mut clock = self.clock;
        // No reading of a device that is lost or closed; the first one has to do.
        if !life::forked() && clock.readings[0].is_some() {
            clock.readings[1] = clock::read(&self.device, |at| session.time(at)).ok();
        }
        if life::forked() {
            return Profile::empty(&self.device, session.options);
        }
        let after = sample(core, session);
        Profile::new(&self.device, session.options, session.collect(), clock, [self.before, after], stopped)
    }

    /// Nothing more is taken note of. Does not wait.
    fn close(&self) {
        if life::forked() || self.session.is_over() {
            return;
        }
        self.device.core.profile.shut();
        writers::leave(&self.session);
        self.session.end();
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        if life::forked() {
            std::mem::forget(Arc::clone(&self.session)); // its locks may be held for ever
            return;
        }
        self.close();
        self.device.core.profile.release();
    }
}

fn start_drainer(core: &Arc<DeviceCore>, session: &Arc<Session>) -> Result<()> {
    let (core, session) = (Arc::downgrade(core), Arc::clone(session));
    let name = core.upgrade().map_or_else(String::new, |core| core.hal.info().name.clone());
    let thread = std::thread::Builder::new().name("thalweg-profiler".into()).spawn(move || drain(&core, &session));
    let refused = |source| thalweg_hal::Error::Thread { device: name, source: Arc::new(source) };
    thread.map_err(refused)?;
    Ok(())
}

/// The drainer: empties the rings, and looks at the memory, until the session ends. Nobody waits for it: whoever stops
/// drains what it leaves.
fn drain(core: &Weak<DeviceCore>, session: &Session) {
    while session.sleep() {
        session.drain();
        // A full profile has every allocation.
        if session.options.detail == Detail::Coarse
            && let Some(core) = core.upgrade()
        {
            session.sample(sample(&core, session));
        }
    }
}

fn sample(core: &DeviceCore, session: &Session) -> MemorySample {
    let live = core.live_bytes();
    MemorySample { at: session.time(Instant::now()), live, reserved: core.memory.budget.reserved() }
}
