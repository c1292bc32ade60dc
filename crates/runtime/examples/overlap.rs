//! How far the streams of a Vulkan device overlap: chains of dependent kernels of about ten microseconds, from 1 to 16
//! threads with a stream each. Also what it costs to read a little of the device's memory.
//!
//! Run with `cargo run --release --package thalweg-runtime --example overlap`.

use std::borrow::Cow;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use thalweg_hal::{Access, Features, Groups, KernelSource, Wgsl, WgslModule};
use thalweg_runtime::{Config, Device, Operand, Pipeline, Result, Storage, Stream, Work};

/// Kernels of a chain, each of which reads what the one before wrote.
const CHAIN: usize = 70;
/// How long each number of threads is measured.
const MEASURED: Duration = Duration::from_secs(1);
/// Rounds, interleaved; the median counts.
const ROUNDS: usize = 5;

/// Adds and multiplies for as many steps as it is told.
static SPIN: KernelSource = KernelSource {
    name: Cow::Borrowed("spin"),
    bindings: Cow::Borrowed(&[Access::ReadWrite]),
    params_bytes: 4,
    wgsl: Some(Wgsl::clamped(WgslModule {
        source: Cow::Borrowed(
            "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
             var<immediate> steps: u32;
             @compute @workgroup_size(128)
             fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                 if id.x >= arrayLength(&x) { return; }
                 var v = x[id.x];
                 for (var i = 0u; i < steps; i++) { v = v * 1.0001 + 0.5; }
                 x[id.x] = v;
             }",
        ),
        entry: Cow::Borrowed("main"),
        overrides: Cow::Borrowed(&[]),
        groups: Groups::Invocations,
        features: Features::NONE,
        failures: Cow::Borrowed(&[]),
    })),
    host: None,
};
/// Eight workgroups: a small part of a large GPU.
const ELEMENTS: u32 = 1024;

fn main() -> Result<()> {
    let adapters = thalweg_vulkan::adapters()?;
    let Some(best) = thalweg_vulkan::best(&adapters) else {
        eprintln!("no Vulkan device can be used: {adapters:?}");
        std::process::exit(1);
    };
    let hal = thalweg_vulkan::VulkanDevice::open(&adapters[best])?;
    let device = Device::new(hal, Config::default())?;
    let pipeline = device.pipeline(&SPIN)?;
    println!("{}, {} queues, {} processors", device.info().name, device.info().parallelism, processors());
    for (name, value) in &device.info().details {
        println!("    {name:<24} {value}");
    }
    let steps = calibrate(&device, &pipeline)?;

    let threads = [1, 2, 4, 8, 16];
    // Made once: each of the first has a queue of the driver's to itself, as far as there are any.
    let streams = (0..16).map(|_| Stream::new(&device)).collect::<Result<Vec<_>>>()?;
    let mut rates = vec![Vec::new(); threads.len()];
    for _ in 0..ROUNDS {
        for (rates, threads) in rates.iter_mut().zip(threads) {
            rates.push(chains_per_second(&streams[..threads], &pipeline, steps)?);
        }
    }
    println!("threads  chains/s (median, least, most of {ROUNDS})  of one thread");
    let mut one = None;
    for (rates, threads) in rates.iter_mut().zip(threads) {
        rates.sort_by(f64::total_cmp);
        let median = rates[ROUNDS / 2];
        let one = *one.get_or_insert(median);
        println!(
            "{threads:7}  {median:8.0} {:8.0} {:8.0}                  {:5.2}",
            rates[0],
            rates[ROUNDS - 1],
            median / one
        );
    }
    reads(&device)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The number of steps that takes about ten microseconds, by the device's clock.
fn calibrate(device: &Device, pipeline: &Pipeline) -> Result<u32> {
    let stream = Stream::new(device)?;
    let mut storage = make(&stream)?;
    let mut steps = 1000;
    for _ in 0..4 {
        let start = stream.record_timed_event()?;
        for _ in 0..100 {
            record(&stream, pipeline, steps, &mut storage)?;
        }
        let end = stream.record_timed_event()?;
        let each = end.elapsed_since(&start)? / 100;
        println!("{steps} steps: {:.1} us a kernel", each.as_secs_f64() * 1e6);
        steps = (f64::from(steps) * 10e-6 / each.as_secs_f64()).clamp(1.0, 1e6) as u32;
    }
    Ok(steps)
}

fn make(stream: &Stream) -> Result<Storage> {
    let mut storage = stream.allocate(4 * u64::from(ELEMENTS))?;
    stream.record(&Work::Fill(0), &[Operand::write(&mut storage)])?;
    Ok(storage)
}

fn record(stream: &Stream, pipeline: &Pipeline, steps: u32, storage: &mut Storage) -> Result<()> {
    let work = Work::Dispatch { pipeline, params: &steps.to_ne_bytes(), extent: [ELEMENTS, 1, 1] };
    stream.record(&work, &[Operand::update(storage)])
}

fn chains_per_second(streams: &[Stream], pipeline: &Pipeline, steps: u32) -> Result<f64> {
    let start = Barrier::new(streams.len());
    let rate = |stream: &Stream| -> Result<f64> {
        let mut storage = make(stream)?;
        stream.synchronize()?;
        start.wait();
        let (begin, mut chains) = (Instant::now(), 0);
        while begin.elapsed() < MEASURED {
            for _ in 0..CHAIN {
                record(stream, pipeline, steps, &mut storage)?;
            }
            stream.synchronize()?;
            chains += 1;
        }
        Ok(f64::from(chains) / begin.elapsed().as_secs_f64())
    };
    std::thread::scope(|scope| {
        let rate = &rate;
        let running: Vec<_> = streams.iter().map(|stream| scope.spawn(move || rate(stream))).collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    })
}

/// How long the host takes to read and write what the device is done with.
fn reads(device: &Device) -> Result<()> {
    println!("bytes     read us  write us (medians of 101)");
    for bytes in [64, 256, 512, 1536, 4096, 16_384, 65_536, 1 << 20] {
        let storage = Storage::from_bytes(device, &vec![1; bytes])?;
        let mut into = vec![0; bytes];
        let read = median(|| storage.read(0, &mut into))?;
        let write = median(|| Storage::from_bytes(device, &into).map(drop))?;
        println!("{bytes:<9} {:7.1}  {:7.1}", read * 1e6, write * 1e6);
    }
    Ok(())
}

fn median(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    let mut into = || -> Result<f64> {
        let begin = Instant::now();
        call()?;
        Ok(begin.elapsed().as_secs_f64())
    };
    for _ in 0..101 {
        times.push(into()?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[50])
}
