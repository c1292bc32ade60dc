//! The thread that empties the rings.
//!
//! It owns what it collects, and gives it back when it ends, so it shares nothing. It sleeps on a channel, and ends
//! when the other end is gone: a stop drops that and joins the thread, a drop of the profiler does not wait for it. In
//! a forked child the thread is not there, and the channel's locks may be held for ever: its end is left as it is.

use crate::options::ProfileOptions;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use thalweg_hal::process::forked;
use thalweg_runtime::listener::{self, Detail, Event, MemorySample, Reader};
use thalweg_runtime::{Device, Result};

/// Everything that was collected.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// With their threads; in order for each thread.
    pub(crate) events: Vec<(u32, Event)>,
    pub(crate) samples: Vec<MemorySample>,
    /// What the memory was used for at the end.
    pub(crate) last_sample: Option<MemorySample>,
    pub(crate) threads: Vec<String>,
    pub(crate) names: Vec<Arc<str>>,
    /// Events that did not come so far.
    pub(crate) lost: listener::Dropped,
    /// Events for which there was no room here.
    pub(crate) dropped: u64,
}

impl Store {
    fn drain(&mut self, reader: &mut Reader, options: ProfileOptions) {
        reader.drain(|thread, event| {
            if self.events.len() < options.max_events {
                self.events.push((thread, event));
            } else {
                self.dropped += 1;
            }
        });
    }

    /// Enters what the memory is used for, if it has changed.
    fn sample(&mut self, sample: MemorySample, options: ProfileOptions) {
        let same = |last: &MemorySample| (last.live, last.reserved) == (sample.live, sample.reserved);
        if !self.samples.last().is_some_and(same) && self.samples.len() < options.max_events {
            self.samples.push(sample);
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Drainer {
    /// Taken when it ends.
    parts: Option<(Sender<()>, JoinHandle<Store>)>,
}

impl Drainer {
    /// Starts the thread.
    ///
    /// # Errors
    /// That it could not be started.
    pub(crate) fn start(device: &Device, reader: Reader, options: ProfileOptions) -> Result<Self> {
        let (sender, end) = channel();
        let thread = Builder::new().name("thalweg-profiler".into()).spawn(move || run(&end, reader, options));
        let refused =
            |source| thalweg_hal::Error::Thread { device: device.info().name.clone(), source: Arc::new(source) };
        Ok(Self { parts: Some((sender, thread.map_err(refused)?)) })
    }

    /// Has it drain what is left, and waits for that. Not for a forked child, where it gives nothing.
    pub(crate) fn finish(mut self) -> Store {
        let Some((sender, thread)) = self.parts.take_if(|_| !forked()) else { return Store::default() };
        drop(sender);
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for Drainer {
    fn drop(&mut self) {
        if forked() {
            std::mem::forget(self.parts.take());
        }
    }
}

/// How long it sleeps between two looks: a ring holds what a thread writes meanwhile, if that does other things too.
fn pause(detail: Detail) -> Duration {
    if detail == Detail::Full { Duration::from_millis(2) } else { Duration::from_millis(20) }
}

fn run(end: &Receiver<()>, mut reader: Reader, options: ProfileOptions) -> Store {
    let mut store = Store::default();
    let detail = options.listener.detail;
    while end.recv_timeout(pause(detail)) == Err(RecvTimeoutError::Timeout) {
        store.drain(&mut reader, options);
        // A full profile has every allocation.
        if detail == Detail::Coarse
            && let Some(sample) = reader.memory()
        {
            store.sample(sample, options);
        }
    }
    store.drain(&mut reader, options);
    reader.threads(&mut store.threads);
    reader.names(&mut store.names);
    store.lost = reader.dropped();
    store.last_sample = reader.memory();
    store
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use thalweg_runtime::listener::Listener;

    /// A generous deadline against a hang.
    const DEADLINE: Duration = Duration::from_secs(100);

    #[test]
    fn the_thread_ends_when_its_profiler_is_dropped() {
        let device = crate::tests::known::mock();
        let (listener, reader) = Listener::new(&device, listener::Options::default()).unwrap();
        let mut drainer = Drainer::start(&device, reader, ProfileOptions::new()).unwrap();
        let (sender, thread) = drainer.parts.take().unwrap();
        // As the drop does it, but for the thread's handle.
        drop((sender, drainer, listener));
        let begun = Instant::now();
        while !thread.is_finished() {
            assert!(begun.elapsed() < DEADLINE, "it runs on");
            std::thread::yield_now();
        }
    }
}
