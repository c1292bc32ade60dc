//! Timestamps that the profiler puts into a list.
//!
//! ```text
//!  barrier  T barrier  ┆ [barrier] [barrier*] T [barrier*] command [barrier*] T ┆ ...  barrier T
//!  (I6)     the start      hazards            before                        after      the end
//! ```
//!
//! `*` only where kernels are serialized. A device that takes the time by list has the first and the last of them. What
//! the profiler adds orders nothing less than before, and the recorder's index of the last barrier stays right, so
//! hazards see at most barriers that they need not add. Nothing of it counts as a command: not for the length at which
//! a list is handed over, and not for failures.

use super::hook::State;
use std::time::Duration;
use thalweg_hal::Command;

/// The timestamps around one command, as indices in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) command: u32,
    pub(crate) before: u32,
    pub(crate) after: u32,
}

/// The timestamps of one list. Written under the recorder's lock, then by whoever settles the list.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// The number of the session that they are for; 0 for none.
    session: u64,
    start: Option<u32>,
    end: Option<u32>,
    commands: Vec<Mark>,
    /// Commands of the list that are the profiler's.
    added: u32,
    /// By rising index: what the device said, in nanoseconds.
    times: Vec<(u32, u64)>,
}

impl Marks {
    pub(crate) const NONE: Self =
        Self { session: 0, start: None, end: None, commands: Vec::new(), added: 0, times: Vec::new() };

    /// Commands of the list that are the profiler's.
    pub(crate) fn added(&self) -> usize {
        self.added as usize
    }

    /// Whether they are for the session that runs.
    pub(crate) fn is_of(&self, state: State) -> bool {
        self.session == state.session()
    }

    /// The first operation of a list is about to be recorded. Gives the index of a barrier, if it adds one.
    pub(crate) fn start(&mut self, state: State, commands: &mut Vec<Command>) -> Option<u32> {
        if !state.has_list_times() || commands.len() > 1 {
            return None;
        }
        self.session = state.session();
        self.start = Some(self.push(commands, Command::Timestamp));
        Some(self.push(commands, Command::Barrier))
    }

    /// An operation is about to be recorded, its barrier is there already. Gives the timestamp before it, and the index
    /// of a barrier, if it adds one.
    pub(crate) fn before(&mut self, state: State, commands: &mut Vec<Command>) -> Option<(u32, Option<u32>)> {
        if !state.is_full() || !state.has_command_times() {
            return None;
        }
        if self.session == 0 {
            self.session = state.session(); // a list that was open when the session began
        } else if !self.is_of(state) {
            return None; // one that another session began with
        }
        if state.is_serialized() && commands.last() != Some(&Command::Barrier) {
            self.push(commands, Command::Barrier);
        }
        let before = self.push(commands, Command::Timestamp);
        Some((before, state.is_serialized().then(|| self.push(commands, Command::Barrier))))
    }

    /// An operation has been recorded as `command`, after `before`. Gives the index of a barrier, if it adds one.
    pub(crate) fn after(
        &mut self,
        before: u32,
        command: u32,
        state: State,
        commands: &mut Vec<Command>,
    ) -> Option<u32> {
        let barrier = state.is_serialized().then(|| self.push(commands, Command::Barrier));
        let after = self.push(commands, Command::Timestamp);
        self.commands.push(Mark { command, before, after });
        barrier
    }

    /// The list is complete.
    pub(crate) fn end(&mut self, commands: &mut Vec<Command>) {
        if self.start.is_some() {
            self.push(commands, Command::Barrier);
            self.end = Some(self.push(commands, Command::Timestamp));
        }
    }

    fn push(&mut self, commands: &mut Vec<Command>, command: Command) -> u32 {
        self.added += 1;
        commands.push(command);
        commands.len() as u32 - 1
    }

    /// Whether the command is one of the profiler's timestamps. Whatever the device says of those is nobody's failure.
    pub(crate) fn contain(&self, command: u32) -> bool {
        if self.session == 0 {
            return false;
        }
        let after = self.commands.partition_point(|mark| mark.after < command);
        let mark = self.commands.get(after);
        [self.start, self.end].contains(&Some(command))
            || mark.is_some_and(|mark| [mark.before, mark.after].contains(&command))
    }

    /// Takes the profiler's times out of what the list's commands have to tell, by rising index.
    pub(crate) fn take_times(&mut self, times: &mut Vec<(u32, Duration)>) {
        if self.session != 0 {
            let own = times.extract_if(.., |(command, _)| self.contain(*command));
            let own: Vec<_> = own.map(|(command, time)| (command, time.as_nanos() as u64)).collect();
            self.times = own;
        }
    }

    /// What the device said.
    pub(crate) fn time(&self, command: u32) -> Option<u64> {
        let at = self.times.binary_search_by_key(&command, |(index, _)| *index).ok()?;
        Some(self.times[at].1)
    }

    /// The first and the last timestamp.
    pub(crate) fn ends(&self) -> (Option<u32>, Option<u32>) {
        (self.start, self.end)
    }

    pub(crate) fn commands(&self) -> &[Mark] {
        &self.commands
    }
}
