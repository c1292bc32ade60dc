//! A device that does all that the contract allows, as data: no thread, no bytes.
//!
//! Memory is cells of 256 bytes, each with a number that says which command wrote it and what that had read. Commands
//! between two barriers run in any order; lists of one stream overlap unless a barrier orders them; a list starts when
//! its waits are met, and what lies behind it on its hardware queue not before; a list that has run is signalled some
//! time later.

use super::Broken;
use super::program::{Order, Setup};
use crate::order::point::{Point, Points};
use fastrand::Rng;
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{Binding, Command, Error, List, Memory, MemoryKind, Report, Reported, Timestamps};

/// Bytes of a cell.
pub(super) const CELL: u64 = 256;

/// A command: its stream, its list's value, its index there.
pub(super) type Key = (u32, u64, u32);

/// Memory by its name alone.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) id: u64,
    pub(super) bytes: u64,
}

impl Memory for Cells {
    fn id(&self) -> u64 {
        self.id
    }
    fn bytes(&self) -> u64 {
        self.bytes
    }
    fn kind(&self) -> MemoryKind {
        MemoryKind::Device
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What a dispatch writes to a cell of a binding.
pub(super) fn written(operation: u32, binding: usize, cell: usize, read: &[u64]) -> u64 {
    hash(&(operation, binding, cell, read))
}

/// What a fill writes.
pub(super) fn filled(pattern: u32) -> u64 {
    hash(&("fill", pattern))
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Why a command failed: its own name.
pub(super) fn failure(key: Key) -> Error {
    Error::DeviceLost { device: format!("{key:?}") }
}

#[derive(Debug)]
pub(super) struct Device {
    random: Rng,
    order: Order,
    timestamps: Timestamps,
    broken: Option<Broken>,
    /// By hardware queue, in the order of submission.
    queues: Vec<Vec<Running>>,
    /// By stream, the value that has been signalled.
    signalled: Vec<u64>,
    /// By memory and place.
    cells: HashMap<(u64, u64), u64>,
    /// Steps so far.
    clock: u64,
    /// Commands that are to fail.
    pub(super) failing: HashSet<Key>,
    /// By stream, what there is to say of lists that have run.
    pub(super) reports: Vec<Vec<Report>>,
    pub(super) seen: Seen,
}

/// What was seen of commands.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What they read, with their index in the list that a command ran, if one did.
    pub(super) reads: HashMap<(Key, usize), Vec<u64>>,
    /// When they first and last did something.
    pub(super) times: HashMap<Key, (u64, u64)>,
    /// Timestamps that were not taken, for some reason.
    pub(super) not_taken: HashSet<Key>,
}

#[derive(Debug)]
struct Running {
    at: Point,
    waits: Points,
    /// Each command with the list that it is of, its index there, and that of the submitted list's command.
    steps: Vec<(Arc<List>, usize, u32)>,
    /// Of those, the ones that have not been taken.
    left: Vec<usize>,
    reports: Vec<Report>,
}

impl Running {
    fn is_barrier(&self, step: usize) -> bool {
        let (list, at, _) = &self.steps[step];
        list.commands[*at] == Command::Barrier
    }
}

/// What the device could do next.
#[derive(Clone, Copy)]
enum Step {
    Run { queue: usize, list: usize, left: usize },
    Signal { queue: usize, list: usize },
}

impl Device {
    pub(super) fn new(setup: &Setup, broken: Option<Broken>) -> Self {
        Self {
            random: Rng::with_seed(setup.seed),
            order: setup.order,
            timestamps: setup.timestamps,
            broken,
            queues: (0..setup.queues.min(setup.streams)).map(|_| Vec::new()).collect(),
            signalled: vec![0; setup.streams],
            cells: HashMap::new(),
            clock: 0,
            failing: HashSet::new(),
            reports: vec![Vec::new(); setup.streams],
            seen: Seen::default(),
        }
    }

    pub(super) fn submit(&mut self, at: Point, list: &Arc<List>, waits: Points) {
        let steps: Vec<_> = List::steps(list).map(|step| (Arc::clone(step.list), step.at, step.index)).collect();
        let is_taken_out = |at: &usize| {
            let (of, at, index) = &steps[*at];
            of.commands[*at] == Command::Barrier
                && match self.broken {
                    Some(Broken::FirstBarrier) => *index == 0,
                    Some(Broken::Barriers) => *index > 0 && Arc::ptr_eq(of, list),
                    _ => false,
                }
        };
        let left = (0..steps.len()).filter(|at| !is_taken_out(at)).collect();
        let queue = at.stream as usize % self.queues.len();
        self.queues[queue].push(Running { at, waits, steps, left, reports: Vec::new() });
    }

    /// Up to which value the stream's lists have been signalled.
    pub(super) fn signalled(&self, stream: u32) -> u64 {
        self.signalled[stream as usize]
    }

    /// What a cell holds.
    pub(super) fn cell(&self, memory: u64, cell: u64) -> Option<u64> {
        self.cells.get(&(memory, cell)).copied()
    }

    /// Takes up to so many steps.
    pub(super) fn run(&mut self, steps: usize) {
        (0..steps).take_while(|_| self.step()).for_each(drop);
    }

    /// Runs all that was submitted.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        while self.step() {}
        let stuck: Vec<_> = self.queues.iter().flatten().map(|running| (running.at, &running.waits)).collect();
        if stuck.is_empty() { Ok(()) } else { Err(format!("a cycle of waits: {stuck:?}")) }
    }

    /// Everything that it could do next. Barriers with nothing before them are done on the way.
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (queue_index, queue) in self.queues.iter_mut().enumerate() {
            let (mut nothing_before, mut blocked, mut unsignalled) = (true, false, HashSet::new());
            for (list_index, running) in queue.iter_mut().enumerate() {
                blocked |= running.waits.iter().any(|wait| self.signalled[wait.stream as usize] < wait.value);
                if blocked {
                    break;
                }
                while nothing_before && running.left.first().is_some_and(|at| running.is_barrier(*at)) {
                    running.left.remove(0);
                }
                let free = running.left.iter().take_while(|at| !running.is_barrier(**at)).count();
                steps.extend((0..free).map(|left| Step::Run { queue: queue_index, list: list_index, left }));
                // A barrier holds up everything behind it.
                blocked = free < running.left.len();
                nothing_before &= running.left.is_empty();
                if running.left.is_empty() && !unsignalled.contains(&running.at.stream) {
                    steps.push(Step::Signal { queue: queue_index, list: list_index });
                }
                unsignalled.insert(running.at.stream);
            }
        }
        steps
    }

    /// Takes one step; `false` if there is none.
    fn step(&mut self) -> bool {
        let mut steps = self.steps();
        if let Order::Late(late) = self.order
            && self.random.u8(..8) > 0
        {
            let of = |step: &Step| match *step {
                Step::Run { queue, list, .. } | Step::Signal { queue, list } => self.queues[queue][list].at.stream,
            };
            let others: Vec<_> = steps.iter().copied().filter(|step| of(step) != late).collect();
            steps = if others.is_empty() { steps } else { others };
        }
        let last = matches!(self.order, Order::LastFirst) && self.random.u8(..4) > 0;
        let step = if last { steps.last() } else { self.random.choice(&steps) };
        let Some(step) = step.copied() else { return false };
        self.clock += 1;
        match step {
            Step::Signal { queue, list } => {
                let done = self.queues[queue].remove(list);
                self.signalled[done.at.stream as usize] = done.at.value;
                self.reports[done.at.stream as usize].extend(done.reports);
            }
            Step::Run { queue, list, left } => self.execute(queue, list, left),
        }
        true
    }

    fn execute(&mut self, queue: usize, list: usize, left: usize) {
        let running = &mut self.queues[queue][list];
        let Point { stream, value } = running.at;
        let (list, at, index) = running.steps[running.left.remove(left)].clone();
        let key = (stream, value, index);
        let fails = self.failing.contains(&key);
        let mut report = |what| running.reports.push(Report { value, command: index, what });
        let command = list.commands[at];
        if command == Command::Timestamp {
            // One in eight says that it failed.
            match self.timestamps.takes(&list, at) {
                true if self.random.u8(..8) == 0 => {
                    self.seen.not_taken.insert(key);
                    report(Reported::Failed(failure(key)));
                }
                true => report(Reported::Time(Duration::from_nanos(self.clock))),
                false => {}
            }
            return;
        }
        if fails {
            report(Reported::Failed(failure(key)));
        }
        let now = self.clock;
        self.seen.times.entry(key).and_modify(|(_, last)| *last = now).or_insert((now, now));
        let bindings = list.bindings_of(&command);
        let cells = |binding: &Binding| cells(list.memories[binding.memory as usize].id(), binding);
        let read: Vec<u64> = bindings
            .iter()
            .filter(|binding| binding.access != thalweg_hal::Access::Write)
            .flat_map(cells)
            .map(|cell| self.cells.get(&cell).copied().unwrap_or_default())
            .collect();
        let outputs = bindings.iter().enumerate().filter(|(_, binding)| binding.access.writes());
        let outputs = outputs.flat_map(|(index, binding)| (0..).zip(cells(binding)).map(move |cell| (index, cell)));
        for (binding, (number, cell)) in outputs {
            let content = match command {
                // What a failed command leaves is anything.
                _ if fails => self.random.u64(..),
                Command::Copy { .. } => read[number],
                Command::Fill { pattern, .. } => filled(pattern),
                Command::Dispatch { params, .. } => {
                    let operation = list.params[params.range()].try_into().expect("an operation's number");
                    written(u32::from_le_bytes(operation), binding, number, &read)
                }
                Command::Run { .. } | Command::Barrier | Command::Timestamp => continue,
            };
            self.cells.insert(cell, content);
        }
        self.seen.reads.insert((key, at), read);
    }
}

/// The cells of a binding, in their order.
fn cells(memory: u64, binding: &Binding) -> impl Iterator<Item = (u64, u64)> + use<> {
    let range: Range<u64> = binding.offset / CELL..(binding.offset + binding.bytes).div_ceil(CELL);
    range.map(move |cell| (memory, cell))
}
