//! Which ring the calling thread writes to, and the ranges that a program names.
//!
//! A thread keeps a writer for each session that it has met and that may still run, found by the session's number. What
//! it keeps of a session that has ended it lets go when it meets the next, or ends.

use super::event::Kind;
use super::session::{Session, Writer};
use crate::base::fork;
use std::borrow::Cow;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

thread_local! {
    static THREAD: RefCell<Thread> = const { RefCell::new(Thread { entries: Vec::new(), running: Vec::new(), version: 0 }) };
}

/// What a thread knows of sessions.
struct Thread {
    entries: Vec<Entry>,
    /// The sessions that ran at that version of [`RUNNING`].
    running: Vec<Arc<Session>>,
    version: u64,
}

struct Entry {
    session: Arc<Session>,
    /// `None` if there were too many.
    writer: Option<Writer>,
}

impl Thread {
    /// Calls with the thread's writer for a session, the one that `find` gives if it is new to the thread.
    fn with(&mut self, id: u64, find: impl FnOnce() -> Option<Arc<Session>>, write: impl FnOnce(&mut Writer)) {
        // The session's own number: an event of one session must not get into another.
        let known = self.entries.iter().position(|entry| entry.session.id == id);
        let at = match known {
            Some(at) => at,
            None => {
                let Some(session) = find() else { return };
                self.entries.retain(|entry| !entry.session.is_over());
                let name = || std::thread::current().name().unwrap_or("unnamed").to_owned();
                let writer = session.writer(name);
                self.entries.push(Entry { session, writer });
                self.entries.len() - 1
            }
        };
        match &mut self.entries[at] {
            Entry { writer: Some(writer), .. } => write(writer),
            Entry { session, .. } => session.drop_event(),
        }
    }
}

/// Calls with this thread's writer for the session of that number, which `find` gives if the thread has not met it.
/// Does nothing in a forked child; a thread that has lost its locals writes nothing, and that is counted.
pub(crate) fn write(id: u64, find: impl Fn() -> Option<Arc<Session>>, write: impl FnOnce(&mut Writer)) {
    if fork::forked() {
        return;
    }
    let with = |thread: &RefCell<Thread>| thread.try_borrow_mut().map(|mut thread| thread.with(id, &find, write));
    if !matches!(THREAD.try_with(with), Ok(Ok(()))) {
        find().into_iter().for_each(|session| session.drop_event());
    }
}

/// How many sessions run, of any device. Written under `RUNNING`. (Neither goes through `sync`: they are statics, and
/// models have no ranges.)
static ANY: AtomicUsize = AtomicUsize::new(0);
/// Rises with every change of `RUNNING`. Written under it.
static VERSION: AtomicU64 = AtomicU64::new(0);
/// The sessions that run, for ranges, which belong to no device.
static RUNNING: Mutex<Vec<Arc<Session>>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<Arc<Session>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session has started, or ended.
fn change(change: impl FnOnce(&mut Vec<Arc<Session>>)) {
    let mut running = running();
    change(&mut running);
    // Relaxed: a hint; what is written is ordered by the session.
    ANY.store(running.len(), Ordering::Relaxed);
    // Relaxed: written under the lock, and read again under it.
    VERSION.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn enter(session: &Arc<Session>) {
    change(|running| running.push(Arc::clone(session)));
}

pub(crate) fn leave(session: &Arc<Session>) {
    change(|running| running.retain(|other| !Arc::ptr_eq(other, session)));
}

/// Names what the thread does until the guard is dropped, for every profiler (or other
/// [`Listener`](crate::listener::Listener)) that runs then and ran already when it began. Costs one relaxed load when
/// none does.
///
/// ```
/// # fn tokenize(_: &str) {}
/// let _range = thalweg_runtime::range("tokenize");
/// tokenize("a line of text");
/// ```
pub fn range(name: impl Into<Cow<'static, str>>) -> Range {
    // Relaxed: a range that begins with the session may be missed.
    let begun = ANY.load(Ordering::Relaxed) > 0;
    Range { begun: begun.then(|| (name.into(), Instant::now())), thread: PhantomData }
}

/// A named stretch of a thread's time; made by [`range`]. It ends where it is dropped, on the same thread.
#[derive(Debug)]
#[must_use = "a range ends when it is dropped"]
pub struct Range {
    begun: Option<(Cow<'static, str>, Instant)>,
    /// It stays on its thread.
    thread: PhantomData<*const ()>,
}

impl Drop for Range {
    fn drop(&mut self) {
        let Some((name, start)) = self.begun.take() else { return };
        if fork::forked() {
            return; // the lock may be held for ever
        }
        // A thread that is ending takes note of nothing more.
        let _ = THREAD.try_with(|thread| {
            let Ok(mut thread) = thread.try_borrow_mut() else { return };
            // Relaxed: see `change`.
            let version = VERSION.load(Ordering::Relaxed);
            if thread.version != version {
                let now = running();
                thread.version = VERSION.load(Ordering::Relaxed);
                thread.running.clone_from(&now);
            }
            let running = std::mem::take(&mut thread.running);
            for session in running.iter().filter(|session| session.epoch <= start) {
                let find = || Some(Arc::clone(session));
                thread.with(session.id, find, |writer| {
                    writer.push_slice(Kind::Range, start, |writer, event| {
                        let name = writer.name(&name);
                        super::event::Event { name, ..event }
                    });
                });
            }
            thread.running = running;
        });
    }
}
