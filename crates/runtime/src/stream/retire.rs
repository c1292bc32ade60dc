//! From the signal to the result: what is in flight, and how it settles.
//!
//! A list settles in the order of its stream's timeline. A command has failed if the device said so, or if it read what
//! a failed command wrote; what overwrites that without reading it is fine again. The results are entered before
//! `settled` rises (I7), so whoever sees the value finds them.
//!
//! Anyone may retire. It is idempotent, takes no lock but these, and holds them for a few instructions at a time unless
//! something failed; what the lists held is dropped outside.

use super::core::StreamCore;
use super::outcome::{Outcome, Told};
use super::recorder::{Edge, Point};
use crate::device::DeviceCore;
use crate::error::Failure;
use crate::profile::marks::Marks;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use thalweg_hal::{Access, Binding, Command, List, MemoryKind, Report, Reported};

/// How many emptied lists a stream keeps for their capacity.
const SPARE_LISTS: usize = 4;

/// A submitted list.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) value: u64,
    /// Keeps what the list uses until it has settled.
    pub(crate) list: Arc<List>,
    /// What its commands read of other lists.
    pub(crate) edges: Vec<Edge>,
    /// Where those ask who depend on the list.
    pub(crate) outcome: Arc<Outcome>,
    /// The profiler's timestamps.
    pub(crate) marks: Marks,
    /// Why the device did not take it: every command has failed.
    pub(crate) refused: Option<Arc<thalweg_hal::Error>>,
}

/// The lists of a stream that have not settled.
#[derive(Debug)]
pub(crate) struct Retiring {
    queue: Mutex<Lists>,
    /// Written under `queue`, after the list's outcome.
    settled: AtomicU64,
}

#[derive(Debug, Default)]
struct Lists {
    in_flight: VecDeque<InFlight>,
    /// What the device said of lists that have not settled.
    reported: Vec<Report>,
    spare: Vec<List>,
}

impl Default for Retiring {
    fn default() -> Self {
        Self { queue: Mutex::new(Lists::default()), settled: AtomicU64::new(0) }
    }
}

impl Retiring {
    pub(crate) fn settled(&self) -> u64 {
        // Acquire: pairs with the Release in `settle_front`; the results and what the list wrote are visible.
        self.settled.load(Ordering::Acquire)
    }

    pub(crate) fn add(&self, list: InFlight) {
        self.queue.lock().in_flight.push_back(list);
    }

    /// The device did not take the newest list.
    pub(crate) fn refuse(&self, value: u64, error: Arc<thalweg_hal::Error>) {
        let mut queue = self.queue.lock();
        if let Some(newest) = queue.in_flight.back_mut().filter(|newest| newest.value == value) {
            newest.refused = Some(error);
        }
    }

    /// The value that settles next, if any is in flight.
    pub(crate) fn next(&self) -> Option<u64> {
        self.queue.lock().in_flight.front().map(|list| list.value)
    }

    pub(crate) fn spare_list(&self) -> List {
        self.queue.lock().spare.pop().unwrap_or_default()
    }
}

impl StreamCore {
    /// Settles what has completed, up to `value`.
    ///
    /// # Errors
    /// The value that has not settled yet and keeps the next list from settling, which reads it.
    pub(crate) fn retire(&self, core: &DeviceCore, value: u64) -> Result<(), Point> {
        if self.settled() >= value {
            return Ok(());
        }
        let completed = self.timeline.completed().min(value);
        while self.settled() < completed {
            // The lists read from settle first, with our lock released: theirs and ours have no order. This ends,
            // because they were submitted before this list (I1).
            let mut points = SmallVec::<[Point; 4]>::new();
            if let Some(front) = self.retiring.queue.lock().in_flight.front() {
                let foreign = front.edges.iter().filter(|edge| edge.writer.by.stream != self.index);
                points.extend(foreign.map(|edge| (edge.writer.by.stream, edge.writer.by.value)));
            }
            for (stream, value) in points {
                let other = core.stream(stream);
                other.retire(core, value)?;
                if other.settled() < value {
                    return Err((stream, value));
                }
            }
            let Some(settled) = self.settle_front(core, completed) else { return Ok(()) };
            self.recycle(settled.list);
        }
        Ok(())
    }

    /// Settles the oldest list, if it is within `completed` and nothing it read from is open: somebody else may have
    /// settled the one that the caller looked at.
    fn settle_front(&self, core: &DeviceCore, completed: u64) -> Option<InFlight> {
        let mut queue = self.retiring.queue.lock();
        let known = |edge: &Edge| {
            let by = edge.writer.by;
            by.stream == self.index || core.stream(by.stream).settled() >= by.value
        };
        let ready = |front: &InFlight| front.value <= completed && front.edges.iter().all(known);
        if !queue.in_flight.front().is_some_and(ready) {
            return None;
        }
        queue.reported.extend(self.timeline.take_reports());
        let mut front = queue.in_flight.pop_front()?;
        // They come by rising value, and every lower one has settled.
        let reported = queue.reported.partition_point(|report| report.value <= front.value);
        let own = queue.reported.drain(..reported).filter(|report| report.value == front.value);
        let mut told = told(self.index, &front, own);
        front.marks.take_times(&mut told.times);
        front.outcome.enter(told);
        // Before it can be seen, so that whoever has waited for the list finds it in the profile.
        core.profile.settled(self.index, &front);
        // Release: pairs with the Acquire in `settled`.
        self.retiring.settled.store(front.value, Ordering::Release);
        Some(front)
    }

    /// Keeps an emptied list for its capacity. Its memories and pipelines may be freed here, with no lock held.
    fn recycle(&self, list: Arc<List>) {
        // A backend may hold its `Arc` a moment longer; then the list is simply dropped.
        if let Some(mut list) = Arc::into_inner(list) {
            list.clear();
            let mut queue = self.retiring.queue.lock();
            if queue.spare.len() < SPARE_LISTS {
                queue.spare.push(list);
            }
        }
    }
}

/// What a list's commands have to tell. Where none has anything, that costs a look at each edge.
fn told(stream: u32, settled: &InFlight, reported: impl Iterator<Item = Report>) -> Told {
    let InFlight { value, list, edges, marks, refused, .. } = settled;
    let at = |command: u32, source: Arc<thalweg_hal::Error>| {
        let operation = list.commands.get(command as usize).map_or("unknown".into(), |command| name(list, command));
        Failure { operation, stream, value: *value, source }
    };
    let (mut inherited, mut own) = (Failed::of(list), Failed::of(list));
    let mut times = Vec::new();
    for Edge { reader, writer } in edges {
        if let Err(failure) = writer.result() {
            inherited.enter(*reader, failure);
        }
    }
    for Report { command, what, .. } in reported {
        match what {
            Reported::Failed(_) if marks.contain(command) => {}
            Reported::Failed(error) => own.enter(command, at(command, Arc::new(error))),
            Reported::Time(time) => times.push((command, time)),
        }
    }
    if let Some(error) = refused {
        let counts = |index: u32, command: &Command| *command != Command::Barrier && !marks.contain(index);
        for (index, _) in (0..).zip(&list.commands).filter(|(index, command)| counts(*index, command)) {
            own.enter(index, at(index, Arc::clone(error)));
        }
    }
    times.sort_unstable_by_key(|(command, _)| *command);
    let failures = if inherited.any() || own.any() { spread(list, inherited, own) } else { Vec::new() };
    Told { failures, times }
}

/// Failures by command. Empty until there is one.
struct Failed {
    commands: usize,
    failures: Vec<Option<Failure>>,
}

impl Failed {
    fn of(list: &List) -> Self {
        Self { commands: list.commands.len(), failures: Vec::new() }
    }

    fn any(&self) -> bool {
        !self.failures.is_empty()
    }

    /// The first failure of a command stays.
    fn enter(&mut self, command: u32, failure: Failure) {
        self.failures.resize(self.commands, None);
        match self.failures.get_mut(command as usize) {
            Some(entry) => drop(entry.get_or_insert(failure)),
            // There is no such command: then any of them may be meant.
            None => self.failures.fill(Some(failure)),
        }
    }

    fn take(&mut self, command: usize) -> Option<Failure> {
        self.failures.get_mut(command).and_then(Option::take)
    }
}

/// What copies from and to the memory of the host's are called.
pub(crate) const UPLOAD: &str = "upload";
pub(crate) const DOWNLOAD: &str = "download";

/// What a command is called in an error and in a trace.
pub(crate) fn name(list: &List, command: &Command) -> Cow<'static, str> {
    match command {
        Command::Dispatch { pipeline, .. } => list.pipelines[*pipeline as usize].source().name.clone(),
        Command::Copy { .. } => {
            let mut kinds =
                list.bindings_of(command).iter().map(|binding| list.memories[binding.memory as usize].kind());
            match (kinds.next(), kinds.next()) {
                (Some(MemoryKind::Host), _) => UPLOAD.into(),
                (_, Some(MemoryKind::Host)) => DOWNLOAD.into(),
                _ => "copy".into(),
            }
        }
        Command::Fill { .. } => "fill".into(),
        Command::Run { .. } => "replay".into(),
        Command::Timestamp => "timestamp".into(),
        Command::Barrier => "barrier".into(),
    }
}

/// Lets failures follow the data inside a list: the bindings say who reads what. In the order of recording, which is
/// that of every two commands that touch the same bytes. What a command inherits comes before what the device says of it:
/// it worked on undefined data.
fn spread(list: &List, mut inherited: Failed, mut own: Failed) -> Vec<(u32, Failure)> {
    let mut failures = Vec::new();
    // Ranges of memories whose content is undefined, with the reason.
    let mut undefined: Vec<(Range<u64>, u64, Failure)> = Vec::new();
    let overlap = |a: &Range<u64>, b: &Range<u64>| a.start < b.end && b.start < a.end;
    for (index, command) in list.commands.iter().enumerate() {
        let bindings = list.bindings_of(command);
        // One memory may stand in the table more than once; its id is the same.
        let place = |binding: &Binding| {
            (binding.offset..binding.offset + binding.bytes, list.memories[binding.memory as usize].id())
        };
        let in_list = || {
            let mut reads = bindings.iter().filter(|binding| binding.access != Access::Write).map(place);
            reads.find_map(|(read, memory)| {
                let found = undefined.iter().find(|(range, id, _)| *id == memory && overlap(range, &read));
                found.map(|(.., failure)| failure.clone())
            })
        };
        let failure = inherited.take(index).or_else(in_list).or_else(|| own.take(index));
        for (written, memory) in bindings.iter().filter(|binding| binding.access.writes()).map(place) {
            // What it writes is no longer what it was; what it does not write is.
            for (range, id, reason) in std::mem::take(&mut undefined) {
                if id != memory || !overlap(&range, &written) {
                    undefined.push((range, id, reason));
                    continue;
                }
                let rest = [range.start..written.start, written.end..range.end];
                undefined
                    .extend(rest.into_iter().filter(|rest| !rest.is_empty()).map(|rest| (rest, id, reason.clone())));
            }
            undefined.extend(failure.clone().map(|reason| (written, memory, reason)));
        }
        failures.extend(failure.map(|failure| (index as u32, failure)));
    }
    failures
}
