//! Which stream a thread records on.
//!
//! A thread gets the pool's least loaded stream on first use and gives it back when it ends. What the thread keeps is
//! a hint, with weak references only: it owns no stream, keeps no device alive, and a lost hint costs one look-up.

use super::Stream;
use crate::device::{Device, DeviceCore, Lease};
use crate::error::{Error, Result};
use crate::life;
use crate::patience::Patience;
use crate::pipelines::Remembered;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::cell::RefCell;
use std::sync::{Arc, Weak};

/// The most streams of a device, pooled and explicit.
pub(crate) const MAX_STREAMS: usize = 256;

/// Who uses which stream.
#[derive(Debug)]
pub(crate) struct Pool {
    /// By pool stream: how many threads record on it. Written under `explicit`; read by the threads without.
    threads: Box<[AtomicU32]>,
    /// How many of those are 0. Likewise.
    vacant: AtomicUsize,
    moves: AtomicU64,
    explicit: Mutex<Explicit>,
}

#[derive(Debug)]
struct Explicit {
    /// Explicit streams that were dropped. Their timelines go on counting when they are used again.
    free: Vec<u32>,
    /// The first explicit stream that was never used.
    unused: u32,
}

// The counts are hints outside the lock, and ordered by it inside: Relaxed everywhere.
impl Pool {
    pub(crate) fn new(streams: usize) -> Self {
        Self {
            threads: (0..streams).map(|_| AtomicU32::new(0)).collect(),
            vacant: AtomicUsize::new(streams),
            moves: AtomicU64::new(0),
            explicit: Mutex::new(Explicit { free: Vec::new(), unused: streams as u32 }),
        }
    }

    /// The least loaded stream of the pool, for one thread.
    pub(crate) fn assign(&self) -> u32 {
        let _exclusive = self.explicit.lock();
        self.enter_least()
    }

    fn enter_least(&self) -> u32 {
        let load = |(_, threads): &(usize, &AtomicU32)| threads.load(Relaxed);
        let least = self.threads.iter().enumerate().min_by_key(load).map_or(0, |(index, _)| index);
        if self.threads[least].fetch_add(1, Relaxed) == 0 {
            self.vacant.fetch_sub(1, Relaxed);
        }
        least as u32
    }

    /// A thread is done with a stream of the pool.
    pub(crate) fn release(&self, stream: u32) {
        let _exclusive = self.explicit.lock();
        self.leave(stream);
    }

    fn leave(&self, stream: u32) {
        if self.threads[stream as usize].fetch_sub(1, Relaxed) == 1 {
            self.vacant.fetch_add(1, Relaxed);
        }
    }

    /// Another stream for a thread that shares `stream`, if there is one that nobody uses. It has left the old one then.
    pub(crate) fn move_away(&self, stream: u32, idle: impl FnOnce() -> bool) -> Option<u32> {
        let shared = || self.threads[stream as usize].load(Relaxed) > 1 && self.vacant.load(Relaxed) > 0;
        if !shared() || !idle() {
            return None;
        }
        let _exclusive = self.explicit.lock();
        if !shared() {
            return None; // somebody else was faster
        }
        let free = self.enter_least();
        self.leave(stream);
        self.moves.fetch_add(1, Relaxed);
        Some(free)
    }

    /// Undoes a move.
    fn move_back(&self, from: u32, to: u32) {
        let _exclusive = self.explicit.lock();
        if self.threads[to as usize].fetch_add(1, Relaxed) == 0 {
            self.vacant.fetch_sub(1, Relaxed);
        }
        self.leave(from);
        self.moves.fetch_sub(1, Relaxed);
    }

    /// Threads by stream, and how many streams have none.
    #[cfg(all(test, loom))]
    pub(crate) fn load(&self) -> (Vec<u32>, usize) {
        (self.threads.iter().map(|threads| threads.load(Relaxed)).collect(), self.vacant.load(Relaxed))
    }

    pub(crate) fn moves(&self) -> u64 {
        self.moves.load(Relaxed)
    }

    /// A stream for one owner.
    pub(crate) fn take_explicit(&self) -> Result<u32> {
        let mut explicit = self.explicit.lock();
        if let Some(stream) = explicit.free.pop() {
            return Ok(stream);
        }
        if explicit.unused as usize >= MAX_STREAMS {
            return Err(Error::TooManyStreams { limit: MAX_STREAMS });
        }
        explicit.unused += 1;
        Ok(explicit.unused - 1)
    }

    /// The owner is done with it.
    pub(crate) fn release_explicit(&self, stream: u32) {
        self.explicit.lock().free.push(stream);
    }
}

thread_local! {
    static HINTS: RefCell<Hints> = const {
        RefCell::new(Hints { pooled: Vec::new(), scopes: Vec::new(), pipelines: Remembered::new() })
    };
}

struct Hints {
    /// One for each device that the thread has used and that still exists.
    pooled: Vec<Hint>,
    /// Streams of the [`Stream::scope`](super::Stream::scope) calls that the thread is in, innermost last.
    scopes: Vec<Stream>,
    /// Of all devices.
    pipelines: Remembered,
}

/// The stream that the pool assigned to this thread.
struct Hint {
    core: Weak<DeviceCore>,
    stream: u32,
    /// Alive while some handle or tensor of this thread is, which spares them the device's one reference count.
    lease: Weak<Lease>,
}

impl Drop for Hint {
    fn drop(&mut self) {
        // At the end of the thread, also by panic: hand over what it recorded, without waiting for the submit.
        if life::forked() {
            return; // the pool's lock may be held for ever
        }
        if let Some(core) = self.core.upgrade() {
            core.defer_flush(self.stream);
            core.pool.release(self.stream);
        }
    }
}

/// The stream that this thread records on.
pub(crate) fn current(device: &Device) -> Result<Stream> {
    life::check_fork()?;
    match HINTS.try_with(|hints| hints.borrow_mut().find(device)) {
        Ok(Found::Scoped(stream)) => Ok(stream),
        Ok(Found::Pooled(lease)) => Ok(Stream::new_handle(relocated(device, lease)?)),
        Ok(Found::Nothing) => {
            let stream = device.core.pool.assign();
            let lease = device.lease(stream, false).inspect_err(|_| device.core.pool.release(stream))?;
            // From here on the hint gives the stream back.
            let hint = Hint { core: Arc::downgrade(&device.core), stream, lease: Arc::downgrade(&lease) };
            // A thread that is ending keeps no hint; dropping it gives the stream back at once.
            let _ = HINTS.try_with(|hints| hints.borrow_mut().pooled.push(hint));
            Ok(Stream::new_handle(lease))
        }
        // The thread's locals are gone: it is ending.
        Err(_) => device.lease(0, false).map(Stream::new_handle),
    }
}

/// Calls `look` with the stream that this thread records on, how long its calls may wait, and the pipelines that it
/// remembers; `None` if it has no stream. `look` must drop nothing that may come back here.
pub(crate) fn with_known<R>(device: &Device, look: impl FnOnce(u32, Patience, &mut Remembered) -> R) -> Option<R> {
    let known = HINTS.try_with(|hints| {
        let hints = &mut *hints.borrow_mut();
        let scoped = hints.scopes.iter().rev().find(|stream| Arc::ptr_eq(&stream.device().core, &device.core));
        let pooled =
            || hints.pooled.iter().find(|hint| hint.is_of(device)).map(|hint| (hint.stream, Patience::Forever));
        let (stream, patience) = scoped.map(|stream| (stream.id(), stream.patience())).or_else(pooled)?;
        Some(look(stream, patience, &mut hints.pipelines))
    });
    known.ok().flatten()
}

/// Fails if this thread is capturing a graph of the device.
pub(crate) fn check_capturable(device: &Device, operation: &'static str) -> Result<()> {
    let captures = HINTS.try_with(|hints| {
        let hints = hints.borrow();
        let scoped = hints.scopes.iter().rev().find(|stream| Arc::ptr_eq(&stream.device().core, &device.core));
        scoped.filter(|stream| stream.capture().is_some()).cloned()
    });
    match captures.ok().flatten() {
        Some(stream) => Err(stream.refuse(operation)),
        None => Ok(()),
    }
}

/// The thread's lease, or one of a stream that nobody uses if the thread shares its own and that is idle: then nothing can be
/// overtaken.
fn relocated(device: &Device, lease: Arc<Lease>) -> Result<Arc<Lease>> {
    let core = &*device.core;
    let Some(free) = core.pool.move_away(lease.index, || core.stream(lease.index).is_idle()) else { return Ok(lease) };
    // The stream is the hint's from here on, and given back with it.
    let place = |lease: &Arc<Lease>| {
        let (stream, lease) = (lease.index, Arc::downgrade(lease));
        let _ = HINTS.try_with(|hints| {
            let mut hints = hints.borrow_mut();
            if let Some(hint) = hints.pooled.iter_mut().find(|hint| hint.is_of(device)) {
                (hint.stream, hint.lease) = (stream, lease);
            }
        });
    };
    match device.lease(free, false) {
        Ok(moved) => {
            place(&moved);
            Ok(moved)
        }
        // The device makes no more queues at present; the stream that the thread shares is as good as before.
        Err(_) => {
            core.pool.move_back(free, lease.index);
            Ok(lease)
        }
    }
}

impl Hint {
    fn is_of(&self, device: &Device) -> bool {
        std::ptr::eq(self.core.as_ptr(), Arc::as_ptr(&device.core))
    }
}

/// What the thread knows of a device.
enum Found {
    Scoped(Stream),
    Pooled(Arc<Lease>),
    Nothing,
}

impl Hints {
    fn find(&mut self, device: &Device) -> Found {
        if let Some(stream) = self.scopes.iter().rev().find(|stream| Arc::ptr_eq(&stream.device().core, &device.core)) {
            return Found::Scoped(stream.clone());
        }
        let Some(hint) = self.pooled.iter_mut().find(|hint| hint.is_of(device)) else {
            // A new device for this thread: a good time to forget those that are gone. Their drop does nothing.
            self.pooled.retain(|hint| hint.core.strong_count() > 0);
            return Found::Nothing;
        };
        Found::Pooled(hint.lease.upgrade().unwrap_or_else(|| {
            let lease = Arc::new(Lease { device: device.clone(), index: hint.stream, explicit: false });
            hint.lease = Arc::downgrade(&lease);
            lease
        }))
    }
}

/// Makes `stream` the current one of its device for the length of a call, also if that panics.
pub(crate) fn scoped<R>(stream: &Stream, call: impl FnOnce() -> R) -> R {
    struct Scope;
    impl Drop for Scope {
        fn drop(&mut self) {
            // Taken out of the cell before it is dropped: dropping a lease may free a device, which may use the cell.
            let stream = HINTS.try_with(|hints| hints.borrow_mut().scopes.pop());
            drop(stream);
        }
    }
    // A thread whose locals are gone has no scopes, and records on the pool's first stream.
    let entered = HINTS.try_with(|hints| hints.borrow_mut().scopes.push(stream.clone()));
    let _scope = entered.is_ok().then_some(Scope);
    call()
}
