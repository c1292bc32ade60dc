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

use std::time::Duration;
use thalweg_hal::{Command, Timestamps};

const FULL: u64 = 1;
const SERIALIZED: u64 = 2;
const LIST_TIMES: u64 = 4;
const COMMAND_TIMES: u64 = 8;
const FLAGS: u32 = 4;

/// Whether a device is profiled, and how: 0, or the session's number and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Profiling(u64);

impl Profiling {
    /// Nobody profiles.
    pub(crate) const OFF: Self = Self(0);

    /// A session of a number, on a device that takes the time at these places.
    pub(crate) fn new(session: u64, full: bool, serialized: bool, timestamps: Timestamps) -> Self {
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        let times = match timestamps {
            Timestamps::None => 0,
            Timestamps::ByList => LIST_TIMES,
            Timestamps::ByCommand => LIST_TIMES | COMMAND_TIMES,
        };
        Self(session << FLAGS | flag(full, FULL) | flag(serialized, SERIALIZED) | times)
    }

    /// As a number, and back.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn is_off(self) -> bool {
        self == Self::OFF
    }

    pub(crate) fn is_full(self) -> bool {
        self.0 & FULL != 0
    }

    /// Kernels are kept from overlapping.
    pub(crate) fn is_serialized(self) -> bool {
        self.0 & SERIALIZED != 0
    }

    /// The device takes the time where a list begins and ends.
    pub(crate) fn has_list_times(self) -> bool {
        self.0 & LIST_TIMES != 0
    }

    /// The device takes the time at any command.
    pub(crate) fn has_command_times(self) -> bool {
        self.0 & COMMAND_TIMES != 0
    }

    /// The number of the session.
    pub(crate) fn session(self) -> u64 {
        self.0 >> FLAGS
    }
}

/// The timestamps around one command, as indices in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) command: u32,
    pub(crate) before: u32,
    pub(crate) after: u32,
}

/// The timestamps of one list. Written under the recorder's lock, then by the thread that settles the list.
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
    pub(crate) fn is_of(&self, profiling: Profiling) -> bool {
        self.session == profiling.session()
    }

    /// The first operation of a list is about to be recorded. Gives the index of a barrier, if it adds one.
    #[inline]
    pub(crate) fn start(&mut self, profiling: Profiling, commands: &mut Vec<Command>) -> Option<u32> {
        if !profiling.has_list_times() || commands.len() > 1 {
            return None;
        }
        self.session = profiling.session();
        self.start = Some(self.push(commands, Command::Timestamp));
        Some(self.push(commands, Command::Barrier))
    }

    /// An operation is about to be recorded, its barrier is there already. Gives the timestamp before it, and the index
    /// of a barrier, if it adds one.
    #[inline]
    pub(crate) fn before(&mut self, profiling: Profiling, commands: &mut Vec<Command>) -> Option<(u32, Option<u32>)> {
        if !profiling.is_full() || !profiling.has_command_times() {
            return None;
        }
        if self.session == 0 {
            self.session = profiling.session(); // a list that was open when the session began
        } else if !self.is_of(profiling) {
            return None; // one that another session began with
        }
        if profiling.is_serialized() && commands.last() != Some(&Command::Barrier) {
            self.push(commands, Command::Barrier);
        }
        let before = self.push(commands, Command::Timestamp);
        Some((before, profiling.is_serialized().then(|| self.push(commands, Command::Barrier))))
    }

    /// An operation has been recorded as `command`, after `before`. Gives the index of a barrier, if it adds one.
    #[inline]
    pub(crate) fn after(
        &mut self,
        before: u32,
        command: u32,
        profiling: Profiling,
        commands: &mut Vec<Command>,
    ) -> Option<u32> {
        let barrier = profiling.is_serialized().then(|| self.push(commands, Command::Barrier));
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
