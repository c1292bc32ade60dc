//! Speed of the dense layer and of attention on one core.
//!
//! `cargo run --release -p thalweg-kernels --example gflops [instruction set]..`
//!
//! Each layer is run with as many different weights as make 48 MiB, one after the other, because a model's layers do
//! not find their weights in the second-level cache either. Prints the median, the slowest and the fastest of 15 runs;
//! on a machine that does other work too, the fastest says most.

use bytemuck::Pod;
use std::sync::Arc;
use std::time::Instant;
use thalweg_hal::host::{HostMemory, HostPipeline, execute};
use thalweg_hal::{Access, Binding, Command, Error, IndexRange, KernelSource, List, Memory, MemoryKind};
use thalweg_kernels::heads::Heads;
use thalweg_kernels::linear::{self, Activation, packed_len};
use thalweg_kernels::{Isa, Kernels, Scalar, attention};

/// Weights of all layers together, in bytes.
const WEIGHTS_BYTES: usize = 48 << 20;
/// Runs that count.
const RUNS: usize = 15;

/// A list of dispatches of one kernel with the same parameters.
struct Work {
    list: List,
    rows: u32,
}

impl Work {
    fn new<P: Pod>(source: &KernelSource, params: &P, rows: u32) -> Self {
        let mut list = List::default();
        list.pipelines.push(Arc::new(HostPipeline::new(source, "host").expect("it has a host function")));
        list.params.extend_from_slice(bytemuck::bytes_of(params));
        Self { list, rows }
    }

    fn operand<T: Pod>(&mut self, access: Access, values: impl Iterator<Item = T>) -> Result<Binding, Error> {
        let values: Vec<T> = values.collect();
        let bytes: &[u8] = bytemuck::cast_slice(&values);
        let memory = HostMemory::new(MemoryKind::Device, bytes.len() as u64, "example")?;
        // SAFETY: nothing else has seen the memory yet.
        unsafe { memory.slice_mut(0, bytes.len() as u64)? }.copy_from_slice(bytes);
        self.list.memories.push(Arc::new(memory) as Arc<dyn Memory>);
        Ok(Binding { memory: self.list.memories.len() as u32 - 1, access, offset: 0, bytes: bytes.len() as u64 })
    }

    fn dispatch(&mut self, operands: &[Binding]) {
        self.list.commands.push(Command::Dispatch {
            pipeline: 0,
            bindings: IndexRange { start: self.list.bindings.len() as u32, len: operands.len() as u32 },
            params: IndexRange { start: 0, len: self.list.params.len() as u32 },
            extent: [self.rows, 1, 1],
        });
        self.list.bindings.extend_from_slice(operands);
    }

    /// Runs the list again and again and prints a line.
    fn measure(&self, isa: Isa, what: &str, flops_each: f64) -> Result<(), Error> {
        let flops = flops_each * self.list.commands.len() as f64;
        let mut rates = Vec::new();
        for _ in 0..=RUNS {
            let start = Instant::now();
            for command in &self.list.commands {
                // SAFETY: one thread runs one command after the other.
                unsafe { execute(&self.list, command, 0..self.rows, "example")? };
            }
            rates.push(flops / start.elapsed().as_secs_f64() / 1e9);
        }
        rates.remove(0); // warms up
        rates.sort_by(f64::total_cmp);
        let [median, slowest, fastest] = [rates[RUNS / 2], rates[0], rates[RUNS - 1]];
        println!("{:<10} {what:<34} {median:>7.1}  {slowest:>7.1} {fastest:>7.1}", isa.name());
        Ok(())
    }
}

/// The kernel with given instructions.
fn on(kernels: &Kernels, isa: Isa) -> KernelSource {
    kernels.on(Scalar::F32, isa).expect("a kernel of f32")
}

/// Values in -1..1 without a pattern.
fn noise(len: usize) -> impl Iterator<Item = f32> {
    (0..len).map(|i| ((i * 2_654_435_761) % 2001) as f32 / 1000.0 - 1.0)
}

fn layer(isa: Isa, rows: u32, inputs: u32, outputs: u32, activation: Activation) -> Result<(), Error> {
    let params = linear::Params { inputs, outputs, activation: activation as u32 };
    let mut work = Work::new(&on(&linear::LINEAR, isa), &params, rows);
    let x = work.operand(Access::Read, noise((rows * inputs) as usize))?;
    let bias = work.operand(Access::Read, noise(outputs as usize))?;
    let out = work.operand(Access::Write, noise((rows * outputs) as usize))?;
    let weight = packed_len(outputs as usize, inputs as usize);
    for _ in 0..(WEIGHTS_BYTES / (4 * weight)).max(1) {
        let weight = work.operand(Access::Read, noise(weight))?;
        work.dispatch(&[x, weight, bias, out]);
    }
    let flops = 2.0 * f64::from(rows) * f64::from(inputs) * f64::from(outputs);
    work.measure(isa, &format!("{rows} x {inputs} -> {outputs} {activation:?}"), flops)
}

fn attend(isa: Isa, sequences: u32, length: u32, window: Option<u32>) -> Result<(), Error> {
    let (heads, head_dim) = (12, 32);
    let (rows, width) = (sequences * length, heads * head_dim);
    let mut params = attention::Params::new(heads, head_dim, sequences, 0.1);
    params.query.row_stride = 3 * width;
    [params.key, params.value] = [1, 2].map(|part| Heads { offset: part * width, ..params.query });
    if let Some(window) = window {
        (params.before, params.after) = (window, window);
    }
    let mut work = Work::new(&on(&attention::ATTENTION, isa), &params, rows);
    let qkv = work.operand(Access::Read, noise((rows * 3 * width) as usize))?;
    let offsets = work.operand(Access::Read, (0..=sequences).map(|s| s * length))?;
    let out = work.operand(Access::Write, noise((rows * width) as usize))?;
    for _ in 0..10 {
        work.dispatch(&[qkv, qkv, qkv, offsets, qkv, out]);
    }
    let seen: u32 = (0..length)
        .map(|at| match window {
            Some(window) => (at + window).min(length - 1) - at.saturating_sub(window) + 1,
            None => length,
        })
        .sum();
    let flops = 4.0 * f64::from(sequences) * f64::from(seen) * f64::from(width);
    let window = window.map_or(String::new(), |window| format!(", window {window}"));
    work.measure(isa, &format!("attention of {sequences} x {length}{window}"), flops)
}

fn main() -> Result<(), Error> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    println!("{:<10} {:<34} {:>7}  {:>7} {:>7}  GFLOP/s", "set", "what", "median", "slowest", "fastest");
    for isa in Isa::supported().filter(|isa| named.is_empty() || named.iter().any(|name| name == isa.name())) {
        layer(isa, 1, 384, 1536, Activation::None)?;
        layer(isa, 8, 384, 384, Activation::None)?;
        layer(isa, 24, 384, 1152, Activation::None)?;
        layer(isa, 24, 384, 1536, Activation::None)?;
        layer(isa, 24, 384, 1536, Activation::Gelu)?;
        layer(isa, 24, 1536, 384, Activation::None)?;
        layer(isa, 512, 384, 1536, Activation::None)?;
        layer(isa, 512, 1536, 384, Activation::None)?;
        layer(isa, 512, 1024, 4096, Activation::None)?;
        attend(isa, 1, 24, None)?;
        attend(isa, 8, 24, None)?;
        attend(isa, 1, 256, None)?;
        attend(isa, 1, 512, None)?;
        attend(isa, 1, 512, Some(64))?;
        attend(isa, 1, 4096, Some(64))?;
    }
    Ok(())
}
