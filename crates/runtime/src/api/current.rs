//! Which stream a thread records on.
//!
//! A thread gets the pool's least loaded stream on first use and gives it back when it ends. What the thread keeps is
//! a hint, with weak references only: it owns no stream, keeps no device alive, and a lost hint costs one look-up.

use super::device::{Device, Lease};
use super::stream::Stream;
use crate::base::error::Result;
use crate::base::fork;
use crate::base::wait_policy::WaitPolicy;
use crate::engine::Engine;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

thread_local! {
    static HINTS: RefCell<Hints> = const {
        RefCell::new(Hints { pooled: Vec::new(), scopes: Vec::new() })
    };
}

struct Hints {
    /// One for each device that the thread has used and that still exists.
    pooled: Vec<Hint>,
    /// Streams of the [`Stream::scope`](Stream::scope) calls that the thread is in, innermost last.
    scopes: Vec<Stream>,
}

/// The stream that the pool assigned to this thread.
struct Hint {
    engine: Weak<Engine>,
    stream: u32,
    /// Alive while some handle or tensor of this thread is, which spares them the device's one reference count.
    lease: Weak<Lease>,
}

impl Drop for Hint {
    fn drop(&mut self) {
        // At the end of the thread, also by panic: hand over what it recorded, without waiting for the submit.
        if fork::forked() {
            return; // the pool's lock may be held for ever
        }
        if let Some(engine) = self.engine.upgrade() {
            engine.defer_flush(self.stream);
            engine.assignment.release(self.stream);
        }
    }
}

/// The stream that this thread records on.
pub(crate) fn current(device: &Device) -> Result<Stream> {
    fork::check_fork()?;
    match HINTS.try_with(|hints| hints.borrow_mut().find(device)) {
        Ok(Found::Scoped(stream)) => Ok(stream),
        Ok(Found::Pooled(lease)) => Ok(Stream::new_handle(relocated(device, lease)?)),
        Ok(Found::Nothing) => {
            let stream = device.engine.assignment.assign();
            let lease = device.lease(stream, false).inspect_err(|_| device.engine.assignment.release(stream))?;
            // From here on the hint gives the stream back.
            let hint = Hint { engine: Arc::downgrade(&device.engine), stream, lease: Arc::downgrade(&lease) };
            // A thread that is ending keeps no hint; dropping it gives the stream back at once.
            let _ = HINTS.try_with(|hints| hints.borrow_mut().pooled.push(hint));
            Ok(Stream::new_handle(lease))
        }
        // The thread's locals are gone: it is ending.
        Err(_) => device.lease(0, false).map(Stream::new_handle),
    }
}

/// How long this thread's calls may wait.
pub(crate) fn policy(device: &Device) -> WaitPolicy {
    let scoped = HINTS.try_with(|hints| {
        let hints = hints.borrow();
        hints.scopes.iter().rev().find(|stream| stream.device().is_same(device)).map(Stream::policy)
    });
    scoped.ok().flatten().unwrap_or(WaitPolicy::Forever)
}

/// Fails if this thread is capturing a graph of the device.
pub(crate) fn check_capturable(device: &Device, operation: &'static str) -> Result<()> {
    let captures = HINTS.try_with(|hints| {
        let hints = hints.borrow();
        let scoped = hints.scopes.iter().rev().find(|stream| stream.device().is_same(device));
        scoped.filter(|stream| stream.capture().is_some()).cloned()
    });
    match captures.ok().flatten() {
        Some(stream) => Err(stream.refuse(operation)),
        None => Ok(()),
    }
}

/// The thread's lease, or one of a stream that nobody uses if the thread shares its own and that is idle: then nothing
/// can be overtaken.
fn relocated(device: &Device, lease: Arc<Lease>) -> Result<Arc<Lease>> {
    let engine = &*device.engine;
    let is_idle = || engine.stream(lease.index).is_idle();
    let Some(free) = engine.assignment.move_away(lease.index, is_idle) else { return Ok(lease) };
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
            engine.assignment.move_back(free, lease.index);
            Ok(lease)
        }
    }
}

impl Hint {
    fn is_of(&self, device: &Device) -> bool {
        std::ptr::eq(self.engine.as_ptr(), Arc::as_ptr(&device.engine))
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
        if let Some(stream) = self.scopes.iter().rev().find(|stream| stream.device().is_same(device)) {
            return Found::Scoped(stream.clone());
        }
        let Some(hint) = self.pooled.iter_mut().find(|hint| hint.is_of(device)) else {
            // A new device for this thread: a good time to forget those that are gone. Their drop does nothing.
            self.pooled.retain(|hint| hint.engine.strong_count() > 0);
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
    // A thread that has lost its locals has no scopes, and records on the pool's first stream.
    let entered = HINTS.try_with(|hints| hints.borrow_mut().scopes.push(stream.clone()));
    let _scope = entered.is_ok().then_some(Scope);
    call()
}
