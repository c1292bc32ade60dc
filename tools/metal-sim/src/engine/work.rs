//! What is committed: command buffers, encoders and dispatches.

use crate::metal::buffer::Place;
use crate::metal::command_buffer::{SimCommandBuffer, not_resident};
use crate::metal::event::EventState;
use crate::metal::fence::FenceState;
use crate::metal::memory::AllocationId;
use crate::metal::residency::{Sets, Used};
use crate::shader::{Function, Launch, Span};
use objc2::rc::Retained;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A dispatch, as it was encoded.
pub struct Dispatch {
    pub function: Arc<Function>,
    pub buffers: Vec<Option<Span>>,
    pub threadgroup: Vec<usize>,
    pub grid: [u32; 3],
    pub size: [u32; 3],
}

// SAFETY: the spans are of bytes and places that the encoder keeps; who may use them is for the program to say.
unsafe impl Send for Dispatch {}

impl Dispatch {
    pub fn run(&self) {
        let (grid, size) = (self.grid, self.size);
        let launch = Launch { buffers: &self.buffers, threadgroup: &self.threadgroup, grid, size };
        // SAFETY: the encoder keeps what the spans point to; that nobody else uses it in a way that races is the
        // program's promise to Metal, made with barriers, fences and events.
        unsafe { self.function.run(&launch) };
    }
}

/// Whether an encoder has ended, for those that wait for its fence.
#[derive(Clone, Default)]
pub struct Done(Arc<AtomicBool>);

impl Done {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// An encoder's work.
#[derive(Default)]
pub struct Encoder {
    pub concurrent: bool,
    /// Dispatches that may run in any order; a segment after the other.
    segments: VecDeque<Vec<Dispatch>>,
    pub waits: Vec<Arc<FenceState>>,
    pub updates: Vec<Arc<FenceState>>,
    /// Allocations that it made resident itself.
    pub used: Used,
    /// What its dispatches point to.
    pub bytes: Vec<Arc<[u128]>>,
    places: HashMap<AllocationId, Arc<Place>>,
    /// What of it Metal orders.
    pub tracked: Vec<AllocationId>,
    /// The encoders that have to end before it begins; by fences.
    after: Vec<Done>,
    done: Done,
    /// Whether it has begun.
    pub begun: bool,
    /// Whether it was kept waiting for company already.
    pub held: bool,
}

impl Encoder {
    pub fn new(concurrent: bool) -> Self {
        Self { concurrent, ..Self::default() }
    }

    /// A buffer is bound in a dispatch.
    pub fn touch(&mut self, place: &Arc<Place>) {
        if self.places.insert(place.id, place.clone()).is_none() && place.tracked {
            self.tracked.push(place.heap.unwrap_or(place.id));
        }
    }

    pub fn push(&mut self, dispatch: Dispatch) {
        match self.segments.back_mut().filter(|_| self.concurrent) {
            Some(segment) => segment.push(dispatch),
            None => self.segments.push_back(vec![dispatch]),
        }
    }

    pub fn barrier(&mut self) {
        if self.segments.back().is_some_and(|segment| !segment.is_empty()) {
            self.segments.push_back(Vec::new());
        }
    }

    pub fn may_begin(&self) -> bool {
        self.begun || self.after.iter().all(Done::is_set)
    }

    /// Runs one dispatch of those that may be next. Whether there are more.
    pub fn step(&mut self, choose: &mut fastrand::Rng) -> bool {
        while let Some(segment) = self.segments.front_mut() {
            if segment.is_empty() {
                self.segments.pop_front();
            } else {
                segment.swap_remove(choose.usize(..segment.len())).run();
                break;
            }
        }
        let more = self.segments.iter().any(|segment| !segment.is_empty());
        if !more {
            self.done.set();
        }
        more
    }

    fn check_residency(&self, sets: &Sets, own: &Sets, when: &str) {
        for place in self.places.values() {
            let ids = [place.heap.unwrap_or(place.id), place.id];
            if !ids.iter().any(|id| self.used.contains(id) || sets.hold(*id) || own.hold(*id)) {
                let mut dispatches = self.segments.iter().flatten();
                let function = dispatches.next().map_or("", |dispatch| &dispatch.function.name);
                not_resident(ids[0], function, when);
            }
        }
    }

    fn dispatches(&self) -> usize {
        self.segments.iter().map(Vec::len).sum()
    }
}

/// A part of a command buffer.
pub enum Item {
    Wait(Arc<EventState>, u64),
    Signal(Arc<EventState>, u64),
    Encoder(Box<Encoder>),
    /// There is nothing left of it.
    Nothing,
}

/// How a command buffer ended.
pub struct Outcome {
    /// The code of its error.
    pub killed: Option<isize>,
    pub start: f64,
    pub end: f64,
}

/// A command buffer that was committed and has not completed.
pub struct Running {
    pub commands: Retained<SimCommandBuffer>,
    pub items: Vec<Item>,
    /// Items that are not `Nothing`.
    pub left: usize,
    sets: Sets,
    /// The code of the error that it is to have, and after how many steps.
    pub kill: Option<(isize, usize)>,
    /// It never begins.
    pub rejected: bool,
    pub outcome: Outcome,
}

impl Running {
    pub fn new(commands: Retained<SimCommandBuffer>, items: Vec<Item>, sets: Sets) -> Self {
        let left = items.len();
        // Killed before its first signal; how much before is for the queue to choose.
        let steps = items.iter().map_while(|item| match item {
            Item::Signal(..) => None,
            Item::Encoder(encoder) => Some(encoder.dispatches()),
            Item::Wait(..) | Item::Nothing => Some(1),
        });
        let kill = crate::faults::command_buffer_fails().map(|code| (code, steps.sum()));
        let rejected = crate::faults::command_buffer_is_rejected();
        Self { commands, items, left, sets, kill, rejected, outcome: Outcome { killed: None, start: 0.0, end: 0.0 } }
    }

    /// Its place among the committed ones is known: which encoders it waits for, and which will wait for it.
    pub fn order(&mut self, queue: u64) {
        for item in &mut self.items {
            if let Item::Encoder(encoder) = item {
                encoder.after.extend(encoder.waits.iter().filter_map(|fence| fence.awaited(queue)));
                encoder.updates.iter().for_each(|fence| fence.update(queue, encoder.done.clone()));
            }
        }
    }

    pub fn check_residency(&self, sets: &Sets, when: &str) {
        for item in &self.items {
            if let Item::Encoder(encoder) = item {
                encoder.check_residency(sets, &self.sets, when);
            }
        }
    }

    /// An encoder is about to run.
    pub fn check_residency_of(&self, item: usize, sets: &Sets) {
        if let Item::Encoder(encoder) = &self.items[item] {
            encoder.check_residency(sets, &self.sets, "when it ran");
        }
    }

    /// A step was done. Whether it was the last that the device does.
    pub fn is_killed_by_a_step(&mut self) -> bool {
        self.kill.as_mut().is_some_and(|(_, steps)| {
            *steps = steps.saturating_sub(1);
            *steps == 0
        })
    }

    pub fn finish(&mut self, item: usize) {
        self.items[item] = Item::Nothing;
        self.left -= 1;
    }

    /// The device gives up on it: nothing of it is left to do, and who waits for its fences waits no longer.
    pub fn die(&mut self, code: isize) {
        for item in std::mem::take(&mut self.items) {
            if let Item::Encoder(encoder) = item {
                encoder.done.set();
            }
        }
        (self.left, self.kill, self.outcome.killed) = (0, None, Some(code));
    }
}
