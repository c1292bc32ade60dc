//! Kernels, lists and random numbers for the tests.

#![allow(dead_code, clippy::unwrap_used)] // each test program uses its part; a failed step is a failed test

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use thalweg_cpu::CpuDevice;
use thalweg_hal::{
    Access, Binding, Command, Device, HostCall, HostFn, IndexRange, KernelFailure, KernelSource, List, Listener,
    Memory, Pipeline, Queue, Result, Submission, Timeline, TimelinePoint,
};

/// Long enough for any machine; a test that needs it has failed.
pub const LONG: Duration = Duration::from_secs(60);

/// A binding's distance to the next, in bytes.
pub const CELL: u64 = 256;

pub fn kernel(name: &'static str, bindings: &'static [Access], params_bytes: u32, host: HostFn) -> KernelSource {
    KernelSource { name: name.into(), bindings: Cow::Borrowed(bindings), params_bytes, wgsl: None, host: Some(host) }
}

/// `x = x * factor + y` over u32, in place; parameters: factor. An order of two such steps can be told from the other.
pub fn fold() -> KernelSource {
    kernel("fold", &[Access::ReadWrite, Access::Read], 4, |call| {
        let factor: u32 = call.params()?;
        let y = &call.inputs.get::<u32>(0)?[call.items.start as usize..call.items.end as usize];
        for (x, y) in call.outputs.get::<u32>(0)?.iter_mut().zip(y) {
            *x = x.wrapping_mul(factor).wrapping_add(*y);
        }
        Ok(())
    })
}

/// A row sum in f32 with a product chain: rounding shows any change of order. Parameters: the row's length.
pub fn rows() -> KernelSource {
    kernel("rows", &[Access::Read, Access::Write], 4, |call| {
        let width = call.params::<u32>()? as usize;
        let x = call.inputs.get::<f32>(0)?;
        let items = call.items.clone();
        for (row, out) in items.zip(call.outputs.get::<f32>(0)?) {
            let row = &x[row as usize * width..][..width];
            *out = row.iter().fold(1.0, |sum, x| sum * 0.999 + x);
        }
        Ok(())
    })
}

/// `x = x + 1` over u32, in place.
pub fn increment() -> KernelSource {
    kernel("increment", &[Access::ReadWrite], 0, |call| {
        call.outputs.get::<u32>(0)?.iter_mut().for_each(|x| *x += 1);
        Ok(())
    })
}

/// Reports a failure that names its items.
pub fn fail() -> KernelSource {
    kernel("fail", &[Access::ReadWrite], 0, |call| Err(KernelFailure::new(format!("at item {}", call.items.start))))
}

/// Panics.
pub fn panic() -> KernelSource {
    kernel("panic", &[Access::ReadWrite], 0, |_: &mut HostCall<'_>| panic!("on purpose"))
}

/// Says that it has arrived, then blocks until it may pass; the parameter is the index in [`GATES`].
pub fn gate() -> KernelSource {
    kernel("gate", &[Access::ReadWrite], 4, |call| {
        GATES[call.params::<u32>()? as usize].pass();
        Ok(())
    })
}

/// One for each test of a program that wants one.
pub static GATES: [Gate; 12] = [const { Gate::new() }; 12];

pub struct Gate {
    /// How many have arrived, and whether they may pass.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    const fn new() -> Self {
        Self { state: Mutex::new((0, false)), changed: Condvar::new() }
    }

    pub fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.1).unwrap());
    }

    pub fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    /// Blocks until `n` have arrived.
    pub fn arrived(&self, n: usize) {
        let state = self.state.lock().unwrap();
        let (_state, timeout) = self.changed.wait_timeout_while(state, LONG, |state| state.0 < n).unwrap();
        assert!(!timeout.timed_out(), "the gate was not reached");
    }
}

/// Builds a list, one dispatch over u32 at a time.
#[derive(Default)]
pub struct Builder(List);

impl Builder {
    /// Appends a dispatch over `items` items. Bindings: memory, first byte, bytes.
    pub fn dispatch(
        mut self,
        pipeline: &Arc<dyn Pipeline>,
        params: &[u8],
        items: u32,
        bindings: &[(&Arc<dyn Memory>, u64, u64)],
    ) -> Self {
        let list = &mut self.0;
        let start = list.bindings.len() as u32;
        for ((memory, offset, bytes), access) in bindings.iter().zip(&*pipeline.source().bindings) {
            list.memories.push(Arc::clone(memory));
            let memory = list.memories.len() as u32 - 1;
            list.bindings.push(Binding { memory, access: *access, offset: *offset, bytes: *bytes });
        }
        list.pipelines.push(pipeline.clone());
        let params_start = list.params.len() as u32;
        list.params.extend_from_slice(params);
        list.params.resize(list.params.len().next_multiple_of(16), 0);
        list.commands.push(Command::Dispatch {
            pipeline: list.pipelines.len() as u32 - 1,
            bindings: IndexRange { start, len: bindings.len() as u32 },
            params: IndexRange { start: params_start, len: params.len() as u32 },
            extent: [items, 1, 1],
        });
        list.commands.push(Command::Barrier);
        self
    }

    /// Appends a fill of one cell's first word.
    pub fn fill(mut self, memory: &Arc<dyn Memory>, offset: u64, bytes: u64, pattern: u32) -> Self {
        let list = &mut self.0;
        list.memories.push(memory.clone());
        let start = list.bindings.len() as u32;
        let memory = list.memories.len() as u32 - 1;
        list.bindings.push(Binding { memory, access: Access::Write, offset, bytes });
        list.commands.push(Command::Fill { bindings: IndexRange { start, len: 1 }, pattern });
        list.commands.push(Command::Barrier);
        self
    }

    /// Appends a timestamp.
    pub fn timestamp(mut self) -> Self {
        self.0.commands.extend([Command::Timestamp, Command::Barrier]);
        self
    }

    /// Appends a copy of one cell to another.
    pub fn copy(mut self, from: (&Arc<dyn Memory>, u64), to: (&Arc<dyn Memory>, u64), bytes: u64) -> Self {
        let list = &mut self.0;
        let start = list.bindings.len() as u32;
        for ((memory, offset), access) in [(from, Access::Read), (to, Access::Write)] {
            list.memories.push(memory.clone());
            let memory = list.memories.len() as u32 - 1;
            list.bindings.push(Binding { memory, access, offset, bytes });
        }
        list.commands.push(Command::Copy { bindings: IndexRange { start, len: 2 } });
        list.commands.push(Command::Barrier);
        self
    }

    pub fn build(self) -> Arc<List> {
        Arc::new(self.0)
    }
}

/// A queue, and how far it is.
pub struct Line {
    pub queue: Box<dyn Queue>,
    pub timeline: Arc<dyn Timeline>,
    pub value: u64,
}

impl Line {
    pub fn new(device: &CpuDevice) -> Self {
        let queue = device.create_queue().unwrap();
        Self { timeline: Arc::clone(queue.timeline()), queue, value: 0 }
    }

    /// Submits, and returns what to wait for.
    pub fn submit(&mut self, list: &Arc<List>, waits: &[TimelinePoint]) -> TimelinePoint {
        self.try_submit(list, waits).unwrap();
        TimelinePoint { timeline: self.timeline.clone(), value: self.value }
    }

    pub fn try_submit(&mut self, list: &Arc<List>, waits: &[TimelinePoint]) -> Result<()> {
        let value = self.value + 1;
        // SAFETY: the tests order every conflicting access by waits, by the queue or by the host.
        unsafe { self.queue.submit(Submission { list, waits, value })? };
        self.value = value;
        Ok(())
    }
}

/// Blocks until the value is reached. Fails on a lost wake-up, which the timeout would hide.
pub fn wait(wait: &TimelinePoint) {
    let start = Instant::now();
    assert!(wait.timeline.wait(wait.value, Some(LONG)).unwrap(), "value {} was not reached", wait.value);
    assert!(start.elapsed() < LONG, "a wake-up was lost");
}

/// Blocks until one of the points is reached or the doorbell is rung. Fails on a lost wake-up, which the timeout would
/// hide.
pub fn wait_any(device: &CpuDevice, points: &[TimelinePoint], bell: Option<&Listener>) {
    let start = Instant::now();
    while !points.iter().any(TimelinePoint::is_reached) && !bell.is_some_and(Listener::is_rung) {
        device.wait_any(points, bell, Some(LONG)).unwrap();
        assert!(start.elapsed() < LONG, "a wake-up was lost");
    }
}

/// Reads u32 values of a memory that nothing in flight writes.
pub fn read(device: &CpuDevice, memory: &Arc<dyn Memory>, offset: u64, len: usize) -> Vec<u32> {
    let mut bytes = vec![0; len * 4];
    // SAFETY: the tests have waited for every list that writes the range.
    unsafe { device.read(memory, offset, &mut bytes) }.unwrap();
    bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
}

/// Writes u32 values to a memory that nothing in flight touches.
pub fn write(device: &CpuDevice, memory: &Arc<dyn Memory>, offset: u64, values: &[u32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
    // SAFETY: the tests write before they submit.
    unsafe { device.write(memory, offset, &bytes) }.unwrap();
}

/// Random numbers from a fresh seed, printed; `THALWEG_SEED` sets it.
pub fn fresh() -> fastrand::Rng {
    let given = std::env::var("THALWEG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("THALWEG_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
