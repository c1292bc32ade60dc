//! Lists by hand.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{
    Access, BINDING_ALIGNMENT, Binding, Command, Device, Features, Groups, HostAccess, IndexRange, KernelSource, List,
    Memory, MemoryKind, Pipeline, Queue, Result, Submission, Timeline, TimelinePoint, Wgsl, WgslModule,
};

/// Long enough for any list here on any machine.
pub const LONG: Duration = Duration::from_secs(60);

/// A kernel of this text; its entry point is `main`.
pub fn kernel(
    name: &'static str,
    bindings: &'static [Access],
    params_bytes: u32,
    source: impl Into<Cow<'static, str>>,
) -> KernelSource {
    let wgsl = Wgsl::clamped(WgslModule {
        source: source.into(),
        entry: Cow::Borrowed("main"),
        overrides: Cow::Borrowed(&[]),
        groups: Groups::Invocations,
        features: Features::F16,
        failures: Cow::Borrowed(&["the word is odd"]),
    });
    KernelSource { name: name.into(), bindings: bindings.into(), params_bytes, wgsl: Some(wgsl), host: None }
}

/// x = 3 x + salt, in place.
pub fn advance() -> KernelSource {
    kernel(
        "advance",
        &[Access::ReadWrite],
        4,
        "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
         var<immediate> salt: u32;
         @compute @workgroup_size(64)
         fn main(@builtin(global_invocation_id) id: vec3<u32>) {
             if id.x < arrayLength(&x) { x[id.x] = 3u * x[id.x] + salt; }
         }",
    )
}

pub fn advanced(x: u32, salt: u32) -> u32 {
    x.wrapping_mul(3).wrapping_add(salt)
}

/// Builds a list, with a barrier after each command.
#[derive(Default)]
pub struct Builder(List);

/// Memory, first byte, bytes.
pub type Range<'a> = (&'a Arc<dyn Memory>, u64, u64);

impl Builder {
    pub fn dispatch(
        mut self,
        pipeline: &Arc<dyn Pipeline>,
        params: &[u8],
        extent: [u32; 3],
        ranges: &[Range<'_>],
    ) -> Self {
        let accesses = pipeline.source().bindings.to_vec();
        let bindings = self.bind(ranges.iter().copied().zip(accesses));
        let list = &mut self.0;
        list.pipelines.push(Arc::clone(pipeline));
        let start = list.params.len() as u32;
        list.params.extend_from_slice(params);
        list.params.resize(list.params.len().next_multiple_of(16), 0);
        let (pipeline, params) = (list.pipelines.len() as u32 - 1, IndexRange { start, len: params.len() as u32 });
        list.commands.extend([Command::Dispatch { pipeline, bindings, params, extent }, Command::Barrier]);
        self
    }

    pub fn fill(mut self, range: Range<'_>, pattern: u32) -> Self {
        let bindings = self.bind([(range, Access::Write)]);
        self.0.commands.extend([Command::Fill { bindings, pattern }, Command::Barrier]);
        self
    }

    pub fn copy(mut self, from: Range<'_>, to: Range<'_>) -> Self {
        let bindings = self.bind([(from, Access::Read), (to, Access::Write)]);
        self.0.commands.extend([Command::Copy { bindings }, Command::Barrier]);
        self
    }

    pub fn run(mut self, inner: &Arc<List>) -> Self {
        let list = self.0.lists.len() as u32;
        self.0.lists.push(Arc::clone(inner));
        let bindings = IndexRange { start: 0, len: 0 };
        self.0.commands.extend([Command::Run { list, bindings }, Command::Barrier]);
        self
    }

    pub fn timestamp(mut self) -> Self {
        self.0.commands.extend([Command::Timestamp, Command::Barrier]);
        self
    }

    /// Orders the list after the earlier ones of its queue.
    pub fn barrier(mut self) -> Self {
        self.0.commands.push(Command::Barrier);
        self
    }

    pub fn build(self) -> Arc<List> {
        Arc::new(self.0)
    }

    fn bind<'a>(&mut self, ranges: impl IntoIterator<Item = (Range<'a>, Access)>) -> IndexRange {
        let list = &mut self.0;
        let start = list.bindings.len() as u32;
        for ((memory, offset, bytes), access) in ranges {
            list.memories.push(Arc::clone(memory));
            list.bindings.push(Binding { memory: list.memories.len() as u32 - 1, access, offset, bytes });
        }
        IndexRange { start, len: list.bindings.len() as u32 - start }
    }
}

/// A queue, and how far it is.
pub struct Line {
    pub queue: Box<dyn Queue>,
    pub timeline: Arc<dyn Timeline>,
    pub value: u64,
}

impl Line {
    pub fn new(device: &dyn Device) -> Self {
        let queue = device.create_queue().unwrap();
        Self { timeline: Arc::clone(queue.timeline()), queue, value: 0 }
    }

    /// Submits, and returns what to wait for.
    pub fn submit(&mut self, list: &Arc<List>, waits: &[TimelinePoint]) -> TimelinePoint {
        self.try_submit(list, waits).unwrap();
        TimelinePoint { timeline: Arc::clone(&self.timeline), value: self.value }
    }

    pub fn try_submit(&mut self, list: &Arc<List>, waits: &[TimelinePoint]) -> Result<()> {
        let value = self.value + 1;
        // SAFETY: the tests order every conflicting access by barriers, by waits or by the host.
        unsafe { self.queue.submit(Submission { list, waits, value })? };
        self.value = value;
        Ok(())
    }

    /// Submits and waits.
    pub fn run(&mut self, list: &Arc<List>) {
        wait(&self.submit(list, &[]));
    }
}

/// Blocks until the value is reached.
pub fn wait(wait: &TimelinePoint) {
    assert!(wait.timeline.wait(wait.value, Some(LONG)).unwrap(), "value {} was not reached", wait.value);
}

/// Memory of zeros. What is in new memory is undefined.
pub fn zeroed(device: &dyn Device, bytes: u64) -> Arc<dyn Memory> {
    let memory = device.allocate(MemoryKind::Device, bytes).unwrap();
    Line::new(device).run(&Builder::default().fill((&memory, 0, bytes), 0).build());
    memory
}

/// Whether the host sees a memory.
fn is_seen(device: &dyn Device, memory: &Arc<dyn Memory>) -> bool {
    memory.kind() == MemoryKind::Host || device.info().host_access != HostAccess::None
}

/// The words of a range that nothing writes any more.
pub fn words(device: &dyn Device, memory: &Arc<dyn Memory>, offset: u64, count: usize) -> Vec<u32> {
    if !is_seen(device, memory) {
        // Commands copy from multiples of this.
        let start = offset / BINDING_ALIGNMENT * BINDING_ALIGNMENT;
        let bytes = offset - start + 4 * count as u64;
        let copy = device.allocate(MemoryKind::Host, bytes).unwrap();
        let list = Builder::default().barrier().copy((memory, start, bytes), (&copy, 0, bytes));
        Line::new(device).run(&list.build());
        return words(device, &copy, offset - start, count);
    }
    let mut words = vec![0u32; count];
    // SAFETY: the copy above has run, and the caller has waited for the last write.
    unsafe { device.read(memory, offset, bytemuck::cast_slice_mut(&mut words)).unwrap() };
    words
}

/// Writes words that nothing uses. A list that uses them starts with a barrier: a command may have written them.
pub fn write(device: &dyn Device, memory: &Arc<dyn Memory>, offset: u64, words: &[u32]) {
    if !is_seen(device, memory) {
        let bytes = 4 * words.len() as u64;
        let copy = device.allocate(MemoryKind::Host, bytes).unwrap();
        write(device, &copy, 0, words);
        let list = Builder::default().barrier().copy((&copy, 0, bytes), (memory, offset, bytes));
        return Line::new(device).run(&list.build());
    }
    // SAFETY: nothing knows the copy above, and the caller has waited for the last use.
    unsafe { device.write(memory, offset, bytemuck::cast_slice(words)).unwrap() };
}

pub fn random() -> fastrand::Rng {
    let seed = std::env::var("THALWEG_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64
    });
    println!("THALWEG_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
