//! Speed of the dense layer's forms and of attention on the best Vulkan device.
//!
//! `cargo run --release -p thalweg-kernels --example gpu_gflops`
//!
//! Each line is one kernel at one shape: a list of 40 dispatches, one after the other, between two timestamps; the median
//! of 9 lists, for each dispatch.

use bytemuck::Pod;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{
    Access, Binding, Command, Device, KernelSource, List, MemoryKind, Queue, Reported, Span, Submission,
};
use thalweg_kernels::attention::{self, ATTENTION_WIDE, ATTENTION_WIDE_F16};
use thalweg_kernels::linear::{self, LINEAR_FEW_WIDE, LINEAR_FEW_WIDE_F16, LINEAR_SOME_WIDE, LINEAR_SOME_WIDE_F16};
use thalweg_kernels::linear::{LINEAR_WIDE, LINEAR_WIDE_F16, packed_len};

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
    /// The median time of a dispatch. `offsets` are bound second, if there are any.
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
        for (at, (bytes, access)) in bytes.iter().zip(source.bindings.iter()).enumerate() {
            let memory = self.device.allocate(MemoryKind::Device, *bytes as u64)?;
            if at == 1 && !offsets.is_empty() {
                // SAFETY: nothing else has seen the memory.
                unsafe { self.device.write(&memory, 0, bytemuck::cast_slice(offsets))? };
            }
            list.memories.push(memory);
            list.bindings.push(Binding { memory: at as u32, access: *access, offset: 0, bytes: *bytes as u64 });
        }
        let bindings = Span { start: 0, len: list.bindings.len() as u32 };
        let params = Span { start: 0, len: size_of_val(params) as u32 };
        list.commands.push(Command::Timestamp);
        for _ in 0..DISPATCHES {
            list.commands.push(Command::Dispatch { pipeline: 0, bindings, params, extent: [rows, 1, 1] });
            list.commands.push(Command::Barrier);
        }
        list.commands.push(Command::Timestamp);
        list.check(&self.device.info().limits)?;
        let list = Arc::new(list);
        let mut times = Vec::new();
        for run in 0..=RUNS {
            self.value += 1;
            // SAFETY: the dispatches are ordered by barriers, the lists by waiting for each.
            unsafe { self.queue.submit(Submission { list: &list, waits: &[], value: self.value })? };
            self.queue.timeline().wait(self.value, None)?;
            let mut stamps = Vec::new();
            for report in self.queue.timeline().take_reports() {
                match report.what {
                    Reported::Failed(error) => return Err(error.into()),
                    Reported::Time(time) => stamps.push(time),
                }
            }
            stamps.sort();
            if let ([first, .., last], true) = (&stamps[..], run > 0) {
                times.push((*last - *first) / DISPATCHES);
            }
        }
        times.sort();
        times.get(times.len() / 2).copied().ok_or_else(|| "the device has no timestamps".into())
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
        let params =
            attention::Params { heads: heads as u32, head_dim: head_dim as u32, sequences: count as u32, scale: 0.2 };
        let row = heads * head_dim * width;
        let bytes = [n * 3 * row, offsets.len() * 4, n * row];
        let time = self.time(source, &params, &bytes, &offsets, n as u32)?;
        report(source, &format!("{count} sequences of {len}"), time, 4.0 * (n * len * heads * head_dim) as f64);
        Ok(())
    }
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
    assert_eq!(LINEAR_WIDE.bindings.last(), Some(&Access::Write));
    let most = std::env::args().nth(1).map_or(Ok(8192), |rows| rows.parse())?;
    for [inputs, outputs] in [[384, 384], [384, 1152], [384, 1536], [1536, 384]] {
        for rows in [8, 32, 64, 128, 256, 512, 1024, 8192] {
            for (source, width) in [
                (&LINEAR_WIDE, 4),
                (&LINEAR_SOME_WIDE, 4),
                (&LINEAR_FEW_WIDE, 4),
                (&LINEAR_WIDE_F16, 2),
                (&LINEAR_SOME_WIDE_F16, 2),
                (&LINEAR_FEW_WIDE_F16, 2),
            ] {
                if rows <= most {
                    bench.linear(source, width, [rows, inputs, outputs])?;
                }
            }
        }
    }
    for (count, len) in [(1, 8), (1, 32), (8, 16), (8, 128), (64, 32), (16, 512)] {
        for (source, width) in [(&ATTENTION_WIDE, 4), (&ATTENTION_WIDE_F16, 2)] {
            if count * len <= most {
                bench.attention(source, width, count, len)?;
            }
        }
    }
    Ok(())
}
