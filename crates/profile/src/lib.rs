//! The profiler: what threads and the device did when, from any number of threads.
//!
//! ```text
//!  the runtime's events ──drainer──► store ──stop──► Profile ──► trace, table
//! ```
//!
//! It is a [listener](thalweg_runtime::listener): the runtime's hooks write events into a ring for each thread, and a
//! thread of the profiler's, the drainer, empties them. Nothing happens in a forked child. A device that is lost or
//! closed is profiled up to there.
//!
//! | file | is |
//! |---|---|
//! | `options.rs` | how to profile |
//! | `drainer.rs` | the thread that empties the rings |
//! | `clock.rs` | the device's clock beside the host's |
//! | `report.rs` | what there is at the end |
//! | `table.rs` | how long each kernel took |
//! | `trace.rs`, `tracks.rs` | the trace, and how its slices nest |
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
mod drainer;
mod options;
mod report;
mod table;
#[cfg(test)]
mod tests;
mod trace;
mod tracks;

pub use options::ProfileOptions;
pub use report::{Dropped, Profile};
pub use table::{KernelTable, KernelTime};
pub use thalweg_runtime::listener::Detail;

use clock::Clock;
use drainer::{Drainer, Store};
use std::fmt;
use std::time::Instant;
use thalweg_hal::Timestamps;
use thalweg_hal::process::forked;
use thalweg_runtime::listener::{Listener, MemorySample};
use thalweg_runtime::{Device, Result};

/// Profiles a device from [`start`](Self::start) to [`stop`](Self::stop). Dropped, it stops as well, without waiting,
/// and nothing is kept.
///
/// ```
/// use thalweg_profile::{Detail, ProfileOptions, Profiler};
/// use thalweg_runtime::Device;
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
#[must_use = "it stops when it is dropped"]
pub struct Profiler {
    // Dropped first: the device has no listener any more when the drop returns, whatever the drainer is at.
    listener: Listener,
    drainer: Drainer,
    device: Device,
    options: ProfileOptions,
    clock: Clock,
    before: MemorySample,
}

impl Profiler {
    /// Starts to profile. Waits for the device a few times, to compare its clock with the host's; needs a stream for
    /// that.
    ///
    /// # Errors
    /// [`Error::Profiling`](thalweg_runtime::Error::Profiling) if the device is being profiled already; that it is lost
    /// or closed; that a thread could not be started.
    pub fn start(device: &Device, options: ProfileOptions) -> Result<Self> {
        let (mut listener, reader) = Listener::new(device, options.listener)?;
        // Before it is opened: what the comparison does is not the program's.
        let mut clock = Clock::default();
        if device.info().timestamps != Timestamps::None {
            clock.readings[0] = Some(clock::read(device, |at| listener.time(at))?);
        }
        let before = reader.memory().unwrap_or_default();
        let drainer = Drainer::start(device, reader, options)?;
        listener.open();
        Ok(Self { listener, drainer, device: device.clone(), options, clock, before })
    }

    /// Stops, and gives what there is by now: lists that have not settled are not in it, so synchronize first to have
    /// all. Compares the clocks once more, for which it waits for the device, a second at most.
    pub fn stop(self) -> Profile {
        let Self { mut listener, drainer, device, options, mut clock, before } = self;
        if forked() {
            return Profile::new(&device, options, Store::default(), Clock::default(), Default::default(), 0);
        }
        listener.close();
        let stopped = listener.time(Instant::now());
        // No reading of a device that is lost or closed; the first one has to do.
        if clock.readings[0].is_some() {
            clock.readings[1] = clock::read(&device, |at| listener.time(at)).ok();
        }
        let store = drainer.finish();
        let after = store.last_sample.unwrap_or(before);
        Profile::new(&device, options, store, clock, [before, after], stopped)
    }
}

impl fmt::Debug for Profiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiler").field("listener", &self.listener).finish_non_exhaustive()
    }
}
