//! What sharing dispatches is worth: one stream that runs a chain of compute-heavy dispatches, with 1 worker and
//! with 2.
//!
//! `cargo run --release -p thalweg-cpu --example split`

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_cpu::CpuDevice;
use thalweg_hal::{
    Access, Binding, Command, Device, IndexRange, KernelSource, List, MemoryKind, Queue, Result, Submission,
};

const WORDS: u32 = 16 << 10;
const CHAIN: u32 = 100;
const ROUNDS: usize = 15;

/// `parameter` rounds of arithmetic for each word.
fn churn() -> KernelSource {
    KernelSource {
        name: "churn".into(),
        bindings: Cow::Borrowed(&[Access::ReadWrite]),
        params_bytes: 4,
        wgsl: None,
        host: Some(|call| {
            let rounds: u32 = call.params()?;
            for x in call.outputs.get::<u32>(0)? {
                *x = (0..rounds).fold(*x, |x, _| (x ^ (x >> 15)).wrapping_mul(0x2c1b_3c6d));
            }
            Ok(())
        }),
    }
}

/// A chain of dispatches over the same words.
fn chain(device: &CpuDevice, rounds: u32) -> Result<Arc<List>> {
    let bytes = u64::from(WORDS) * 4;
    let mut list = List { params: rounds.to_ne_bytes().to_vec(), ..List::default() };
    list.memories.push(device.allocate(MemoryKind::Device, bytes)?);
    list.pipelines.push(device.create_pipeline(&churn())?);
    list.bindings.push(Binding { memory: 0, access: Access::ReadWrite, offset: 0, bytes });
    for _ in 0..CHAIN {
        let (bindings, params) = (IndexRange { start: 0, len: 1 }, IndexRange { start: 0, len: 4 });
        list.commands.push(Command::Dispatch { pipeline: 0, bindings, params, extent: [WORDS, 1, 1] });
        list.commands.push(Command::Barrier);
    }
    Ok(Arc::new(list))
}

/// The time of one submission, waiting included.
fn time(queue: &mut dyn Queue, list: &Arc<List>, value: u64) -> Result<Duration> {
    let start = Instant::now();
    // SAFETY: the only list on the device, with a barrier after each command; it waits for nothing.
    unsafe { queue.submit(Submission { list, waits: &[], value })? };
    queue.timeline().wait(value, None)?;
    Ok(start.elapsed())
}

fn main() -> Result<()> {
    let devices = [CpuDevice::with_workers(1)?, CpuDevice::with_workers(2)?];
    println!("{}: chains of {CHAIN} dispatches, median of {ROUNDS}", devices[1].info().name);
    for rounds in [1, 4, 16, 64] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            // Interleaved, so that both see the same machine.
            for (device, times) in devices.iter().zip(&mut times) {
                let (list, mut queue) = (chain(device, rounds)?, device.create_queue()?);
                time(&mut *queue, &list, 1)?;
                times.push(time(&mut *queue, &list, 2)? / CHAIN);
            }
        }
        times.iter_mut().for_each(|times| times.sort());
        let [one, two] = times.map(|times| times[ROUNDS / 2].as_secs_f64() * 1e6);
        println!("a dispatch: {one:7.1} us with 1 worker, {two:7.1} us with 2: {:.2}x", one / two);
    }
    Ok(())
}
