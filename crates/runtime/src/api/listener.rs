//! Listening: what threads and the device do, as plain events, for a profiler, an exporter of metrics, or any other.
//!
//! ```text
//!  threads, device ──► a ring a thread ──► Reader::drain ──► events, numbers of threads and names
//! ```
//!
//! A device has one [`Listener`] at a time. It opens and closes; the [`Reader`] that comes with it takes out what was
//! written meanwhile, on any thread, as often as it likes. A full ring keeps what it has; what comes on top is dropped
//! and counted, so a reader drains every few milliseconds. No thread that writes waits for it.
//!
//! ```
//! use thalweg_runtime::listener::{Kind, Listener, Options};
//! use thalweg_runtime::{Config, Device, Storage, Stream, Work, Operand};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::new(thalweg_cpu::CpuDevice::open()?, Config::default())?;
//! let (mut listener, mut reader) = Listener::new(&device, Options::default())?;
//! listener.open();
//! let stream = Stream::current(&device)?;
//! let mut storage = stream.allocate(400)?;
//! stream.record(&Work::Fill(7), &[Operand::write(&mut storage)])?;
//! stream.synchronize()?;
//!
//! let (mut lists, mut waited) = (0, 0);
//! reader.drain(|_thread, event| match event.kind {
//!     Kind::List => lists += 1,
//!     Kind::Wait => waited += event.end - event.start,
//!     _ => {}
//! });
//! println!("{lists} lists, {waited} ns of threads that waited for them");
//! assert_eq!(lists, 1);
//! # Ok(())
//! # }
//! ```
//!
//! The device's times are by its own clock: [`Event::device_time`](crate::Event::device_time) says what that shows, to
//! compare.

use crate::api::device::Device;
use crate::base::error::{Error, Result};
use crate::base::fork;
use crate::engine::Engine;
use crate::trace::session::Session;
use crate::trace::writers;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Instant;

pub use crate::trace::event::{Event, Kind, NEVER};
pub use crate::trace::options::{Detail, Options};
pub use crate::trace::session::Dropped;

/// Has the device write events, from [`open`](Self::open) to [`close`](Self::close). Dropped, it closes, and the device
/// may have another. See the [module](self).
#[must_use = "it closes when it is dropped"]
pub struct Listener {
    device: Device,
    session: Arc<Session>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Open,
    Closed,
}

impl Listener {
    /// Makes a listener the device's. Nothing is written before it is opened. Takes no memory to speak of: a thread
    /// brings its ring along.
    ///
    /// # Errors
    /// [`Error::Profiling`] if the device has one; that it is lost or closed.
    pub fn new(device: &Device, options: Options) -> Result<(Self, Reader)> {
        device.check()?;
        let session = Arc::new(Session::new(options));
        if !device.engine.trace.reserve(&session) {
            return Err(Error::Profiling { device: device.info().name.clone() });
        }
        let reader = Reader { engine: Arc::downgrade(&device.engine), session: Arc::clone(&session) };
        Ok((Self { device: device.clone(), session, stage: Stage::New }, reader))
    }

    /// From here on events are written, and ranges that begin. Does nothing the second time.
    pub fn open(&mut self) {
        if fork::forked() || self.stage != Stage::New {
            return;
        }
        self.stage = Stage::Open;
        writers::enter(&self.session);
        self.device.engine.trace.open(&self.session, self.device.info().timestamps);
    }

    /// Nothing more is written, but what a thread is writing at this moment. Does not wait. Does nothing the second
    /// time.
    pub fn close(&mut self) {
        if fork::forked() || self.stage == Stage::Closed {
            return;
        }
        if self.stage == Stage::Open {
            self.device.engine.trace.shut();
            writers::leave(&self.session);
        }
        self.session.end();
        self.stage = Stage::Closed;
    }

    /// A moment as events have it: nanoseconds since the listener was made, 0 for what was before.
    pub fn time(&self, at: Instant) -> u64 {
        self.session.time(at)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if fork::forked() {
            std::mem::forget(Arc::clone(&self.session)); // its locks may be held for ever
            return;
        }
        self.close();
        self.device.engine.trace.release();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.device.info().name;
        f.debug_struct("Listener").field("device", device).field("stage", &self.stage).finish_non_exhaustive()
    }
}

/// Takes out the events of a [`Listener`], also when that is closed or gone. It keeps no device alive. When it is
/// dropped, what was not drained is gone.
///
/// Any thread may have it, but only one at a time:
///
/// ```
/// # use thalweg_runtime::listener::Reader;
/// fn count(reader: &mut Reader) -> u64 {
///     let mut count = 0;
///     std::thread::scope(|scope| drop(scope.spawn(|| reader.drain(|_, _| count += 1))));
///     count
/// }
/// ```
///
/// Two that drain would take events twice, or out of order:
///
/// ```compile_fail,E0499
/// # use thalweg_runtime::listener::Reader;
/// fn count(reader: &mut Reader) {
///     std::thread::scope(|scope| {
///         scope.spawn(|| reader.drain(|_, _| {}));
///         scope.spawn(|| reader.drain(|_, _| {}));
///     });
/// }
/// ```
// audit: F3
pub struct Reader {
    engine: Weak<Engine>,
    pub(crate) session: Arc<Session>,
}

impl Reader {
    /// Takes out what has been written: each event once, with the number of its thread, those of a thread in the order
    /// in which they were written. `take` is called with nothing locked. If it panics, what it was given of that thread
    /// may come again.
    ///
    /// Costs a few nanoseconds an event. Nothing is there in a forked child.
    pub fn drain(&mut self, take: impl FnMut(u32, Event)) {
        if !fork::forked() {
            self.session.drain(take);
        }
    }

    /// Appends the names of threads, by their numbers, that `threads` does not have yet. Every thread that has an event
    /// in what was drained before is among them.
    pub fn threads(&self, threads: &mut Vec<String>) {
        if !fork::forked() {
            self.session.threads(threads);
        }
    }

    /// Appends the names of kernels and ranges, by their numbers, that `names` does not have yet. Every name in what
    /// was drained before is among them. There are at most 65,536; what comes later has number 0, which says so.
    pub fn names(&self, names: &mut Vec<Arc<str>>) {
        if !fork::forked() {
            self.session.names(names);
        }
    }

    /// How many events were lost so far.
    pub fn dropped(&self) -> Dropped {
        if fork::forked() { Dropped::default() } else { self.session.dropped() }
    }

    /// What the memory is used for now; `None` if the device is gone. Locks each stream's memory for a moment, one
    /// after the other.
    pub fn memory(&self) -> Option<MemorySample> {
        if fork::forked() {
            return None;
        }
        let memory = &self.engine.upgrade()?.memory;
        let live = memory.live_bytes();
        Some(MemorySample { at: self.session.time(Instant::now()), live, reserved: memory.budget.reserved() })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if fork::forked() {
            std::mem::forget(Arc::clone(&self.session)); // its locks may be held for ever
        } else {
            // Before the rings go: nobody gets another.
            self.session.end();
            self.session.forget_rings();
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("session", &self.session.id).finish_non_exhaustive()
    }
}

/// Bytes in live storages, and taken from the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemorySample {
    /// When: nanoseconds since the listener was made.
    pub at: u64,
    /// Bytes in live storages, without frozen ones.
    pub live: u64,
    /// Bytes taken from the device.
    pub reserved: u64,
}
