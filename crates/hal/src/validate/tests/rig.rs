//! A validated double with queues and timelines, and short words for lists.

use super::double::Double;
use fastrand::Rng;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use thalweg_hal::host::HostPipeline;
use thalweg_hal::validate::Validated;
use thalweg_hal::{
    Access, Binding, Command, Device, Error, IndexRange, KernelSource, List, Memory, MemoryKind, Queue, Result,
    Submission, Timeline, TimelinePoint, Violation,
};

/// One operand.
pub(crate) type Touch = (Arc<dyn Memory>, Access, Range<u64>);

/// One command.
#[derive(Clone)]
pub(crate) enum Step {
    Barrier,
    Timestamp,
    Touch(Vec<Touch>),
}

pub(crate) fn read(memory: &Arc<dyn Memory>, bytes: Range<u64>) -> Step {
    Step::Touch(vec![(memory.clone(), Access::Read, bytes)])
}

pub(crate) fn write(memory: &Arc<dyn Memory>, bytes: Range<u64>) -> Step {
    Step::Touch(vec![(memory.clone(), Access::Write, bytes)])
}

/// A list of dispatches that touch their operands in name only.
pub(crate) fn list(steps: &[Step]) -> Arc<List> {
    let mut list = List::default();
    for step in steps {
        let touches = match step {
            Step::Barrier => {
                list.commands.push(Command::Barrier);
                continue;
            }
            Step::Timestamp => {
                list.commands.push(Command::Timestamp);
                continue;
            }
            Step::Touch(touches) => touches,
        };
        let source = KernelSource {
            name: Cow::Borrowed("touch"),
            bindings: Cow::Owned(touches.iter().map(|touch| touch.1).collect()),
            params_bytes: 0,
            wgsl: None,
            host: Some(|_| Ok(())),
        };
        let bindings = IndexRange { start: list.bindings.len() as u32, len: touches.len() as u32 };
        for (memory, access, bytes) in touches {
            let Range { start: offset, end } = *bytes;
            let index = list.memories.len() as u32;
            list.memories.push(memory.clone());
            list.bindings.push(Binding { memory: index, access: *access, offset, bytes: end - offset });
        }
        let (pipeline, params) = (list.pipelines.len() as u32, IndexRange { start: 0, len: 0 });
        list.pipelines.push(Arc::new(HostPipeline::new(&source, "rig").unwrap()));
        list.commands.push(Command::Dispatch { pipeline, bindings, params, extent: [1, 1, 1] });
    }
    Arc::new(list)
}

/// Submits.
pub(crate) fn submit(queue: &mut dyn Queue, list: &Arc<List>, waits: &[TimelinePoint], value: u64) -> Result<()> {
    // SAFETY: the kernels touch nothing, and the validator refuses what breaks the other rules.
    unsafe { queue.submit(Submission { list, waits, value }) }
}

/// Queues, with one value a list.
pub(crate) struct Rig {
    pub(crate) double: Arc<Double>,
    pub(crate) device: Arc<Validated>,
    pub(crate) queues: Vec<Box<dyn Queue>>,
    /// Theirs, which stay when a test takes a queue away.
    pub(crate) timelines: Vec<Arc<dyn Timeline>>,
    pub(crate) values: Vec<u64>,
}

impl Rig {
    /// Values are not reached before [`Rig::reach`].
    pub(crate) fn new(queues: usize) -> Self {
        let double = Double::new(true);
        let device = Validated::new(double.clone());
        let queues: Vec<_> = (0..queues).map(|_| device.create_queue().unwrap()).collect();
        Self {
            timelines: queues.iter().map(|queue| queue.timeline().clone()).collect(),
            values: vec![0; queues.len()],
            queues,
            double,
            device,
        }
    }

    pub(crate) fn memory(&self) -> Arc<dyn Memory> {
        self.device.allocate(MemoryKind::Device, 1 << 16).unwrap()
    }

    /// Replaces a queue by a new one. Returns the old one's timeline.
    pub(crate) fn renew(&mut self, at: usize) -> Arc<dyn Timeline> {
        // Gone before there is another.
        drop(self.queues.remove(at));
        self.queues.insert(at, self.device.create_queue().unwrap());
        self.values[at] = 0;
        std::mem::replace(&mut self.timelines[at], self.queues[at].timeline().clone())
    }

    pub(crate) fn wait(&self, at: usize, value: u64) -> TimelinePoint {
        TimelinePoint { timeline: self.timelines[at].clone(), value }
    }

    /// Submits to a queue, with waits as (queue, value).
    pub(crate) fn try_submit(&mut self, queue: usize, waits: &[(usize, u64)], steps: &[Step]) -> Result<u64> {
        let waits: Vec<TimelinePoint> = waits.iter().map(|(at, value)| self.wait(*at, *value)).collect();
        let value = self.values[queue] + 1;
        submit(&mut *self.queues[queue], &list(steps), &waits, value)?;
        self.values[queue] = value;
        Ok(value)
    }

    /// The same; must be accepted.
    #[track_caller]
    pub(crate) fn submit(&mut self, queue: usize, waits: &[(usize, u64)], steps: &[Step]) -> u64 {
        self.try_submit(queue, waits, steps).unwrap()
    }

    /// The same; must be refused as unordered, and not reach the device. Returns command, bytes and the other access.
    #[track_caller]
    pub(crate) fn unordered(
        &mut self,
        queue: usize,
        waits: &[(usize, u64)],
        steps: &[Step],
    ) -> (usize, Range<u64>, String) {
        let (violations, received) = (self.device.report().violations, self.double.received().len());
        let result = self.try_submit(queue, waits, steps);
        assert_eq!(self.device.report().violations, violations + 1, "{result:?}");
        assert_eq!(self.double.received().len(), received);
        match result {
            Err(Error::Invalid(Violation::Unordered { command, start, end, other, .. })) => {
                (command, start..end, other)
            }
            other => panic!("expected an unordered access, got {other:?}"),
        }
    }

    pub(crate) fn reach(&self, at: usize, value: u64) {
        self.double.reach(&self.timelines[at], value);
    }

    pub(crate) fn host_read(&self, memory: &Arc<dyn Memory>, bytes: Range<u64>) -> Result<()> {
        let mut into = vec![0; (bytes.end - bytes.start) as usize];
        // SAFETY: the validator refuses it if a command may touch the bytes; the kernels touch none.
        unsafe { self.device.read(memory, bytes.start, &mut into) }
    }

    pub(crate) fn host_write(&self, memory: &Arc<dyn Memory>, bytes: Range<u64>) -> Result<()> {
        let from = vec![0; (bytes.end - bytes.start) as usize];
        // SAFETY: as above.
        unsafe { self.device.write(memory, bytes.start, &from) }
    }
}

/// Random numbers from a fresh seed, printed; `THALWEG_SEED` sets it.
pub(crate) fn fresh() -> Rng {
    use std::hash::{BuildHasher, Hasher};
    let given = std::env::var("THALWEG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish());
    println!("seed {seed}");
    Rng::with_seed(seed)
}

/// True one time in `n`.
pub(crate) fn one_in(random: &mut Rng, n: usize) -> bool {
    random.usize(..n) == 0
}
