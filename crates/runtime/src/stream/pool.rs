//! Which stream a thread records on.
//!
//! A thread gets the pool's least loaded stream on first use and gives it back when it ends. What the thread keeps is
//! a hint, with weak references only: it owns no stream, keeps no device alive, and a lost hint costs one look-up.

use crate::device::{Device, DeviceCore, Lease};
use crate::error::{Error, Result};
use crate::sync::Mutex;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

/// The most streams of a device, pooled and explicit.
pub(crate) const MAX_STREAMS: usize = 256;

/// Who uses which stream.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// By pool stream: how many threads record on it.
    threads: Vec<u32>,
    /// Explicit streams that were dropped. Their timelines go on counting when they are used again.
    free: Vec<u32>,
    /// The first explicit stream that was never used.
    unused: u32,
}

impl Pool {
    pub(crate) fn new(streams: usize) -> Self {
        Self { state: Mutex::new(State { threads: vec![0; streams], free: Vec::new(), unused: streams as u32 }) }
    }

    /// The least loaded stream of the pool, for one thread.
    pub(crate) fn assign(&self) -> u32 {
        let mut state = self.state.lock();
        let least = state.threads.iter().enumerate().min_by_key(|(_, threads)| **threads).map_or(0, |(index, _)| index);
        state.threads[least] += 1;
        least as u32
    }

    /// A thread is done with a stream of the pool.
    pub(crate) fn release(&self, stream: u32) {
        self.state.lock().threads[stream as usize] -= 1;
    }

    /// A stream for one owner.
    pub(crate) fn take_explicit(&self) -> Result<u32> {
        let mut state = self.state.lock();
        if let Some(stream) = state.free.pop() {
            return Ok(stream);
        }
        if state.unused as usize >= MAX_STREAMS {
            return Err(Error::TooManyStreams { limit: MAX_STREAMS });
        }
        state.unused += 1;
        Ok(state.unused - 1)
    }

    /// The owner is done with it.
    pub(crate) fn release_explicit(&self, stream: u32) {
        self.state.lock().free.push(stream);
    }
}

thread_local! {
    static HINTS: RefCell<Hints> = const { RefCell::new(Hints { pooled: Vec::new(), scopes: Vec::new() }) };
}

struct Hints {
    /// One for each device that the thread has used and that still exists.
    pooled: Vec<Hint>,
    /// Streams of the [`Stream::scope`](super::Stream::scope) calls that the thread is in, innermost last.
    scopes: Vec<Arc<Lease>>,
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
        if let Some(core) = self.core.upgrade() {
            core.defer_flush(self.stream);
            core.pool.release(self.stream);
        }
    }
}

/// The stream that this thread records on.
pub(crate) fn current(device: &Device) -> Result<Arc<Lease>> {
    let known = HINTS.try_with(|hints| hints.borrow_mut().find(device));
    match known {
        Ok(Some(lease)) => Ok(lease),
        Ok(None) => {
            let stream = device.core.pool.assign();
            let lease = device.lease(stream, false).inspect_err(|_| device.core.pool.release(stream))?;
            // From here on the hint gives the stream back.
            let hint = Hint { core: Arc::downgrade(&device.core), stream, lease: Arc::downgrade(&lease) };
            // A thread that is ending keeps no hint; dropping it gives the stream back at once.
            let _ = HINTS.try_with(|hints| hints.borrow_mut().pooled.push(hint));
            Ok(lease)
        }
        // The thread's locals are gone: it is ending.
        Err(_) => device.lease(0, false),
    }
}

impl Hints {
    fn find(&mut self, device: &Device) -> Option<Arc<Lease>> {
        let same = |core: &Arc<DeviceCore>| Arc::ptr_eq(core, &device.core);
        if let Some(lease) = self.scopes.iter().rev().find(|lease| same(&lease.device.core)) {
            return Some(Arc::clone(lease));
        }
        let at = self.pooled.iter().position(|hint| std::ptr::eq(hint.core.as_ptr(), Arc::as_ptr(&device.core)));
        let Some(at) = at else {
            // A new device for this thread: a good time to forget those that are gone. Their drop does nothing.
            self.pooled.retain(|hint| hint.core.strong_count() > 0);
            return None;
        };
        let hint = &mut self.pooled[at];
        Some(hint.lease.upgrade().unwrap_or_else(|| {
            let lease = Arc::new(Lease { device: device.clone(), index: hint.stream, explicit: false });
            hint.lease = Arc::downgrade(&lease);
            lease
        }))
    }
}

/// Makes `lease` the current stream of its device for the length of a call, also if that panics.
pub(crate) fn scoped<R>(lease: &Arc<Lease>, call: impl FnOnce() -> R) -> R {
    struct Scope;
    impl Drop for Scope {
        fn drop(&mut self) {
            // Taken out of the cell before it is dropped: dropping a lease may free a device, which may use the cell.
            let lease = HINTS.try_with(|hints| hints.borrow_mut().scopes.pop());
            drop(lease);
        }
    }
    // A thread whose locals are gone has no scopes, and records on the pool's first stream.
    let entered = HINTS.try_with(|hints| hints.borrow_mut().scopes.push(Arc::clone(lease)));
    let _scope = entered.is_ok().then_some(Scope);
    call()
}
