//! What the runtime calls where something happens. While nobody listens, a hook is one relaxed load.

use super::event::{Event, Kind, NEVER};
use super::options::Detail;
use super::session::{Session, Writer};
use super::writers;
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::order::marks::{Marks, Profiling};
use crate::order::point::{Point, Use};
use crate::order::results::{InFlight, name};
use std::sync::Arc;
use std::time::Instant;
use thalweg_hal::{Command, List, Timestamps};

/// A device's hook; see the [module](self).
#[derive(Debug)]
pub(crate) struct Hook {
    /// Written at the start and at the stop. Relaxed everywhere: it orders nothing. A thread that sees it too late, or
    /// too early, looks for a session of that number, under the lock, and finds it or does not.
    state: AtomicU64,
    /// The session, from before the first event to after the last.
    session: Mutex<Option<Arc<Session>>>,
}

impl Hook {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU64::new(0), session: Mutex::new(Rank::TraceSession, None) }
    }

    /// Makes a session the device's, which nobody writes to before [`open`](Self::open). `false` if there is one.
    pub(crate) fn reserve(&self, session: &Arc<Session>) -> bool {
        let mut current = self.session.lock();
        let free = current.is_none();
        if free {
            *current = Some(Arc::clone(session));
        }
        free
    }

    pub(crate) fn open(&self, session: &Session, timestamps: Timestamps) {
        let full = session.options.detail == Detail::Full;
        let profiling = Profiling::new(session.id, full, session.options.serialize_kernels, timestamps);
        self.state.store(profiling.bits(), Ordering::Relaxed);
    }

    pub(crate) fn shut(&self) {
        self.state.store(Profiling::OFF.bits(), Ordering::Relaxed);
    }

    /// The device has no session any more.
    pub(crate) fn release(&self) {
        let session = self.session.lock().take();
        drop(session);
    }

    #[inline]
    pub(crate) fn state(&self) -> Profiling {
        Profiling::of_bits(self.state.load(Ordering::Relaxed))
    }

    fn write(&self, state: Profiling, write: impl FnOnce(&mut Writer)) {
        let id = state.session();
        let find = || self.session.lock().as_ref().filter(|session| session.id == id).cloned();
        writers::write(id, find, write);
    }

    /// Something begins that every listener is told.
    pub(crate) fn begin(&self) -> Measured<'_> {
        self.measured(|_| true)
    }

    /// An operation begins, which is told in full detail only.
    #[inline]
    pub(crate) fn begin_operation(&self) -> Measured<'_> {
        self.measured(Profiling::is_full)
    }

    fn measured(&self, wanted: fn(Profiling) -> bool) -> Measured<'_> {
        let state = self.state();
        let start = (!state.is_off() && wanted(state)).then(Instant::now);
        Measured { hook: self, profiling: state, start }
    }

    /// A stream's list has settled, which nobody sees yet: its queue of lists in flight is locked.
    pub(crate) fn settled(&self, settled: &InFlight) {
        let state = self.state();
        if !state.is_off() {
            self.write(state, |writer| enter_settled(writer, state, settled));
        }
    }

    /// A block was handed out.
    #[inline]
    pub(crate) fn allocated(&self, stream: u32, bytes: u64) {
        self.block(Kind::Allocate, stream, bytes);
    }

    /// A block was freed.
    #[inline]
    pub(crate) fn freed(&self, stream: u32, bytes: u64) {
        self.block(Kind::Free, stream, bytes);
    }

    #[inline]
    fn block(&self, kind: Kind, stream: u32, value: u64) {
        let state = self.state();
        if state.is_full() {
            let now = Instant::now();
            self.write(state, |writer| {
                let now = writer.session.time(now);
                writer.push(Event { stream, value, ..Event::new(kind, now, now) });
            });
        }
    }

    /// The driver has its memory back.
    pub(crate) fn shrunk(&self, bytes: u64, reserved: u64) {
        self.begin().end(Kind::Shrink, |_, event| Event { value: bytes, extra: reserved, ..event });
    }
}

/// Something that takes a while. Taken note of when it has ended, if it does.
#[derive(Debug)]
#[must_use = "it is the end that is taken note of"]
pub(crate) struct Measured<'a> {
    hook: &'a Hook,
    pub(crate) profiling: Profiling,
    start: Option<Instant>,
}

impl Measured<'_> {
    fn end(self, kind: Kind, fill: impl FnOnce(&mut Writer, Event) -> Event) {
        if let Some(start) = self.start {
            self.hook.write(self.profiling, |writer| writer.push_slice(kind, start, fill));
        }
    }

    /// An operation was recorded, as this command.
    pub(crate) fn recorded(self, name: &str, by: Use) {
        self.end(Kind::Operation, |writer, event| {
            let name = writer.name(name);
            Event { name, stream: by.at.stream, command: by.command, value: by.at.value, ..event }
        });
    }

    /// A list was handed over.
    pub(crate) fn submitted(self, Point { stream, value }: Point, list: &List) {
        self.end(Kind::Submit, |_, event| Event { stream, value, command: commands(list), ..event });
    }

    /// A thread has waited.
    pub(crate) fn waited(self, Point { stream, value }: Point) {
        self.end(Kind::Wait, |_, event| Event { stream, value, ..event });
    }

    /// A kernel was compiled.
    pub(crate) fn compiled(self, name: &str) {
        self.end(Kind::Compile, |writer, event| Event { name: writer.name(name), ..event });
    }

    /// The driver has given memory.
    pub(crate) fn grown(self, bytes: u64, reserved: u64) {
        self.end(Kind::Grow, |_, event| Event { value: bytes, extra: reserved, ..event });
    }
}

/// How much work is in a list: neither barriers nor timestamps are.
fn commands(list: &List) -> u32 {
    let work = list.commands.iter().filter(|command| !matches!(command, Command::Barrier | Command::Timestamp));
    work.count() as u32
}

fn enter_settled(writer: &mut Writer, state: Profiling, settled: &InFlight) {
    let InFlight { at: Point { stream, value }, list, marks, .. } = settled;
    let (stream, value) = (*stream, *value);
    // Those of another session are by another's clock readings.
    let marks = if marks.is_of(state) { marks } else { &Marks::NONE };
    let nanos = |command: Option<u32>| command.and_then(|command| marks.time(command)).unwrap_or(NEVER);
    let seen = writer.session.time(Instant::now());
    let (start, end) = marks.ends();
    let (start, end) = (nanos(start), nanos(end));
    let event = Event { stream, value, extra: seen, command: commands(list), ..Event::new(Kind::List, start, end) };
    writer.push(event);
    for mark in marks.commands() {
        let (start, end) = (nanos(Some(mark.before)), nanos(Some(mark.after)));
        if start == NEVER || end == NEVER {
            continue; // the device did not get so far
        }
        let name = writer.name(&name(list, &list.commands[mark.command as usize]));
        // Without barriers around them the device may take the second first.
        let (start, end) = (start.min(end), start.max(end));
        writer.push(Event { name, stream, value, command: mark.command, ..Event::new(Kind::Kernel, start, end) });
    }
}
