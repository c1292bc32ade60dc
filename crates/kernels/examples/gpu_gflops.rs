//! Speed of the dense layer's forms and of attention on the best Vulkan device.
//!
//! `cargo run --release -p thalweg-kernels --example gpu_gflops`
//!
//! Each line is one kernel at one shape: a list of 40 dispatches, one after the other, between two timestamps; the
//! median of 9 lists, for each dispatch.

use bytemuck::Pod;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{
    Access, Binding, Command, Device, IndexRange, KernelSource, List, Memory, MemoryKind, Queue, Reported, Submission,
};
use thalweg_kernels::Scalar;
use thalweg_kernels::attention::{self, ATTENTION_WIDE};
use thalweg_kernels::linear::{self, LINEAR_FEW_WIDE, LINEAR_SOME_WIDE, LINEAR_WIDE, packed_len};

/// Dispatches of a list.
const DISPATCHES: u32 = 40;
/// Lists that count.
const RUNS: usize = 9;

struct Bench {
    device: Arc<dyn Device>,
    queue: Box<dyn Queue>,
    value: u64,
}

impl Bench {
    /// The median time of a dispatch. `offsets` are bound fourth, if there are any.
    fn time(
        &mut self,
        source: &KernelSource,
        params: &impl Pod,
        bytes: &[usize],
        offsets: &[u32],
        rows: u32,
    ) -> Result<Duration, Box<dyn Error>> {
        let mut list = List::default();
        list.pipelines.push(self.device.create_pipeline(source)?);
        list.params.extend_from_slice(bytemuck::bytes_of(params));
        for (at, (bytes, access)) in (0..).zip(bytes.iter().zip(source.bindings.iter())) {
            list.memories.push(self.device.allocate(MemoryKind::Device, *bytes as u64)?);
            list.bindings.push(Binding { memory: at, access: *access, offset: 0, bytes: *bytes as u64 });
        }
        self.write(&list.memories, offsets)?;
        let bindings = IndexRange { start: 0, len: list.bindings.len() as u32 };
        let params = IndexRange { start: 0, len: size_of_val(params) as u32 };
        list.commands.extend([Command::Barrier, Command::Timestamp]);
        for _ in 0..DISPATCHES {
            list.commands.push(Command::Dispatch { pipeline: 0, bindings, params, extent: [rows, 1, 1] });
            list.commands.push(Command::Barrier);
        }
        list.commands.push(Command::Timestamp);
        let list = Arc::new(list);
        let mut times = Vec::new();
        for run in 0..=RUNS {
            if let ([first, .., last], true) = (&self.run(&list)?[..], run > 0) {
                times.push((*last - *first) / DISPATCHES);
            }
        }
        times.sort();
        times.get(times.len() / 2).copied().ok_or_else(|| "the device has no timestamps".into())
    }

    /// Fills the memories with zeros, and writes the offsets to the fourth, by a list: the host need not see them.
    fn write(&mut self, memories: &[Arc<dyn Memory>], offsets: &[u32]) -> Result<(), Box<dyn Error>> {
        let mut list = List { memories: memories.to_vec(), ..List::default() };
        for (at, memory) in (0..).zip(memories) {
            list.bindings.push(Binding { memory: at, access: Access::Write, offset: 0, bytes: memory.bytes() });
            list.commands.push(Command::Fill { bindings: IndexRange { start: at, len: 1 }, pattern: 0 });
        }
        if !offsets.is_empty() {
            let bytes = size_of_val(offsets) as u64;
            let host = self.device.allocate(MemoryKind::Host, bytes)?;
            // SAFETY: nothing else has seen the memory.
            unsafe { self.device.write(&host, 0, bytemuck::cast_slice(offsets))? };
            let (start, from) = (list.bindings.len() as u32, list.memories.len() as u32);
            list.memories.push(host);
            list.bindings.push(Binding { memory: from, access: Access::Read, offset: 0, bytes });
            list.bindings.push(Binding { memory: 3, access: Access::Write, offset: 0, bytes });
            list.commands.extend([Command::Barrier, Command::Copy { bindings: IndexRange { start, len: 2 } }]);
        }
        self.run(&Arc::new(list)).map(drop)
    }

    /// Runs a list to its end; its times, rising.
    fn run(&mut self, list: &Arc<List>) -> Result<Vec<Duration>, Box<dyn Error>> {
        list.check(&self.device.info().limits)?;
        self.value += 1;
        // SAFETY: barriers order the commands of each list here, and the caller waits for one list before the next,
        // which starts with a barrier.
        unsafe { self.queue.submit(Submission { list, waits: &[], value: self.value })? };
        self.queue.timeline().wait(self.value, None)?;
        let mut times = Vec::new();
        for report in self.queue.timeline().take_reports() {
            match report.what {
                Reported::Failed(error) => return Err(error.into()),
                Reported::Time(time) => times.push(time),
            }
        }
        times.sort();
        Ok(times)
    }

    fn linear(&mut self, source: &KernelSource, width: usize, shape: [usize; 3]) -> Result<(), Box<dyn Error>> {
        let [rows, inputs, outputs] = shape;
        let params = linear::Params { inputs: inputs as u32, outputs: outputs as u32, activation: 1 };
        let bytes = [rows * inputs, packed_len(outputs, inputs), outputs, rows * outputs].map(|len| len * width);
        let time = self.time(source, &params, &bytes, &[], rows as u32)?;
        report(source, &format!("[{rows}, {inputs}] x {outputs}"), time, 2.0 * (rows * inputs * outputs) as f64);
        Ok(())
    }

    fn attention(
        &mut self,
        source: &KernelSource,
        width: usize,
        count: usize,
        len: usize,
    ) -> Result<(), Box<dyn Error>> {
        let (heads, head_dim) = (12, 32);
        let n = count * len;
        let offsets: Vec<u32> = (0..=count).map(|at| (at * len) as u32).collect();
        let mut params = attention::Params::new(heads as u32, head_dim as u32, count as u32, 0.2);
        // As in a product of the three side by side.
        params.query.row_stride *= 3;
        (params.key, params.value) = (params.query, params.query);
        let row = heads * head_dim * width;
        let bytes = [n * 3 * row, n * 3 * row, n * 3 * row, offsets.len() * 4, width, n * row];
        let time = self.time(source, &params, &bytes, &offsets, n as u32)?;
        report(source, &format!("{count} sequences of {len}"), time, 4.0 * (n * len * heads * head_dim) as f64);
        Ok(())
    }
}

/// The size of an element.
fn bytes(scalar: Scalar) -> usize {
    if scalar == Scalar::F16 { 2 } else { 4 }
}

fn report(source: &KernelSource, shape: &str, time: Duration, operations: f64) {
    let speed = operations / time.as_secs_f64() / 1e9;
    println!("{:22} {shape:24} {:9.1} us {speed:9.0} GFLOP/s", source.name, time.as_secs_f64() * 1e6);
}

fn main() -> Result<(), Box<dyn Error>> {
    let adapters = thalweg_vulkan::adapters()?;
    let best = thalweg_vulkan::best(&adapters).ok_or("no Vulkan device can be used")?;
    let device: Arc<dyn Device> = thalweg_vulkan::VulkanDevice::open(&adapters[best])?;
    println!("{}", device.info().name);
    let mut bench = Bench { queue: device.create_queue()?, device, value: 0 };
    let most = std::env::args().nth(1).map_or(Ok(8192), |rows| rows.parse())?;
    for [inputs, outputs] in [[384, 384], [384, 1152], [384, 1536], [1536, 384]] {
        for rows in [8, 32, 64, 128, 256, 512, 1024, 8192] {
            for kernels in [&LINEAR_WIDE, &LINEAR_SOME_WIDE, &LINEAR_FEW_WIDE] {
                for (scalar, source) in kernels.forms().filter(|_| rows <= most) {
                    bench.linear(source, bytes(scalar), [rows, inputs, outputs])?;
                }
            }
        }
    }
    for (count, len) in [(1, 8), (1, 32), (8, 16), (8, 128), (64, 32), (16, 512)] {
        for (scalar, source) in ATTENTION_WIDE.forms().filter(|_| count * len <= most) {
            bench.attention(source, bytes(scalar), count, len)?;
        }
    }
    Ok(())
}
