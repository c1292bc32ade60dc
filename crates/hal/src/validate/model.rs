//! The happens-before model: queues, timelines, the host, and the rules of the table in [`super`].

use super::Report;
use super::clock::{Clock, Epoch};
use super::history::{Conflict, Displaced, History, Kind, Recording};
use crate::{Command, List, Submission, Timeline, TimelinePoint, Violation};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// How many violations a report keeps.
const KEPT: usize = 16;
/// After how many submissions the timelines are asked at the latest, to forget what is complete.
const OBSERVE_EVERY: u32 = 64;

/// A wrapped queue.
#[derive(Debug, Default)]
struct QueueState {
    /// Commands submitted so far, barriers included: the number of the last.
    commands: u64,
    /// What comes before every command from now on: all that came before the last barrier.
    fence: Clock,
    /// What the next barrier will put into `fence`: the queue's commands, and all that comes before any of them.
    reach: Clock,
    /// Lists that may not be complete, and one more: to name commands in reports.
    lists: VecDeque<ListRecord>,
    /// The wrapped queue is gone.
    retired: bool,
}

#[derive(Debug)]
struct ListRecord {
    /// The number of its first command.
    first: u64,
    timeline: u64,
    value: u64,
}

/// A timeline that submitted lists will raise. Forgotten once all of them have.
#[derive(Debug)]
struct TimelineState {
    timeline: Arc<dyn Timeline>,
    /// What the host's clock covers.
    completed: u64,
    /// Above `completed`, and rising.
    promises: VecDeque<Promise>,
}

#[derive(Debug)]
struct Promise {
    value: u64,
    /// What comes before the value, with all that comes before lower ones.
    covers: Clock,
    /// The inner device has accepted the list.
    submitted: bool,
}

/// A host access that is being carried out.
#[derive(Debug)]
struct HostAccess {
    ticket: u64,
    access: &'static str,
    memory: u64,
    bytes: Range<u64>,
    kind: Kind,
}

/// A submission that has been checked and entered, but that the inner device has not accepted yet.
#[derive(Debug)]
pub(super) struct Reservation {
    queue: usize,
    /// The number of the list's first command.
    first: u64,
    timeline: u64,
    value: u64,
    fence_before: Clock,
    reach_before: Clock,
    displaced: Vec<Displaced>,
}

/// Everything the validator knows.
#[derive(Debug, Default)]
pub(super) struct Model {
    queues: Vec<QueueState>,
    timelines: HashMap<u64, TimelineState>,
    /// What the host has seen complete.
    host: Clock,
    history: History,
    /// Submissions since the timelines were asked.
    unobserved: u32,
    host_accesses: Vec<HostAccess>,
    next_ticket: u64,
    report: Report,
}

impl Model {
    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    /// Counts a violation.
    pub(super) fn note(&mut self, violation: &Violation) {
        self.report.violations += 1;
        if self.report.first.len() < KEPT {
            self.report.first.push(violation.clone());
        }
    }

    /// Enters a queue. The index of one that is gone is used again once all its commands are complete, so that clocks
    /// stay as short as the number of queues in use.
    pub(super) fn add_queue(&mut self) -> usize {
        if self.queues.iter().any(|queue| queue.retired) {
            self.observe();
        }
        let free = (0..self.queues.len()).find(|at| {
            let queue = &self.queues[*at];
            queue.retired && self.host.of(*at) >= queue.commands
        });
        match free {
            Some(at) => {
                // Numbers go on: the host's clock covers all of the old ones.
                self.queues[at] = QueueState { commands: self.queues[at].commands, ..QueueState::default() };
                at
            }
            None => {
                self.queues.push(QueueState::default());
                self.queues.len() - 1
            }
        }
    }

    /// The queue will submit no more.
    pub(super) fn retire_queue(&mut self, queue: usize) {
        self.queues[queue].retired = true;
    }

    /// Checks the order of a list that has passed [`List::check`] and enters it.
    ///
    /// # Errors
    /// The first violation; the model is then as it was.
    pub(super) fn reserve(
        &mut self,
        queue: usize,
        timeline: &Arc<dyn Timeline>,
        submission: Submission<'_>,
    ) -> Result<Reservation, Violation> {
        self.unobserved += 1;
        if self.unobserved >= OBSERVE_EVERY || self.history.is_large() {
            self.observe();
            self.history.sweep(&self.host);
        }
        let result = self.try_reserve(queue, timeline, submission);
        // What is complete by now orders as well. Asked only if it matters: a device may take a question for its
        // progress as a reason to make some.
        if result.is_err() && self.observe() { self.try_reserve(queue, timeline, submission) } else { result }
    }

    fn try_reserve(
        &mut self,
        queue: usize,
        timeline: &Arc<dyn Timeline>,
        submission: Submission<'_>,
    ) -> Result<Reservation, Violation> {
        let Submission { list, waits, value } = submission;

        let mut start = self.queues[queue].fence.clone();
        start.join(&self.host);
        for wait in waits {
            self.join_wait(wait, &mut start)?;
        }
        let submitted = self.check_rises(timeline, value)?;

        let state = &mut self.queues[queue];
        let mut reservation = Reservation {
            queue,
            first: state.commands + 1,
            timeline: timeline.id(),
            value,
            fence_before: state.fence.clone(),
            reach_before: state.reach.clone(),
            displaced: Vec::new(),
        };
        state.lists.push_back(ListRecord { first: reservation.first, timeline: reservation.timeline, value });
        if List::steps(list).next().is_some() {
            state.reach.join(&start);
        }
        match self.enter(list, &start, &mut reservation) {
            Ok(()) => {
                let mut covers = start;
                covers.join(&self.queues[queue].reach);
                self.promise(timeline, value, covers, submitted);
                Ok(reservation)
            }
            Err(violation) => {
                self.roll_back(list, reservation);
                Err(violation)
            }
        }
    }

    /// The inner device has accepted the list.
    pub(super) fn confirm(&mut self, list: &Arc<List>, reservation: &Reservation) {
        self.report.submissions += 1;
        self.report.commands += List::steps(list).count() as u64;
        // Not there any more if the host has seen it complete meanwhile.
        if let Some(state) = self.timelines.get_mut(&reservation.timeline)
            && let Some(promise) = state.promises.iter_mut().rfind(|promise| promise.value == reservation.value)
        {
            promise.submitted = true;
        }
    }

    /// The inner device has refused the list, or it has a violation: as if it had never been there.
    pub(super) fn roll_back(&mut self, list: &Arc<List>, reservation: Reservation) {
        let Reservation { queue, first, timeline, value, fence_before, reach_before, displaced } = reservation;
        if let Some(state) = self.timelines.get_mut(&timeline) {
            state.promises.retain(|promise| promise.submitted || promise.value != value);
            if state.promises.is_empty() {
                self.timelines.remove(&timeline);
            }
        }
        let memories = List::with_inner(list).flat_map(|list| list.memories.iter().map(|memory| memory.id()));
        self.history.undo(queue, first, memories, displaced);
        let state = &mut self.queues[queue];
        state.commands = first - 1;
        state.fence = fence_before;
        state.reach = reach_before;
        // Ours: only the queue's owner submits to it, and the last record is never forgotten.
        state.lists.pop_back();
    }

    /// Checks a host access and enters it as being carried out.
    ///
    /// # Errors
    /// If a submitted command, or another host access, may touch the bytes at the same time.
    pub(super) fn begin_host_access(
        &mut self,
        access: &'static str,
        kind: Kind,
        memory: u64,
        bytes: Range<u64>,
    ) -> Result<u64, Violation> {
        let mut conflict = self.conflict(memory, &bytes, kind, &self.host);
        if conflict.is_some() && self.observe() {
            conflict = self.conflict(memory, &bytes, kind, &self.host);
        }
        if let Some((Range { start, end }, other)) = conflict {
            return Err(Violation::HostAccess { access, memory, start, end, other });
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.host_accesses.push(HostAccess { ticket, access, memory, bytes, kind });
        Ok(ticket)
    }

    /// The host access has been carried out.
    pub(super) fn end_host_access(&mut self, ticket: u64) {
        self.host_accesses.retain(|access| access.ticket != ticket);
    }

    /// Asks the timelines how far they are, and takes what is complete into the host's clock; whether there was any.
    fn observe(&mut self) -> bool {
        self.unobserved = 0;
        let mut advanced = false;
        let host = &mut self.host;
        self.timelines.retain(|_, state| {
            state.completed = state.timeline.completed();
            let reached = state.promises.partition_point(|promise| promise.value <= state.completed);
            if let Some(last) = state.promises.drain(..reached).next_back() {
                host.join(&last.covers);
                advanced = true;
            }
            !state.promises.is_empty()
        });
        if advanced {
            for (at, queue) in self.queues.iter_mut().enumerate() {
                while queue.lists.get(1).is_some_and(|next| next.first <= host.of(at) + 1) {
                    queue.lists.pop_front();
                }
            }
        }
        advanced
    }

    /// Adds to `clock` what comes before the value of a wait.
    fn join_wait(&self, wait: &TimelinePoint, clock: &mut Clock) -> Result<(), Violation> {
        let timeline = wait.timeline.id();
        let state = self.timelines.get(&timeline);
        // With nothing outstanding, the host has seen all that was ever promised.
        let completed = state.map_or_else(|| wait.timeline.completed(), |state| state.completed);
        if wait.value <= completed {
            return Ok(());
        }
        let outstanding = state.map(|state| &state.promises);
        // Values are reached by signals: one between two signals is reached by the second.
        let promise = outstanding.and_then(|promises| {
            let at = promises.partition_point(|promise| promise.value < wait.value);
            promises.get(at).filter(|promise| promise.submitted)
        });
        if let Some(promise) = promise {
            clock.join(&promise.covers);
            return Ok(());
        }
        let highest = outstanding.and_then(|promises| promises.iter().rfind(|promise| promise.submitted));
        let submitted = highest.map_or(completed, |promise| promise.value);
        Err(Violation::WaitNotSubmitted { timeline, value: wait.value, submitted })
    }

    /// Checks that a value raises its timeline. Returns that of the last list before.
    fn check_rises(&self, timeline: &Arc<dyn Timeline>, value: u64) -> Result<u64, Violation> {
        let last = self.timelines.get(&timeline.id()).and_then(|state| state.promises.back());
        // With nothing outstanding, all that was ever submitted is complete.
        let submitted = last.map_or_else(|| timeline.completed(), |promise| promise.value);
        if value > submitted {
            Ok(submitted)
        } else {
            Err(Violation::ValueNotRising { timeline: timeline.id(), value, submitted })
        }
    }

    /// Enters the promise of a value. Those before it, if any are outstanding, are known to the timeline's entry; if
    /// none is, `submitted` is complete.
    fn promise(&mut self, timeline: &Arc<dyn Timeline>, value: u64, mut covers: Clock, submitted: u64) {
        let state = self.timelines.entry(timeline.id()).or_insert_with(|| TimelineState {
            timeline: timeline.clone(),
            completed: submitted,
            promises: VecDeque::new(),
        });
        if let Some(previous) = state.promises.back() {
            covers.join(&previous.covers);
        }
        state.promises.push_back(Promise { value, covers, submitted: false });
    }

    /// Walks the commands of a list: checks each access, then records it.
    fn enter(&mut self, list: &Arc<List>, start: &Clock, reservation: &mut Reservation) -> Result<(), Violation> {
        let &mut Reservation { queue, first, timeline, value, .. } = reservation;
        // Until the first barrier the list starts at `start`; from then on, the queue's fence has that too.
        let mut fenced = false;
        for step in List::steps(list) {
            let (list, command) = (step.list, step.command());
            let state = &mut self.queues[queue];
            state.commands += 1;
            state.reach.advance(queue, state.commands);
            if matches!(command, Command::Barrier) {
                state.fence.clone_from(&state.reach);
                fenced = true;
                continue;
            }
            let epoch = Epoch { queue, number: state.commands };
            for binding in list.bindings_of(command) {
                let memory = list.memories[binding.memory as usize].id();
                let bytes = binding.offset..binding.offset + binding.bytes;
                let kind = if binding.access.writes() { Kind::Write } else { Kind::Read };
                let before = if fenced { &self.queues[queue].fence } else { start };
                if let Some((Range { start, end }, other)) = self.conflict(memory, &bytes, kind, before) {
                    let command = step.index as usize;
                    return Err(Violation::Unordered { timeline, value, command, memory, start, end, other });
                }
                let recording = Recording { epoch, before, list_start: first, host: &self.host };
                self.history.record(memory, &bytes, kind, &recording, &mut reservation.displaced);
            }
        }
        Ok(())
    }

    /// What conflicts with an access that comes after `before`, in words, with the bytes of the overlap.
    fn conflict(&self, memory: u64, bytes: &Range<u64>, kind: Kind, before: &Clock) -> Option<(Range<u64>, String)> {
        if bytes.is_empty() {
            return None;
        }
        let by_host = self.host_accesses.iter().find(|other| {
            other.memory == memory
                && (kind == Kind::Write || other.kind == Kind::Write)
                && other.bytes.start < bytes.end
                && bytes.start < other.bytes.end
        });
        if let Some(HostAccess { access, bytes: other, .. }) = by_host {
            let overlap = bytes.start.max(other.start)..bytes.end.min(other.end);
            return Some((overlap, format!("the host, which {access} them at this moment")));
        }
        let conflict = self.history.conflict(memory, bytes, kind, before)?;
        let other = self.describe(&conflict);
        Some((conflict.bytes, other))
    }

    /// An earlier access in words.
    fn describe(&self, conflict: &Conflict) -> String {
        let Epoch { queue, number } = conflict.other;
        let kind = match conflict.kind {
            Kind::Read => "read",
            Kind::Write => "write",
        };
        let lists = &self.queues[queue].lists;
        let at = lists.partition_point(|list| list.first <= number);
        match at.checked_sub(1).and_then(|at| lists.get(at)) {
            Some(ListRecord { first, timeline, value }) => {
                format!("the {kind} by command {} of the list signalling {timeline}:{value}", number - first)
            }
            None => format!("the {kind} by command {number} of queue {queue}"),
        }
    }

    /// Ranges in the history, and promises that are not complete.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.history.segments(), self.timelines.values().map(|state| state.promises.len()).sum())
    }

    /// Entries for queues.
    #[cfg(test)]
    pub(super) fn queues(&self) -> usize {
        self.queues.len()
    }

    /// Everything but the report, in words: to compare two states.
    #[cfg(test)]
    pub(super) fn picture(&self) -> String {
        format!("{:?} {:?} {:?} {:?}", self.queues, self.timelines, self.host, self.history.picture())
    }
}
