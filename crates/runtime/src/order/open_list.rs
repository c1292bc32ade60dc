//! The open list of a stream: plain data.

use super::marks::{Marks, Profiling};
use super::outcome::Outcome;
use super::point::{Point, Points, Use};
use super::uses::{Uses, Write, Writes};
use super::work::{Bound, Locked, Replay, Work, index_of, push_command};
use std::ops::DerefMut;
use std::sync::Arc;
use thalweg_hal::{Access, Binding, Command, IndexRange, List, Memory};

/// A command of a list reads what a command of another list wrote.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// The reading command's index in its list.
    pub(crate) reader: u32,
    /// What it reads.
    pub(crate) writer: Write,
}

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

/// A list that nobody can append to, on its way to the queue.
#[derive(Debug)]
pub(crate) struct SealedList {
    pub(crate) at: Point,
    pub(crate) list: List,
    /// Foreign values to wait for, all submitted (I1), each stream once.
    pub(crate) waits: Points,
    /// What its commands read of other lists.
    pub(crate) edges: Vec<Edge>,
    /// Commands that depend on the list find its failures here.
    pub(crate) outcome: Arc<Outcome>,
    /// The profiler's timestamps.
    pub(crate) marks: Marks,
}

/// What a stream has recorded and not yet handed over.
#[derive(Debug)]
pub(crate) struct OpenList {
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
}

impl OpenList {
    pub(crate) fn new(stream: u32) -> Self {
        let mut open = Self {
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
        };
        open.begin(List::default());
        open
    }

    /// Opens the next list. It starts with a barrier, which orders it after the stream's previous list (I6).
    fn begin(&mut self, mut list: List) {
        list.commands.push(Command::Barrier);
        self.list = list;
        self.open += 1;
        self.barrier = 0;
    }

    /// The last list that has something to it: the open one, or the one before if that is still empty.
    #[inline]
    pub(crate) fn last(&self) -> Point {
        let value = if self.is_empty() { self.open - 1 } else { self.open };
        Point { value, ..self.point() }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.list.commands.len() == 1 && self.waits.is_empty() && !self.timed
    }

    /// Number of commands in the open list, without the profiler's.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.list.commands.len() - self.marks.added()
    }

    /// Takes the open list, if there is anything in it, and opens the next in `spare`.
    pub(crate) fn seal(&mut self, spare: List) -> Option<SealedList> {
        if self.is_empty() {
            return None;
        }
        let at = self.point();
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
        Some(SealedList { at, list, waits, edges, outcome, marks })
    }

    /// A foreign value that the open list has to come after, and that has not settled.
    pub(crate) fn next_wait(&self, settled: &impl Fn(u32) -> u64) -> Option<Point> {
        self.waits.iter().copied().find(|at| settled(at.stream) < at.value)
    }

    /// Makes everything recorded from now on come after a foreign value, which is submitted.
    pub(crate) fn wait_for(&mut self, at: Point, settled: &impl Fn(u32) -> u64) {
        let index = at.stream as usize;
        if at.stream == self.stream || at.value <= settled(at.stream) {
            return;
        }
        if self.ordered_after.len() <= index {
            self.ordered_after.resize(index + 1, 0);
        }
        if at.value > self.ordered_after[index] {
            self.ordered_after[index] = at.value;
            match self.waits.iter_mut().find(|wait| wait.stream == at.stream) {
                Some(wait) => *wait = at,
                None => self.waits.push(at),
            }
        }
    }

    /// Appends an operation and stamps its bytes, as one step (I2). The caller has checked the operands and holds their
    /// uses, of which the foreign ones are submitted.
    pub(crate) fn append<O: Bound, U: DerefMut<Target = Uses>>(
        &mut self,
        work: &Work<'_>,
        operands: &[O],
        hazards: &mut [Locked<U>],
        settled: &impl Fn(u32) -> u64,
        profiling: Profiling,
    ) -> Use {
        self.order(hazards, settled, profiling);
        let before = self.marks.before(profiling, &mut self.list.commands);
        let command = self.list.commands.len() as u32;
        for operand in operands {
            let memory = self.memory_index(operand.memory());
            self.list.bindings.push(operand.binding(memory));
        }
        push_command(&mut self.list, work, operands.len());
        self.mark(before, command, profiling);
        hazards.iter_mut().for_each(|locked| self.stamp(locked, command, settled));
        self.at(command)
    }

    /// Appends a run of a graph and stamps its operands and the graph's memory, as one step (I2): a copy for each
    /// input, the run, a copy for each output. If there is something to `fill` in the graph's memory, that comes first.
    /// The caller holds the uses, as for [`append`](Self::append).
    pub(crate) fn append_replay<O: Bound, U: DerefMut<Target = Uses>>(
        &mut self,
        replay: &Replay<'_, O>,
        fill: Option<(u64, u64)>,
        hazards: &mut [Locked<U>],
        settled: &impl Fn(u32) -> u64,
        profiling: Profiling,
    ) -> Use {
        self.order(hazards, settled, profiling);
        let before = self.marks.before(profiling, &mut self.list.commands);
        let graph = self.memory_index(replay.memory);
        if let Some((offset, bytes)) = fill {
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
        let bindings = IndexRange { start, len: self.list.bindings.len() as u32 - start };
        let list = index_of(&mut self.list.lists, replay.list);
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
            self.stamp(locked, command, settled);
        }
        self.mark(before, run, profiling);
        self.at(run)
    }

    /// Fills raw memory with zeros, as the first use of its bytes. The caller stamps them with what this gives.
    pub(crate) fn append_zeros(
        &mut self,
        memory: &Arc<dyn Memory>,
        (offset, bytes): (u64, u64),
        settled: &impl Fn(u32) -> u64,
        profiling: Profiling,
    ) -> Writes {
        self.order::<&mut Uses>(&[], settled, profiling);
        let before = self.marks.before(profiling, &mut self.list.commands);
        let memory = self.memory_index(memory);
        let first = self.list.commands.len() as u32;
        self.push_zeros(memory, offset, bytes);
        let commands = first..self.list.commands.len() as u32;
        self.mark(before, commands.end - 1, profiling);
        commands.map(|command| Write { by: self.at(command), outcome: Arc::clone(&self.outcome) }).collect()
    }

    fn push_zeros(&mut self, memory: u32, offset: u64, bytes: u64) {
        for start in (0..bytes).step_by(MOST_FILLED as usize) {
            let bytes = MOST_FILLED.min(bytes - start);
            let bindings = IndexRange { start: self.list.bindings.len() as u32, len: 1 };
            self.list.bindings.push(Binding { memory, access: Access::Write, offset: offset + start, bytes });
            self.list.commands.push(Command::Fill { bindings, pattern: 0 });
        }
    }

    /// What the open list's commands have to tell, once it has settled.
    pub(crate) fn outcome(&self) -> &Arc<Outcome> {
        &self.outcome
    }

    /// The open list.
    #[inline]
    fn point(&self) -> Point {
        Point { stream: self.stream, value: self.open }
    }

    /// A command of the open list.
    #[inline]
    fn at(&self, command: u32) -> Use {
        Use { at: self.point(), command }
    }

    /// Adds the waits and the barrier that an operation with these hazards has to come after.
    fn order<U: DerefMut<Target = Uses>>(
        &mut self,
        hazards: &[Locked<U>],
        settled: &impl Fn(u32) -> u64,
        profiling: Profiling,
    ) {
        let mut barrier = false;
        for Locked { access, uses, .. } in hazards {
            for by in uses.before(*access) {
                if by.at.stream != self.stream {
                    self.wait_for(by.at, settled);
                } else {
                    // Within the list. Earlier lists of this stream are ordered by the barrier at its start.
                    barrier |= by.at.value == self.open && by.command > self.barrier;
                }
            }
        }
        self.barrier = self.marks.start(profiling, &mut self.list.commands).unwrap_or(self.barrier);
        if barrier {
            self.push_barrier();
        }
    }

    /// Ends what the profiler began before a command.
    #[inline]
    fn mark(&mut self, before: Option<(u32, Option<u32>)>, command: u32, profiling: Profiling) {
        if let Some((before, barrier)) = before {
            let after = self.marks.after(before, command, profiling, &mut self.list.commands);
            // A replay adds barriers of its own: keep the later index.
            self.barrier = after.or(barrier).map_or(self.barrier, |barrier| barrier.max(self.barrier));
        }
    }

    #[inline]
    fn push_barrier(&mut self) {
        self.barrier = self.list.commands.len() as u32;
        self.list.commands.push(Command::Barrier);
    }

    /// Enters a command of the open list as the last use of some bytes.
    fn stamp<U: DerefMut<Target = Uses>>(
        &mut self,
        Locked { access, uses, .. }: &mut Locked<U>,
        command: u32,
        settled: &impl Fn(u32) -> u64,
    ) {
        let by = self.at(command);
        if *access != Access::Write {
            uses.writes.iter().for_each(|writer| self.read_from(by.command, writer, settled));
        }
        uses.stamp(*access, by, &self.outcome);
    }

    /// Adds an edge: a command of the open list fails if the command failed that wrote what it reads. Inside the list
    /// that follows from the bindings; see `results.rs`.
    #[inline]
    fn read_from(&mut self, reader: u32, writer: &Write, settled: &impl Fn(u32) -> u64) {
        let by = writer.by;
        let fine = || by.at.value <= settled(by.at.stream) && writer.result().is_ok();
        if by.at != self.point() && !fine() {
            self.edges.push(Edge { reader, writer: writer.clone() });
        }
    }

    /// Appends a timestamp, between barriers: it comes after everything before it, and before everything after it.
    pub(crate) fn append_timestamp(&mut self) -> (Use, Arc<Outcome>) {
        let command = self.list.commands.len() as u32 + 1;
        self.list.commands.extend([Command::Barrier, Command::Timestamp, Command::Barrier]);
        self.barrier = command + 1;
        (self.at(command), Arc::clone(&self.outcome))
    }

    /// Has the time taken at the open list's end. Gives the list.
    pub(crate) fn time_end(&mut self) -> (Point, Arc<Outcome>) {
        self.timed = true;
        (self.point(), Arc::clone(&self.outcome))
    }

    fn push_copy(&mut self, from: Binding, to: Binding) {
        let bindings = IndexRange { start: self.list.bindings.len() as u32, len: 2 };
        self.list.bindings.extend([from, to]);
        self.list.commands.push(Command::Copy { bindings });
    }

    /// An operand as a binding of the open list.
    fn binding(&mut self, operand: &impl Bound) -> Binding {
        let memory = self.memory_index(operand.memory());
        operand.binding(memory)
    }

    /// Where the open list has a memory, which it holds once, or a few times, however many commands use it.
    #[inline]
    fn memory_index(&mut self, memory: &Arc<dyn Memory>) -> u32 {
        let id = memory.id();
        let slot = &mut self.memory_slots[id as usize % MEMORY_SLOTS];
        if (slot.memory, slot.list) != (id, self.open) {
            *slot = MemorySlot { memory: id, list: self.open, index: self.list.memories.len() as u32 };
            self.list.memories.push(Arc::clone(memory));
        }
        slot.index
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use thalweg_hal::MemoryKind;
    use thalweg_hal::host::HostMemory;

    /// A reader in another list fails with whichever of them failed.
    #[test]
    fn zeros_that_take_several_fills_are_as_many_writes() {
        let memory: Arc<dyn Memory> = Arc::new(HostMemory::new(MemoryKind::Device, 256, "test").expect("256 bytes"));
        let mut open = OpenList::new(3);
        // The memory is never looked at.
        let zeros = open.append_zeros(&memory, (0, 2 * MOST_FILLED + 4), &|_| 0, Profiling::OFF);
        assert_eq!(zeros.iter().map(|write| write.by.command).collect::<Vec<_>>(), [1, 2, 3]);
        let mut uses = Uses { writes: zeros, ..Uses::default() };
        let mut reader = OpenList::new(4);
        let read = Locked { access: Access::Read, uses: &mut uses, operand: 0 };
        reader.append(&Work::Copy, &[] as &[Nothing], &mut [read], &|_| 0, Profiling::OFF);
        let sealed = reader.seal(List::default()).expect("there is a command");
        assert_eq!(sealed.edges.iter().map(|edge| edge.writer.by.command).collect::<Vec<_>>(), [1, 2, 3]);
    }

    /// No operand at all.
    enum Nothing {}

    impl Bound for Nothing {
        fn memory(&self) -> &Arc<dyn Memory> {
            match *self {}
        }

        fn binding(&self, _: u32) -> Binding {
            match *self {}
        }
    }
}
