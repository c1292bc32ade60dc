//! The open list of a stream: plain data, under the recorder's lock.

use super::outcome::Outcome;
use crate::error::{Error, Result};
use crate::graph::Replay;
use crate::hazard::{Hazard, Use, Uses, Write};
use crate::memory::heap::Heap;
use crate::memory::{Operand, Storage};
use crate::pipelines::Pipeline;
use crate::profile::hook::State;
use crate::profile::marks::Marks;
use crate::sync::MutexGuard;
use smallvec::SmallVec;
use std::sync::Arc;
use thalweg_hal::{Access, Binding, Command, List, Memory, PARAMETER_ALIGNMENT, Span};

/// A value on a stream's timeline: stream, value.
pub(crate) type Point = (u32, u64);
/// Values that a list waits for.
pub(crate) type Points = SmallVec<[Point; 4]>;

/// A command of a list reads what a command of another list wrote.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// The reading command's index in its list.
    pub(crate) reader: u32,
    /// What it reads.
    pub(crate) writer: Write,
}

/// What devices fill memory with, in bytes.
const WORD: u64 = 4;
/// The most bytes that are filled by one command: every device binds as many.
const MOST_FILLED: u64 = 64 << 20;
/// Size of the direct-mapped table from a memory's id to its place in the open list.
const MEMORY_SLOTS: usize = 64;

/// A memory that the list signalling a value holds at an index.
#[derive(Clone, Copy, Debug, Default)]
struct MemorySlot {
    memory: u64,
    /// No list signals 0, so a slot that was never used fits none.
    list: u64,
    index: u32,
}

/// What an operation does with its operands.
///
/// A kernel is compiled before the operation that runs it is recorded:
///
/// ```
/// # use thalweg_runtime::{Device, Operand, Result, Stream, Work};
/// # use thalweg_hal::KernelSource;
/// fn run(device: &Device, stream: &Stream, kernel: &KernelSource, operands: &[Operand<'_>]) -> Result<()> {
///     let pipeline = &device.pipeline(kernel)?;
///     stream.record(&Work::Dispatch { pipeline, params: &[], extent: [1; 3] }, operands)
/// }
/// ```
///
/// Never on the way:
///
/// ```compile_fail,E0308
/// # use thalweg_runtime::{Device, Operand, Result, Stream, Work};
/// # use thalweg_hal::KernelSource;
/// fn run(device: &Device, stream: &Stream, kernel: &KernelSource, operands: &[Operand<'_>]) -> Result<()> {
///     let pipeline = kernel;
///     stream.record(&Work::Dispatch { pipeline, params: &[], extent: [1; 3] }, operands)
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// Runs a kernel; see [`Command::Dispatch`].
    Dispatch {
        /// The compiled kernel.
        pipeline: &'a Pipeline,
        /// Its parameter struct.
        params: &'a [u8],
        /// How much work there is. Written operands divide evenly by the first axis.
        extent: [u32; 3],
    },
    /// Copies the first operand to the second.
    Copy,
    /// Fills the only operand with a 32-bit pattern. A length that is not a whole number of words ends with the first
    /// bytes of one.
    Fill(u32),
}

/// What other streams have done, as far as a recorder needs to know. The answers may be out of date, on the safe side.
pub(crate) trait Progress {
    /// Up to this value the stream's lists have settled, and their results are known.
    fn settled(&self, stream: u32) -> u64;
}

/// A list that nobody can append to, on its way to the queue.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) value: u64,
    pub(crate) list: List,
    /// Foreign values to wait for, all submitted (I1), each stream once.
    pub(crate) waits: Points,
    /// What its commands read of other lists.
    pub(crate) edges: Vec<Edge>,
    /// Where those ask who depend on it.
    pub(crate) outcome: Arc<Outcome>,
    /// The profiler's timestamps.
    pub(crate) marks: Marks,
}

/// What a stream has recorded and not yet handed over, and its free memory.
#[derive(Debug)]
pub(crate) struct Recorder {
    stream: u32,
    /// The value that the open list will signal.
    open: u64,
    /// Index of the open list's last barrier: two uses since then have none between them.
    barrier: u32,
    list: List,
    waits: Points,
    edges: Vec<Edge>,
    outcome: Arc<Outcome>,
    /// The profiler's timestamps in the open list.
    marks: Marks,
    /// An event wants the time at the open list's end.
    timed: bool,
    /// Nothing is recorded any more.
    pub(crate) closed: bool,
    /// By stream: the value that this stream is ordered after already, through the waits of any of its lists.
    ordered_after: Vec<u64>,
    /// By the low bits of a memory's id: where it is in the open list. A miss costs a second entry.
    memory_slots: [MemorySlot; MEMORY_SLOTS],
    pub(crate) heap: Heap,
}

impl Recorder {
    pub(crate) fn new(stream: u32) -> Self {
        let mut recorder = Self {
            stream,
            open: 0,
            barrier: 0,
            list: List::default(),
            waits: Points::new(),
            edges: Vec::new(),
            outcome: Arc::default(),
            marks: Marks::default(),
            timed: false,
            closed: false,
            ordered_after: Vec::new(),
            memory_slots: [MemorySlot::default(); MEMORY_SLOTS],
            heap: Heap::default(),
        };
        recorder.begin(List::default());
        recorder
    }

    /// Opens the next list. It starts with a barrier, which orders it after the stream's previous list (I6).
    fn begin(&mut self, mut list: List) {
        list.commands.push(Command::Barrier);
        self.list = list;
        self.open += 1;
        self.barrier = 0;
    }

    /// The last value that has something to it: the open list's, or the one before if that is still empty.
    pub(crate) fn last(&self) -> u64 {
        if self.is_empty() { self.open - 1 } else { self.open }
    }

    fn is_empty(&self) -> bool {
        self.list.commands.len() == 1 && self.waits.is_empty() && !self.timed
    }

    /// Number of commands in the open list, without the profiler's.
    pub(crate) fn len(&self) -> usize {
        self.list.commands.len() - self.marks.added()
    }

    /// Takes the open list, if there is anything in it, and opens the next in `spare`.
    pub(crate) fn seal(&mut self, spare: List) -> Option<Sealed> {
        if self.is_empty() {
            return None;
        }
        let value = self.open;
        self.marks.end(&mut self.list.commands);
        if std::mem::take(&mut self.timed) {
            self.list.commands.extend([Command::Barrier, Command::Timestamp]);
            self.outcome.end_at(self.list.commands.len() as u32 - 1);
        }
        let marks = std::mem::take(&mut self.marks);
        let list = std::mem::take(&mut self.list);
        let (waits, edges) = (std::mem::take(&mut self.waits), std::mem::take(&mut self.edges));
        let outcome = std::mem::take(&mut self.outcome);
        self.begin(spare);
        Some(Sealed { value, list, waits, edges, outcome, marks })
    }

    /// A foreign value that the open list has to come after, and that has not settled.
    pub(crate) fn next_wait(&self, progress: &impl Progress) -> Option<Point> {
        self.waits.iter().copied().find(|(stream, value)| progress.settled(*stream) < *value)
    }

    /// Makes everything recorded from now on come after a foreign value, which is submitted.
    pub(crate) fn wait_for(&mut self, (stream, value): Point, progress: &impl Progress) {
        let index = stream as usize;
        if stream == self.stream || value <= progress.settled(stream) {
            return;
        }
        if self.ordered_after.len() <= index {
            self.ordered_after.resize(index + 1, 0);
        }
        if value > self.ordered_after[index] {
            self.ordered_after[index] = value;
            match self.waits.iter_mut().find(|wait| wait.0 == stream) {
                Some(wait) => wait.1 = value,
                None => self.waits.push((stream, value)),
            }
        }
    }

    /// Appends an operation and stamps its blocks, as one step (I2). The caller holds the blocks' hazards, whose
    /// foreign uses are all submitted, and has checked the operands.
    pub(crate) fn append(
        &mut self,
        work: &Work<'_>,
        operands: &[Operand<'_>],
        hazards: &mut [Locked<'_>],
        progress: &impl Progress,
        profile: State,
    ) -> Use {
        self.order(hazards, progress, profile);
        let before = self.marks.before(profile, &mut self.list.commands);
        let command = self.list.commands.len() as u32;
        let Self { list, memory_slots, open, .. } = self;
        push_command(list, work, operands, |list, storage| {
            (memory_index(list, memory_slots, *open, storage.memory()), storage.offset())
        });
        self.mark(before, command, profile);
        hazards.iter_mut().for_each(|locked| self.stamp(locked, command, progress));
        self.at(command)
    }

    /// Appends a run of a graph and stamps its operands and the graph's memory, as one step (I2): a copy for each
    /// input, the run, a copy for each output. The caller holds the hazards, as for [`append`](Self::append).
    pub(crate) fn append_replay(
        &mut self,
        replay: &Replay<'_>,
        hazards: &mut [Locked<'_>],
        progress: &impl Progress,
        profile: State,
    ) -> Use {
        self.order(hazards, progress, profile);
        let before = self.marks.before(profile, &mut self.list.commands);
        let graph = self.memory_index(replay.instance.memory());
        if let Some((offset, bytes)) = replay.instance.to_be_filled() {
            self.push_zeros(graph, offset, bytes);
            self.push_barrier();
        }
        let copies_in = self.list.commands.len() as u32;
        for input in replay.inputs() {
            let from = self.binding(&replay.operands[input]);
            self.push_copy(from, replay.region(input, graph, Access::Write));
        }
        if !replay.inputs().is_empty() {
            self.push_barrier();
        }
        let start = self.list.bindings.len() as u32;
        let read = replay.inputs().map(|input| replay.region(input, graph, Access::Read));
        let written = replay.outputs().map(|output| replay.region(output, graph, Access::Write));
        self.list.bindings.extend(read.chain(written));
        let bindings = Span { start, len: self.list.bindings.len() as u32 - start };
        let list = self.list_index(&replay.instance.list);
        let run = self.list.commands.len() as u32;
        self.list.commands.push(Command::Run { list, bindings });
        self.push_barrier();
        let copies_out = self.list.commands.len() as u32;
        for output in replay.outputs() {
            let to = self.binding(&replay.operands[output]);
            self.push_copy(replay.region(output, graph, Access::Read), to);
        }
        let last = self.list.commands.len() as u32 - 1;
        for locked in hazards {
            let command = match locked.operand {
                input if replay.inputs().contains(&input) => copies_in + input as u32,
                output if replay.outputs().contains(&output) => copies_out + (output - replay.inputs().len()) as u32,
                _ => last,
            };
            self.stamp(locked, command, progress);
        }
        self.mark(before, run, profile);
        self.at(run)
    }

    /// Fills raw memory with zeros, as the first use of its bytes. The caller stamps them with what this gives.
    pub(crate) fn append_zeros(
        &mut self,
        memory: &Arc<dyn Memory>,
        (offset, bytes): (u64, u64),
        progress: &impl Progress,
        profile: State,
    ) -> Write {
        self.order(&[], progress, profile);
        let before = self.marks.before(profile, &mut self.list.commands);
        let memory = self.memory_index(memory);
        self.push_zeros(memory, offset, bytes);
        let command = self.list.commands.len() as u32 - 1;
        self.mark(before, command, profile);
        Write { by: self.at(command), outcome: Arc::clone(&self.outcome) }
    }

    fn push_zeros(&mut self, memory: u32, offset: u64, bytes: u64) {
        for start in (0..bytes).step_by(MOST_FILLED as usize) {
            let bytes = MOST_FILLED.min(bytes - start);
            let bindings = Span { start: self.list.bindings.len() as u32, len: 1 };
            self.list.bindings.push(Binding { memory, access: Access::Write, offset: offset + start, bytes });
            self.list.commands.push(Command::Fill { bindings, pattern: 0 });
        }
    }

    /// What the open list's commands have to tell, once it has settled.
    pub(crate) fn outcome(&self) -> &Arc<Outcome> {
        &self.outcome
    }

    /// A command of the open list.
    fn at(&self, command: u32) -> Use {
        Use { stream: self.stream, command, value: self.open }
    }

    /// Adds the waits and the barrier that an operation with these hazards has to come after.
    fn order(&mut self, hazards: &[Locked<'_>], progress: &impl Progress, profile: State) {
        let mut barrier = false;
        for Locked { access, uses, .. } in hazards {
            for by in uses.before(*access) {
                if by.stream != self.stream {
                    self.wait_for((by.stream, by.value), progress);
                } else {
                    // Within the list. Earlier lists of this stream are ordered by the barrier at its start.
                    barrier |= by.value == self.open && by.command > self.barrier;
                }
            }
        }
        self.barrier = self.marks.start(profile, &mut self.list.commands).unwrap_or(self.barrier);
        if barrier {
            self.push_barrier();
        }
    }

    /// Ends what the profiler began before a command.
    fn mark(&mut self, before: Option<(u32, Option<u32>)>, command: u32, profile: State) {
        if let Some((before, barrier)) = before {
            let after = self.marks.after(before, command, profile, &mut self.list.commands);
            // That of a replay may be behind those that it added itself.
            self.barrier = after.or(barrier).map_or(self.barrier, |barrier| barrier.max(self.barrier));
        }
    }

    fn push_barrier(&mut self) {
        self.barrier = self.list.commands.len() as u32;
        self.list.commands.push(Command::Barrier);
    }

    /// Enters a command of the open list as the last use of some bytes.
    fn stamp(&mut self, Locked { access, uses, .. }: &mut Locked<'_>, command: u32, progress: &impl Progress) {
        let by = self.at(command);
        if *access != Access::Write {
            uses.writes.iter().for_each(|writer| self.read_from(by.command, writer, progress));
        }
        uses.stamp(*access, by, &self.outcome);
    }

    /// Makes a command of the open list fail if the one did whose data it reads. Inside the list that follows from the
    /// bindings; see `retire`.
    fn read_from(&mut self, reader: u32, writer: &Write, progress: &impl Progress) {
        let by = writer.by;
        let own = by.stream == self.stream && by.value == self.open;
        let fine = || by.value <= progress.settled(by.stream) && writer.result().is_ok();
        if !own && !fine() {
            self.edges.push(Edge { reader, writer: writer.clone() });
        }
    }

    /// Appends a timestamp, between barriers: it comes after everything before it, and before everything after it.
    /// Gives its list's value and its index there.
    pub(crate) fn append_timestamp(&mut self) -> (u64, u32, Arc<Outcome>) {
        let command = self.list.commands.len() as u32 + 1;
        self.list.commands.extend([Command::Barrier, Command::Timestamp, Command::Barrier]);
        self.barrier = command + 1;
        (self.open, command, Arc::clone(&self.outcome))
    }

    /// Has the time taken at the open list's end. Gives the list's value.
    pub(crate) fn time_end(&mut self) -> (u64, Arc<Outcome>) {
        self.timed = true;
        (self.open, Arc::clone(&self.outcome))
    }

    fn push_copy(&mut self, from: Binding, to: Binding) {
        let bindings = Span { start: self.list.bindings.len() as u32, len: 2 };
        self.list.bindings.extend([from, to]);
        self.list.commands.push(Command::Copy { bindings });
    }

    /// An operand as a binding of the open list.
    fn binding(&mut self, operand: &Operand<'_>) -> Binding {
        let memory = self.memory_index(operand.storage.memory());
        binding(operand, memory, operand.storage.offset())
    }

    fn memory_index(&mut self, memory: &Arc<dyn Memory>) -> u32 {
        memory_index(&mut self.list, &mut self.memory_slots, self.open, memory)
    }

    fn list_index(&mut self, list: &Arc<List>) -> u32 {
        index_of(&mut self.list.lists, list)
    }
}

/// Appends an operation to a list. `place` says, of a storage, which memory of the list it is in, and where it starts
/// there.
pub(crate) fn push_command(
    list: &mut List,
    work: &Work<'_>,
    operands: &[Operand<'_>],
    mut place: impl FnMut(&mut List, &Storage) -> (u32, u64),
) {
    let start = list.bindings.len() as u32;
    for operand in operands {
        let (memory, base) = place(list, operand.storage);
        let mut binding = binding(operand, memory, base);
        if matches!(work, Work::Fill(_)) {
            binding.bytes = whole_words(binding.bytes);
        }
        list.bindings.push(binding);
    }
    let bindings = Span { start, len: operands.len() as u32 };
    let command = match work {
        Work::Copy => Command::Copy { bindings },
        Work::Fill(pattern) => Command::Fill { bindings, pattern: *pattern },
        Work::Dispatch { pipeline, params, extent } => {
            let pipeline = index_of(&mut list.pipelines, &pipeline.hal);
            let start = list.params.len().next_multiple_of(PARAMETER_ALIGNMENT);
            list.params.resize(start, 0);
            list.params.extend_from_slice(params);
            let params = Span { start: start as u32, len: params.len() as u32 };
            Command::Dispatch { pipeline, bindings, params, extent: *extent }
        }
    };
    list.commands.push(command);
}

/// As many bytes as are filled where these are to be: devices fill whole words. What lies behind a storage's last is
/// the same block's, and nobody's data.
pub(crate) fn whole_words(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(WORD).unwrap_or(bytes)
}

/// An operand of a storage that starts at `base` of a list's memory.
fn binding(operand: &Operand<'_>, memory: u32, base: u64) -> Binding {
    let Operand { access, bytes, .. } = *operand;
    Binding { memory, access, offset: base + operand.offset, bytes }
}

/// The list holds each memory once, or a few times, however many commands use it.
fn memory_index(list: &mut List, slots: &mut [MemorySlot; MEMORY_SLOTS], open: u64, memory: &Arc<dyn Memory>) -> u32 {
    let id = memory.id();
    let slot = &mut slots[id as usize % MEMORY_SLOTS];
    if (slot.memory, slot.list) != (id, open) {
        *slot = MemorySlot { memory: id, list: open, index: list.memories.len() as u32 };
        list.memories.push(Arc::clone(memory));
    }
    slot.index
}

/// Where a table has an object, which is entered if it has not.
fn index_of<T: ?Sized>(table: &mut Vec<Arc<T>>, object: &Arc<T>) -> u32 {
    let known = table.iter().rposition(|known| Arc::ptr_eq(known, object));
    known.unwrap_or_else(|| {
        table.push(Arc::clone(object));
        table.len() - 1
    }) as u32
}

/// A locked hazard, what an operation does with its bytes, and the index of its operand.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    pub(crate) access: Access,
    pub(crate) uses: MutexGuard<'a, Uses>,
    pub(crate) operand: usize,
}

/// The distinct hazards of an operation with what it does to their bytes, in the order in which they are locked.
///
/// # Errors
/// [`Error::Aliased`] if it writes bytes that another of its operands covers too.
pub(crate) fn distinct_hazards<'a>(operands: &[Operand<'a>], hazards: &mut Hazards<'a>) -> Result<()> {
    for (index, operand) in operands.iter().enumerate() {
        hazards.extend(operand.hazards.iter().map(|hazard| (hazard, operand.access, index)));
    }
    hazards.sort_unstable_by_key(|(hazard, ..)| hazard.id);
    for pair in hazards.windows(2) {
        let [(hazard, access, index), (other_hazard, other_access, other_index)] = pair else { continue };
        if hazard.id == other_hazard.id && (access.writes() || other_access.writes()) {
            let (written, other) = if access.writes() { (*index, *other_index) } else { (*other_index, *index) };
            return Err(Error::Aliased { written, other });
        }
    }
    hazards.dedup_by_key(|(hazard, ..)| hazard.id);
    Ok(())
}

/// Hazards with what an operation does to their bytes, and the index of the operand.
pub(crate) type Hazards<'a> = SmallVec<[(&'a Hazard, Access, usize); 8]>;
