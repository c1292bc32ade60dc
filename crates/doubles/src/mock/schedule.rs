//! What the device has been given, and what it does with it, step by step.

use super::POISON;
use super::timeline::MockTimeline;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{Access, Command, List, Reported, Timestamps, host};

/// Everything under the device's lock.
#[derive(Debug)]
pub(super) struct State {
    random: fastrand::Rng,
    timestamps: Timestamps,
    queues: Vec<HardwareQueue>,
    /// Queues made so far: the name of the next.
    created_queues: usize,
    /// Steps taken so far.
    steps: u64,
    /// Waits of all submissions so far.
    waits: usize,
}

/// Lists in the order of their submission; those that have been signalled are gone.
#[derive(Debug, Default)]
struct HardwareQueue {
    lists: VecDeque<Running>,
}

#[derive(Debug)]
struct Running {
    /// The queue that it was submitted to.
    queue: usize,
    /// Each command with the list that has its tables, its index there, and the index of the submitted list's command.
    steps: Vec<(Arc<List>, usize, u32)>,
    waits: Vec<(Arc<MockTimeline>, u64)>,
    signal: (Arc<MockTimeline>, u64),
    /// Steps that have not been taken, by index.
    left: Vec<usize>,
    /// Commands that failed, and the times of timestamps.
    reports: Vec<(u32, Reported)>,
}

/// What the device could do next.
#[derive(Clone, Copy)]
enum Step {
    Run { queue: usize, list: usize, left: usize },
    Signal { queue: usize },
}

impl State {
    pub(super) fn new(seed: u64, hardware_queues: usize, timestamps: Timestamps) -> Self {
        let queues = (0..hardware_queues).map(|_| HardwareQueue::default()).collect();
        Self { random: fastrand::Rng::with_seed(seed), timestamps, queues, created_queues: 0, steps: 0, waits: 0 }
    }

    /// A new queue, which shares a hardware queue with others if there are not enough.
    pub(super) fn create_queue(&mut self) -> usize {
        self.created_queues += 1;
        self.created_queues - 1
    }

    /// How many waits all submissions so far have had.
    pub(super) fn waits(&self) -> usize {
        self.waits
    }

    /// How many lists of a queue have not been signalled.
    pub(super) fn in_flight(&self, queue: usize) -> u64 {
        self.queues[queue % self.queues.len()].lists.iter().filter(|running| running.queue == queue).count() as u64
    }

    /// Takes a list, and perhaps a few steps.
    pub(super) fn push(
        &mut self,
        queue: usize,
        list: &Arc<List>,
        waits: Vec<(Arc<MockTimeline>, u64)>,
        signal: (Arc<MockTimeline>, u64),
        device: &str,
    ) {
        let steps: Vec<_> = List::steps(list).map(|step| (Arc::clone(step.list), step.at, step.index)).collect();
        let left = (0..steps.len()).collect();
        self.waits += waits.len();
        let running = Running { queue, steps, waits, signal, left, reports: Vec::new() };
        let at = queue % self.queues.len();
        self.queues[at].lists.push_back(running);
        for _ in 0..self.random.usize(..3) {
            self.step(device);
        }
    }

    /// Whether the device could do anything.
    pub(super) fn has_work(&mut self) -> bool {
        !self.steps().is_empty()
    }

    /// Everything that the device could do next. Barriers with nothing before them are done on the way.
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (queue_index, queue) in self.queues.iter_mut().enumerate() {
            let mut nothing_before = true;
            'queue: for (list_index, running) in queue.lists.iter_mut().enumerate() {
                if running.waits.iter().any(|(timeline, value)| timeline.value() < *value) {
                    break; // and nothing behind it starts either
                }
                while nothing_before && running.left.first().is_some_and(|at| running.is_barrier(*at)) {
                    running.left.remove(0);
                }
                for (left, at) in running.left.iter().enumerate() {
                    if running.is_barrier(*at) {
                        break 'queue;
                    }
                    steps.push(Step::Run { queue: queue_index, list: list_index, left });
                }
                nothing_before &= running.left.is_empty();
            }
            if queue.lists.front().is_some_and(|front| front.left.is_empty()) {
                steps.push(Step::Signal { queue: queue_index });
            }
        }
        steps
    }

    /// Takes one random step; `false` if there is none.
    pub(super) fn step(&mut self, device: &str) -> bool {
        let steps = self.steps();
        if steps.is_empty() {
            return false;
        }
        self.steps += 1;
        match steps[self.random.usize(..steps.len())] {
            Step::Signal { queue } => {
                if let Some(done) = self.queues[queue].lists.pop_front() {
                    let (timeline, value) = done.signal;
                    timeline.reach(value, done.reports);
                }
            }
            Step::Run { queue, list, left } => {
                let running = &mut self.queues[queue].lists[list];
                let (list, at, index) = &running.steps[running.left.remove(left)];
                let command = &list.commands[*at];
                if *command == Command::Timestamp {
                    if self.timestamps.takes(list, *at) {
                        // A clock of its own, so that the times come from the seed too.
                        running.reports.push((*index, Reported::Time(Duration::from_nanos(self.steps))));
                    }
                    return true;
                }
                poison_outputs(list, command, device);
                // SAFETY: every access to the device's bytes happens under its lock, which the caller holds; the list
                // keeps the rules, by the promise of `submit`.
                let result = unsafe { host::execute(list, command, 0..host::items(command), device) };
                if let Err(error) = result {
                    running.reports.push((*index, Reported::Failed(error)));
                }
            }
        }
        true
    }
}

/// Makes the bytes undefined that a kernel says it writes without reading them.
fn poison_outputs(list: &List, command: &Command, device: &str) {
    if !matches!(command, Command::Dispatch { .. }) {
        return;
    }
    for binding in list.bindings_of(command).iter().filter(|binding| binding.access == Access::Write) {
        let memory = host::memory(&*list.memories[binding.memory as usize], device);
        // SAFETY: as for the command itself, which writes them next.
        let bytes = memory.ok().and_then(|memory| unsafe { memory.slice_mut(binding.offset, binding.bytes) }.ok());
        bytes.into_iter().for_each(|bytes| bytes.fill(POISON));
    }
}

impl Running {
    fn is_barrier(&self, step: usize) -> bool {
        let (list, at, _) = &self.steps[step];
        list.commands[*at] == Command::Barrier
    }
}
