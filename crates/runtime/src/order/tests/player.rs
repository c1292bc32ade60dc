//! Records a program as the engine does, one step at a time, and hands it to the device.

use super::Broken;
use super::device::{CELL, Cells, Device, Key};
use super::program::{GRAPHS, PARTS, SLOTS, Setup, Step, Target};
use super::reference::{Place, Recorded, What, place, refusal};
use crate::order::marks::{Marks, Profiling};
use crate::order::open_list::OpenList;
use crate::order::outcome::Outcome;
use crate::order::point::{Point, Use};
use crate::order::results::{InFlight, results};
use crate::order::uses::Uses;
use crate::order::work::{Bound, Locked, Pipeline, Replay, Work};
use smallvec::SmallVec;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use thalweg_hal::host::HostPipeline;
use thalweg_hal::{Access, Binding, Command, Error, IndexRange, KernelSource, Limits, List, Memory, Timestamps};

/// Bytes of a storage.
const BYTES: u64 = PARTS as u64 * CELL;
/// Inputs and outputs of each graph.
const SHAPES: [(usize, usize); GRAPHS] = [(1, 2), (0, 1), (2, 1)];
/// Memories' ids fall into few of the places where a list looks for them.
const IDS_APART: u64 = 64;
const LIMITS: Limits = Limits {
    max_binding_bytes: 1 << 30,
    max_allocations: 1 << 20,
    memory_bytes: 1 << 40,
    max_lists_in_flight: 1 << 20,
};

pub(super) type Result<T = ()> = std::result::Result<T, String>;

/// A storage.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) memory: Arc<dyn Memory>,
    /// Of all bytes, or of each part.
    pub(super) uses: Vec<Uses>,
    /// New memory that nothing has filled.
    raw: bool,
    /// By part, whether anybody has written it since it was taken.
    pub(super) defined: [bool; PARTS],
}

/// A graph in the memory that it runs in.
#[derive(Debug)]
struct Graph {
    memory: Arc<dyn Memory>,
    list: Arc<List>,
    operations: [u32; 2],
    inputs: usize,
    regions: Vec<(u64, u64)>,
    uses: Uses,
    raw: bool,
}

#[derive(Debug)]
pub(super) struct Stream {
    open: OpenList,
    submitted: u64,
    settled: u64,
    pub(super) in_flight: VecDeque<InFlight>,
    /// The next list will be refused.
    refuses: bool,
    /// Lists that the next operation comes after.
    after: Vec<Point>,
    pub(super) done: Vec<Settled>,
}

/// What is left of a list that has settled.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) at: Point,
    pub(super) list: Arc<List>,
    pub(super) outcome: Arc<Outcome>,
    pub(super) marks: Marks,
}

#[derive(Clone, Debug)]
struct Operand {
    memory: Arc<dyn Memory>,
    access: Access,
    offset: u64,
    bytes: u64,
}

impl Bound for Operand {
    fn memory(&self) -> &Arc<dyn Memory> {
        &self.memory
    }
    fn binding(&self, memory: u32) -> Binding {
        Binding { memory, access: self.access, offset: self.offset, bytes: self.bytes }
    }
}

impl Operand {
    fn place(&self) -> Place {
        place(self.memory.id(), self.offset, self.bytes)
    }
}

/// Of which storage, which of its uses; or of which graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hazard {
    Slot(usize, usize),
    Graph(usize),
}

/// Uses with what an operation does to their bytes, and the index of its operand.
type Hazards = Vec<(Hazard, Access, usize)>;

/// An event: the timestamp, whom to ask, and whether it stands for the end of a list.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: Point,
    /// Of one among the commands.
    pub(super) command: Option<u32>,
    pub(super) outcome: Arc<Outcome>,
}

#[derive(Debug)]
pub(super) struct Player {
    pub(super) timestamps: Timestamps,
    broken: Option<Broken>,
    pub(super) device: Device,
    pub(super) streams: Vec<Stream>,
    pub(super) slots: Vec<Slot>,
    graphs: Vec<Graph>,
    profiling: Profiling,
    /// All that there were.
    pub(super) sessions: Vec<Profiling>,
    memories: u64,
    /// One for each way to access operands.
    pipelines: Vec<Pipeline>,
    pub(super) recorded: Vec<Recorded>,
    pub(super) refused: HashSet<(u32, u64)>,
    /// A command that was recorded after a stream was told to wait for a list.
    pub(super) after: Vec<(Point, Key)>,
    pub(super) events: Vec<Event>,
}

pub(super) fn key(by: Use) -> Key {
    (by.at.stream, by.at.value, by.command)
}

impl Player {
    pub(super) fn new(setup: &Setup, broken: Option<Broken>) -> Self {
        let stream = |stream| Stream {
            open: OpenList::new(stream),
            submitted: 0,
            settled: 0,
            in_flight: VecDeque::new(),
            refuses: false,
            after: Vec::new(),
            done: Vec::new(),
        };
        let mut player = Self {
            timestamps: setup.timestamps,
            broken,
            device: Device::new(setup, broken),
            streams: (0..setup.streams as u32).map(stream).collect(),
            slots: Vec::new(),
            graphs: Vec::new(),
            profiling: Profiling::OFF,
            sessions: Vec::new(),
            memories: 0,
            pipelines: Vec::new(),
            recorded: Vec::new(),
            refused: HashSet::new(),
            after: Vec::new(),
            events: Vec::new(),
        };
        for _ in 0..SLOTS {
            let memory = player.memory(BYTES);
            player.slots.push(Slot { memory, uses: vec![Uses::default()], raw: true, defined: [false; PARTS] });
        }
        for (number, (inputs, outputs)) in (0..).zip(SHAPES) {
            let graph = player.graph([u32::MAX - 2 * number, u32::MAX - 2 * number - 1], inputs, outputs);
            player.graphs.push(graph);
        }
        player
    }

    fn memory(&mut self, bytes: u64) -> Arc<dyn Memory> {
        self.memories += 1;
        Arc::new(Cells { id: self.memories * IDS_APART, bytes })
    }

    fn pipeline(&mut self, accesses: &[Access]) -> Pipeline {
        let known = self.pipelines.iter().find(|pipeline| pipeline.source().bindings == accesses);
        known.cloned().unwrap_or_else(|| {
            let source = KernelSource {
                name: "kernel".into(),
                bindings: accesses.to_vec().into(),
                params_bytes: 4,
                wgsl: None,
                host: Some(|_| Ok(())),
            };
            let hal = HostPipeline::new(&source, "model").expect("a kernel with a host form");
            self.pipelines.push(Pipeline { hal: Arc::new(hal), device: 0 });
            self.pipelines[self.pipelines.len() - 1].clone()
        })
    }

    /// Inputs, outputs, and a cell that one dispatch writes from the inputs, and another reads to write the outputs.
    fn graph(&mut self, operations: [u32; 2], inputs: usize, outputs: usize) -> Graph {
        let scratch = (inputs + outputs) as u64 * BYTES;
        let memory = self.memory(scratch + CELL);
        let regions: Vec<_> = (0..(inputs + outputs) as u64).map(|at| (at * BYTES, BYTES)).collect();
        let region =
            |access| move |(offset, bytes): &(u64, u64)| Binding { memory: 0, access, offset: *offset, bytes: *bytes };
        let scratch = |access| Binding { memory: 0, access, offset: scratch, bytes: CELL };
        let first: Vec<_> =
            regions[..inputs].iter().map(region(Access::Read)).chain([scratch(Access::Write)]).collect();
        let second: Vec<_> =
            [scratch(Access::Read)].into_iter().chain(regions[inputs..].iter().map(region(Access::Write))).collect();
        let mut list = List { memories: vec![Arc::clone(&memory)], ..List::default() };
        for (number, bindings) in [first, second].into_iter().enumerate() {
            let accesses: Vec<_> = bindings.iter().map(|binding| binding.access).collect();
            list.pipelines.push(self.pipeline(&accesses).hal);
            let start = list.bindings.len() as u32;
            let range = IndexRange { start, len: bindings.len() as u32 };
            list.bindings.extend(bindings);
            list.params.resize(16 * number, 0);
            list.params.extend(operations[number].to_le_bytes());
            let params = IndexRange { start: 16 * number as u32, len: 4 };
            list.commands.push(Command::Dispatch { pipeline: number as u32, bindings: range, params, extent: [1; 3] });
            // Between the two. What comes before and after the list is the recorder's to order.
            list.commands.extend((number == 0).then_some(Command::Barrier));
        }
        Graph { memory, list: Arc::new(list), operations, inputs, regions, uses: Uses::default(), raw: true }
    }

    pub(super) fn play(&mut self, step: &Step) -> Result {
        let count = self.streams.len();
        match *step {
            Step::Dispatch { stream, ref operands, fails } => self.dispatch(stream % count, operands, fails),
            Step::Copy { stream, from, to, fails } => self.copy(stream % count, from, to, fails),
            Step::Fill { stream, to, pattern, short, fails } => self.fill(stream % count, to, pattern, short, fails),
            Step::Replay { stream, graph, ref operands, fails } => self.replay(stream % count, graph, operands, fails),
            Step::Wait { stream, other } => self.wait(stream % count, other % count),
            Step::Event(stream) => {
                self.event(stream % count);
                Ok(())
            }
            Step::Flush(stream) => self.flush(stream % count),
            Step::Refuse(stream) => {
                self.streams[stream % count].refuses = true;
                Ok(())
            }
            Step::Divide(slot) => {
                let broken = self.broken;
                let uses = &mut self.slots[slot].uses;
                if let [whole] = &uses[..] {
                    // Whatever used the whole may have used any part (I5).
                    let part =
                        |part| if part > 0 && broken == Some(Broken::Split) { Uses::default() } else { whole.clone() };
                    *uses = (0..PARTS).map(part).collect();
                }
                Ok(())
            }
            Step::Unite(slot) => {
                let Slot { uses, defined, .. } = &mut self.slots[slot];
                if uses.len() > 1 {
                    let mut parts = std::mem::take(uses).into_iter();
                    let mut whole = parts.next().expect("as many uses as parts");
                    parts.filter(|_| self.broken != Some(Broken::Unite)).for_each(|part| whole.unite(part));
                    *uses = vec![whole];
                    *defined = [false; PARTS];
                }
                Ok(())
            }
            Step::Retake(slot) => {
                let settled = |stream: u32| self.streams[stream as usize].settled;
                let Slot { uses, defined, .. } = &mut self.slots[slot];
                for uses in uses {
                    uses.clear_if_settled(settled);
                    if self.broken == Some(Broken::Retake) {
                        *uses = Uses::default();
                    }
                }
                *defined = [false; PARTS];
                Ok(())
            }
            Step::Renew(slot) => {
                let memory = self.memory(BYTES);
                self.slots[slot] = Slot { memory, uses: vec![Uses::default()], raw: true, defined: [false; PARTS] };
                Ok(())
            }
            Step::Profile { full, serialized } => {
                let number = self.sessions.len() as u64 + 1;
                self.profiling = Profiling::new(number, full, serialized && full, self.timestamps);
                self.sessions.push(self.profiling);
                Ok(())
            }
            Step::Unprofile => {
                self.profiling = Profiling::OFF;
                Ok(())
            }
            Step::Run(steps) => {
                self.device.run(steps);
                Ok(())
            }
            Step::Settle => {
                (0..count).for_each(|stream| self.settle(stream));
                Ok(())
            }
        }
    }

    /// An operand, and its hazards unless they are among those already and either use writes.
    fn operand(
        &mut self,
        stream: usize,
        Target { slot, part }: Target,
        access: Access,
        index: usize,
        hazards: &mut Hazards,
    ) -> Result<Option<Operand>> {
        self.fill_raw(stream, slot)?;
        let Slot { memory, uses, defined, .. } = &self.slots[slot];
        let (parts, known) = match (part, uses.len()) {
            (_, 1) => (0..PARTS, 0..1),
            (Some(part), _) => (part..part + 1, part..part + 1),
            (None, _) => (0..PARTS, 0..PARTS),
        };
        // Nobody reads what was never written.
        let access = if defined[parts.clone()].contains(&false) { Access::Write } else { access };
        let is_new = |at: usize| hazards.iter().all(|(hazard, ..)| *hazard != Hazard::Slot(slot, at));
        let clashes = |at| {
            hazards
                .iter()
                .any(|(hazard, other, _)| *hazard == Hazard::Slot(slot, at) && (access.writes() || other.writes()))
        };
        if known.clone().any(clashes) {
            return Ok(None);
        }
        let new: Vec<_> = known.filter(|at| is_new(*at)).collect();
        hazards.extend(new.into_iter().map(|at| (Hazard::Slot(slot, at), access, index)));
        let (offset, bytes) = (parts.start as u64 * CELL, parts.len() as u64 * CELL);
        Ok(Some(Operand { memory: Arc::clone(memory), access, offset, bytes }))
    }

    /// The stream that first uses raw memory fills it.
    fn fill_raw(&mut self, stream: usize, slot: usize) -> Result {
        if std::mem::take(&mut self.slots[slot].raw) {
            let memory = Arc::clone(&self.slots[slot].memory);
            let settled = settled(&self.streams, self.broken);
            let zeros = self.streams[stream].open.append_zeros(&memory, (0, BYTES), &settled, self.profiling);
            let Slot { uses, defined, .. } = &mut self.slots[slot];
            for uses in uses {
                *uses = Uses { writes: zeros.clone(), ..Uses::default() };
            }
            *defined = [true; PARTS];
            let to = place(memory.id(), 0, BYTES);
            self.enter(stream, zeros[0].by, What::Fill { pattern: 0, to }, false);
        }
        Ok(())
    }

    /// Appends to a stream's list with these uses held, once everything foreign that they tell to come after is
    /// submitted.
    fn in_order(
        &mut self,
        stream: usize,
        hazards: &Hazards,
        append: impl FnOnce(&mut OpenList, &mut [Locked<&mut Uses>], &dyn Fn(u32) -> u64, Profiling) -> Use,
    ) -> Result<Use> {
        let mut held: Vec<Uses> = hazards.iter().map(|(hazard, ..)| std::mem::take(self.uses(*hazard))).collect();
        for (uses, (_, access, _)) in held.iter_mut().zip(hazards) {
            if self.broken == Some(Broken::Reads) && access.writes() {
                uses.reads.clear();
            }
        }
        let before = held.clone();
        for (uses, (_, access, _)) in held.iter().zip(hazards) {
            for by in uses.before(*access).filter(|by| by.at.stream != stream as u32) {
                self.flush_foreign(by.at)?;
            }
        }
        let settled = settled(&self.streams, self.broken);
        let mut locked: Vec<_> = held
            .iter_mut()
            .zip(hazards)
            .map(|(uses, (_, access, operand))| Locked { access: *access, uses, operand: *operand })
            .collect();
        let by = append(&mut self.streams[stream].open, &mut locked, &settled, self.profiling);
        let stamped = if self.broken == Some(Broken::Stamps) { before } else { held };
        for ((hazard, access, _), uses) in hazards.iter().zip(stamped) {
            *self.uses(*hazard) = uses;
            if let (Hazard::Slot(slot, at), true) = (*hazard, access.writes()) {
                let Slot { uses, defined, .. } = &mut self.slots[slot];
                defined[if uses.len() == 1 { 0..PARTS } else { at..at + 1 }].fill(true);
            }
        }
        Ok(by)
    }

    fn uses(&mut self, hazard: Hazard) -> &mut Uses {
        match hazard {
            Hazard::Slot(slot, at) => &mut self.slots[slot].uses[at],
            Hazard::Graph(graph) => &mut self.graphs[graph].uses,
        }
    }

    /// An operation is recorded.
    fn enter(&mut self, stream: usize, by: Use, what: What, fails: bool) {
        if fails {
            self.device.failing.insert(key(by));
        }
        self.after.extend(self.streams[stream].after.drain(..).map(|at| (at, key(by))));
        self.recorded.push(Recorded { at: key(by), what });
    }

    fn dispatch(&mut self, stream: usize, targets: &[(Target, Access)], fails: bool) -> Result {
        let (mut operands, mut hazards): (Vec<Operand>, _) = (Vec::new(), Hazards::new());
        for (target, access) in targets {
            operands.extend(self.operand(stream, *target, *access, operands.len(), &mut hazards)?);
        }
        let accesses: Vec<_> = operands.iter().map(|operand| operand.access).collect();
        let pipeline = self.pipeline(&accesses);
        let operation = self.recorded.len() as u32;
        let work = Work::Dispatch { pipeline: &pipeline, params: &operation.to_le_bytes(), extent: [1; 3] };
        let by = self.in_order(stream, &hazards, |open, locked, settled, profiling| {
            open.append(&work, &operands, locked, &settled, profiling)
        })?;
        let is_read = |operand: &&Operand| operand.access != Access::Write;
        let reads = operands.iter().filter(is_read).map(Operand::place).collect();
        let writes = operands.iter().enumerate().filter(|(_, operand)| operand.access.writes());
        let writes = writes.map(|(index, operand)| (index, operand.place())).collect();
        self.enter(stream, by, What::Dispatch { operation, reads, writes }, fails);
        Ok(())
    }

    fn copy(&mut self, stream: usize, from: usize, to: usize, fails: bool) -> Result {
        let [from, to] = [from, to].map(|slot| Target { slot, part: None });
        self.fill_raw(stream, from.slot)?;
        if from.slot == to.slot || self.slots[from.slot].defined != [true; PARTS] {
            return Ok(());
        }
        let mut hazards = Hazards::new();
        let from = self.operand(stream, from, Access::Read, 0, &mut hazards)?;
        let to = self.operand(stream, to, Access::Write, 1, &mut hazards)?;
        let operands: Vec<_> = from.into_iter().chain(to).collect();
        let by = self.in_order(stream, &hazards, |open, locked, settled, profiling| {
            open.append(&Work::Copy, &operands, locked, &settled, profiling)
        })?;
        let [from, to] = [0, 1].map(|operand: usize| operands[operand].place());
        self.enter(stream, by, What::Copy { from, to }, fails);
        Ok(())
    }

    fn fill(&mut self, stream: usize, to: Target, pattern: u32, short: u64, fails: bool) -> Result {
        let mut hazards = Hazards::new();
        let mut operands = Vec::from_iter(self.operand(stream, to, Access::Write, 0, &mut hazards)?);
        operands.iter_mut().for_each(|operand| operand.bytes -= short);
        let by = self.in_order(stream, &hazards, |open, locked, settled, profiling| {
            open.append(&Work::Fill(pattern), &operands, locked, &settled, profiling)
        })?;
        self.enter(stream, by, What::Fill { pattern, to: operands[0].place() }, fails);
        Ok(())
    }

    fn replay(&mut self, stream: usize, graph: usize, slots: &[usize], fails: bool) -> Result {
        let Graph { inputs, ref memory, ref list, operations, ref regions, raw, .. } = self.graphs[graph];
        let (memory, list, regions) = (Arc::clone(memory), Arc::clone(list), regions.clone());
        let (mut operands, mut hazards): (Vec<Operand>, _) = (Vec::new(), Hazards::new());
        for (index, slot) in slots.iter().take(regions.len()).enumerate() {
            let access = if index < inputs { Access::Read } else { Access::Write };
            self.fill_raw(stream, *slot)?;
            let is_defined = self.slots[*slot].defined == [true; PARTS];
            let operand = match access {
                Access::Read if !is_defined => None,
                _ => self.operand(stream, Target { slot: *slot, part: None }, access, index, &mut hazards)?,
            };
            // Of a storage that is read twice, only the first copy would be told of a failure.
            let Some(operand) = operand.filter(|_| !slots[..index].contains(slot)) else { return Ok(()) };
            operands.push(operand);
        }
        hazards.push((Hazard::Graph(graph), Access::Write, operands.len()));
        if self.broken == Some(Broken::Runs) {
            self.graphs[graph].uses = Uses::default();
        }
        let replay = Replay { operands: &operands, inputs, regions: &regions, memory: &memory, list: &list };
        let fill = std::mem::take(&mut self.graphs[graph].raw).then_some((0, memory.bytes()));
        let by = self.in_order(stream, &hazards, |open, locked, settled, profiling| {
            open.append_replay(&replay, fill, locked, &settled, profiling)
        })?;
        let (inputs, outputs) = operands.split_at(inputs);
        let [inputs, outputs] = [inputs, outputs].map(|operands| operands.iter().map(Operand::place).collect());
        self.enter(stream, by, What::Replay { operations, fill: raw, inputs, outputs }, fails);
        Ok(())
    }

    fn wait(&mut self, stream: usize, other: usize) -> Result {
        let at = self.streams[other].open.last();
        self.flush_foreign(at)?;
        let settled = settled(&self.streams, self.broken);
        self.streams[stream].open.wait_for(at, &settled);
        if stream != other {
            // What the other waits for too, with nothing recorded since.
            let through = self.streams[other].after.clone();
            self.streams[stream].after.extend(through.into_iter().chain([at]));
        }
        Ok(())
    }

    fn event(&mut self, stream: usize) {
        let open = &mut self.streams[stream].open;
        let event = match self.timestamps {
            Timestamps::None => return,
            Timestamps::ByList => {
                let (at, outcome) = open.time_end();
                Event { at, command: None, outcome }
            }
            Timestamps::ByCommand => {
                let (by, outcome) = open.append_timestamp();
                Event { at: by.at, command: Some(by.command), outcome }
            }
        };
        self.events.push(event);
    }

    fn flush_foreign(&mut self, at: Point) -> Result {
        let stream = at.stream as usize;
        if self.streams[stream].submitted < at.value && self.broken != Some(Broken::ForeignFlush) {
            self.flush(stream)?;
        }
        Ok(())
    }

    /// Seals a stream's list and submits it.
    pub(super) fn flush(&mut self, stream: usize) -> Result {
        let Some(mut sealed) = self.streams[stream].open.seal(List::default()) else { return Ok(()) };
        let at = sealed.at;
        if at.value != self.streams[stream].submitted + 1 {
            return Err(format!("values: {at:?} after {}", self.streams[stream].submitted));
        }
        for (index, wait) in sealed.waits.iter().enumerate() {
            let submitted = self.streams[wait.stream as usize].submitted;
            if wait.value > submitted || sealed.waits[..index].iter().any(|other| other.stream == wait.stream) {
                return Err(format!("I1: {at:?} waits for {:?}, at {submitted}", sealed.waits));
            }
        }
        sealed.list.check(&LIMITS).map_err(|violation| format!("a rule of a command: {violation}"))?;
        match self.broken {
            Some(Broken::Waits) => sealed.waits.clear(),
            Some(Broken::Edges) => sealed.edges.clear(),
            _ => {}
        }
        // As the engine does: what has settled since it was noted needs no wait.
        sealed.waits.retain(|wait| self.streams[wait.stream as usize].settled < wait.value);
        let stream = &mut self.streams[stream];
        let list = Arc::new(sealed.list);
        let refused = std::mem::take(&mut stream.refuses).then(|| {
            self.refused.insert((at.stream, at.value));
            Arc::new(Error::DeviceLost { device: refusal((at.stream, at.value)) })
        });
        let empty = || Arc::new(List { commands: vec![Command::Barrier], ..List::default() });
        let taken = if refused.is_some() { empty() } else { Arc::clone(&list) };
        self.device.submit(at, &taken, sealed.waits);
        let (edges, outcome, marks) = (sealed.edges, sealed.outcome, sealed.marks);
        stream.in_flight.push_back(InFlight { at, list, edges, outcome, marks, refused });
        stream.submitted = at.value;
        Ok(())
    }

    /// Settles what has been signalled of a stream, as far as what it has read from has settled.
    pub(super) fn settle(&mut self, stream: usize) {
        loop {
            let signalled = self.device.signalled(stream as u32);
            let settled =
                |at: Point| at.stream as usize == stream || at.value <= self.streams[at.stream as usize].settled;
            let ready = |front: &InFlight| {
                front.at.value <= signalled && front.edges.iter().all(|edge| settled(edge.writer.by.at))
            };
            if !self.streams[stream].in_flight.front().is_some_and(ready) {
                return;
            }
            let Some(mut front) = self.streams[stream].in_flight.pop_front() else { return };
            let reports = &mut self.device.reports[stream];
            let own = reports.extract_if(.., |report| report.value == front.at.value);
            let mut results = results(&front, own);
            front.marks.take_times(&mut results.times);
            front.outcome.enter(results);
            let stream = &mut self.streams[stream];
            stream.settled = front.at.value;
            let InFlight { at, list, outcome, marks, .. } = front;
            stream.done.push(Settled { at, list, outcome, marks });
        }
    }
}

/// As the device's streams have settled by now.
fn settled(streams: &[Stream], broken: Option<Broken>) -> impl Fn(u32) -> u64 + use<> {
    let early = broken == Some(Broken::Settled);
    let settled: SmallVec<[u64; 4]> =
        streams.iter().map(|stream| if early { stream.submitted } else { stream.settled }).collect();
    move |stream| settled[stream as usize]
}
