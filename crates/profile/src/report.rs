//! What a session leaves behind.

use crate::clock::Clock;
use crate::drainer::Store;
use crate::options::ProfileOptions;
use crate::table::KernelTable;
use crate::trace;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::Timestamps;
use thalweg_runtime::Device;
use thalweg_runtime::listener::{Detail, Event, MemorySample};

/// What happened between [`Profiler::start`](crate::Profiler::start) and [`Profiler::stop`](crate::Profiler::stop).
pub struct Profile {
    pub(crate) device: String,
    /// Where the device takes the time.
    pub(crate) timestamps: Timestamps,
    pub(crate) options: ProfileOptions,
    /// With their threads; in order for each thread.
    pub(crate) events: Vec<(u32, Event)>,
    pub(crate) samples: Vec<MemorySample>,
    pub(crate) threads: Vec<String>,
    pub(crate) names: Vec<Arc<str>>,
    dropped: Dropped,
    pub(crate) clock: Clock,
    /// At the start, and at the stop.
    pub(crate) memory: [MemorySample; 2],
    stopped: u64,
}

/// Events that a [`Profile`] lacks, by what there was no room in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// The thread's ring was full; see [`ProfileOptions::ring_events`].
    pub ring_full: u64,
    /// More threads wrote at once than there may be (1,024; 65,536 one after the other), or the thread had all but
    /// ended.
    pub no_ring: u64,
    /// The profile was full; see [`ProfileOptions::max_events`].
    pub profile_full: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.ring_full + self.no_ring + self.profile_full
    }
}

impl Profile {
    pub(crate) fn new(
        device: &Device,
        options: ProfileOptions,
        store: Store,
        clock: Clock,
        memory: [MemorySample; 2],
        stopped: u64,
    ) -> Self {
        let Store { events, samples, threads, names, lost, dropped: profile_full, .. } = store;
        let info = device.info();
        Self {
            device: info.name.clone(),
            timestamps: info.timestamps,
            options,
            events,
            samples,
            threads,
            names,
            dropped: Dropped { ring_full: lost.ring_full, no_ring: lost.no_ring, profile_full },
            clock,
            memory,
            stopped,
        }
    }

    /// How much was taken note of.
    pub fn detail(&self) -> Detail {
        self.options.listener.detail
    }

    /// From the start to the stop.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.stopped)
    }

    /// How many events it has.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// What is missing.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// How far the device's times may be off against those of threads, either way; `None` if the device has no clock.
    pub fn clock_uncertainty(&self) -> Option<Duration> {
        self.clock.uncertainty()
    }

    /// Device time by kernel. Empty unless the detail was full and the device has a clock.
    pub fn kernels(&self) -> KernelTable {
        KernelTable::of(self)
    }

    /// Writes the trace as Chrome's JSON, which <https://ui.perfetto.dev> and `chrome://tracing` open.
    ///
    /// A track for each thread, with what it called; one for each stream, with what the device did, and more of them
    /// where that overlaps; arrows from the call to the kernel, and from the submit to the list; the memory. What is
    /// missing, and how well the clocks are known, is in `otherData`. Where the device has no clock, a list lasts from
    /// its submit to when somebody saw that it had settled.
    ///
    /// # Errors
    /// What the writer says. Writes in small pieces, but through a buffer of its own.
    pub fn write_chrome_trace(&self, writer: impl Write) -> io::Result<()> {
        trace::write(self, writer)
    }

    /// The name of an event.
    pub(crate) fn name(&self, event: &Event) -> &str {
        self.names.get(event.name as usize).map_or("", |name| name)
    }

    pub(crate) fn stopped(&self) -> u64 {
        self.stopped
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("device", &self.device)
            .field("duration", &self.duration())
            .field("events", &self.events())
            .finish_non_exhaustive()
    }
}
