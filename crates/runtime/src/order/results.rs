//! How the commands of a settled list ended, and which of them inherit a failure.
//!
//! A command has failed if the device said so, or if it read what a failed command wrote; what overwrites that without
//! reading it is fine again. Between lists, edges say who reads what; inside a list, the bindings do.

use super::marks::Marks;
use super::open_list::Edge;
use super::outcome::{Outcome, Results};
use super::point::Point;
use crate::base::error::Failure;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use thalweg_hal::{Access, Binding, Command, List, MemoryKind, Report, Reported};

/// A submitted list.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) at: Point,
    /// Keeps what the list uses until it has settled.
    pub(crate) list: Arc<List>,
    /// What its commands read of other lists.
    pub(crate) edges: Vec<Edge>,
    /// Commands that depend on the list find its failures here.
    pub(crate) outcome: Arc<Outcome>,
    /// The profiler's timestamps.
    pub(crate) marks: Marks,
    /// Why the device did not take it: every command has failed.
    pub(crate) refused: Option<Arc<thalweg_hal::Error>>,
}

/// What a list's commands have to tell. Where none has anything, that costs a look at each edge.
pub(crate) fn results(settled: &InFlight, reported: impl Iterator<Item = Report>) -> Results {
    let InFlight { at, list, edges, marks, refused, .. } = settled;
    let failure = |command: u32, source: Arc<thalweg_hal::Error>| {
        let operation = list.commands.get(command as usize).map_or("unknown".into(), |command| name(list, command));
        Failure { operation, stream: at.stream, value: at.value, source }
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
            Reported::Failed(error) => own.enter(command, failure(command, Arc::new(error))),
            Reported::Time(time) => times.push((command, time)),
        }
    }
    if let Some(error) = refused {
        let counts = |index: u32, command: &Command| *command != Command::Barrier && !marks.contain(index);
        for (index, _) in (0..).zip(&list.commands).filter(|(index, command)| counts(*index, command)) {
            own.enter(index, failure(index, Arc::clone(error)));
        }
    }
    times.sort_unstable_by_key(|(command, _)| *command);
    let failures = if inherited.any() || own.any() { propagate(list, inherited, own) } else { Vec::new() };
    Results { failures, times }
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

/// Lets failures follow the data inside a list: the bindings say which command reads what. It goes by the order of
/// recording, in which any two commands ran that touch the same bytes. An inherited failure comes before what the
/// device says of the command: it worked on undefined data.
fn propagate(list: &List, mut inherited: Failed, mut own: Failed) -> Vec<(u32, Failure)> {
    let mut failures = Vec::new();
    // Ranges of memories with undefined content, and the reason.
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
