//! How long one launch of a compiled kernel takes, alone and while another kernel compiles for a second.

use crate::Figure;
use crate::measure::{Options, Result, Spread};
use crate::null::{Completion, NullDevice, SLOW};
use crate::rows::kernel;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;
use thalweg_hal::Access;
use thalweg_runtime::{Config, Device, Operand, Stream, Work};

/// What is measured, without a compile and with one: of all launches of a round the median, what one in a thousand
/// exceeds, and the longest.
pub const NAMES: [&str; 6] = [
    "launch, median",
    "launch, 99.9 %",
    "launch, longest",
    "launch by a compile, median",
    "launch by a compile, 99.9 %",
    "launch by a compile, longest",
];

pub const NOTE: &str = "launch: look-up of the pipeline, an operation on 256 bytes recorded, and its share of submitting to the \
    null device, timed one by one for a second (the time of looking at the clock, twice, is in it), by the threads' own clocks; \
    \"by a compile\": the same while another thread compiles another kernel on the same device, which takes that second. The \
    longest of millions is the system's: what it interrupts a thread for, and with more threads than cores, their turns";

/// A compile may make the median this much longer before it counts as a delay.
const NOISE: f64 = 1.1;

/// Nanoseconds that are told apart; longer ones are counted together, and the longest kept.
const TOLD_APART: usize = 1 << 16;

/// Launches by how long they took.
struct Launches {
    counts: Vec<u32>,
    longest: u64,
}

impl Launches {
    fn new() -> Self {
        Self { counts: vec![0; TOLD_APART], longest: 0 }
    }

    fn add(&mut self, nanoseconds: u64) {
        let place = usize::try_from(nanoseconds).unwrap_or(TOLD_APART).min(TOLD_APART - 1);
        self.counts[place] += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    fn merge(mut self, other: Self) -> Self {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, other)| *count += other);
        self.longest = self.longest.max(other.longest);
        self
    }

    /// What this share of them does not exceed.
    fn quantile(&self, share: f64) -> f64 {
        let all: u64 = self.counts.iter().copied().map(u64::from).sum();
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen as f64 >= share * all as f64
        });
        place.unwrap_or(0) as f64
    }
}

/// Everything, at one thread, at as many as there are cores, and at the most that were asked for.
pub fn measure(threads: &[u16], cores: usize, options: &Options) -> Result<Vec<Figure>> {
    let most = threads.iter().max().map_or(1, |most| usize::from(*most));
    let mut counts = vec![1, cores.min(most), most];
    counts.dedup();
    let mut samples = vec![[const { Vec::new() }; NAMES.len()]; counts.len()];
    for _ in 0..options.rounds() {
        for (threads, samples) in counts.iter().zip(&mut samples) {
            for (compiles, samples) in [false, true].into_iter().zip(samples.chunks_mut(3)) {
                let launches = round(*threads, compiles)?;
                samples[0].push(launches.quantile(0.5));
                samples[1].push(launches.quantile(0.999));
                samples[2].push(launches.longest as f64);
            }
        }
    }
    let mut figures = Vec::new();
    for (threads, samples) in counts.into_iter().zip(samples) {
        let spreads = samples.map(Spread::of);
        // With more threads than cores, the system says who runs when.
        let goal = (threads <= cores).then_some(NOISE * spreads[0].median);
        for (at, (operation, nanoseconds)) in NAMES.into_iter().zip(spreads).enumerate() {
            let goal = goal.filter(|_| at == 3);
            let met = goal.map(|goal| nanoseconds.median <= goal);
            figures.push(Figure { operation, threads, nanoseconds, goal, met });
        }
    }
    Ok(figures)
}

/// A second of launches on so many threads, on a fresh device.
fn round(threads: usize, compiles: bool) -> Result<Launches> {
    let device = Device::new(NullDevice::new(Completion::AtSubmit), Config::default())?;
    let (start, over) = (Barrier::new(threads + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let launching: Vec<_> = (0..threads).map(|_| scope.spawn(|| launch(&device, &start, &over))).collect();
        start.wait();
        let second = if compiles {
            let compiled = device.pipeline(&kernel(SLOW.0, &[Access::Write], 0));
            compiled.map(drop)
        } else {
            thread::sleep(SLOW.1);
            Ok(())
        };
        // Relaxed: it carries no data.
        over.store(true, Ordering::Relaxed);
        let mut all = Launches::new();
        for thread in launching {
            all = all.merge(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        second?;
        Ok(all)
    })
}

fn launch(device: &Device, start: &Barrier, over: &AtomicBool) -> Result<Launches> {
    let source = kernel("launch", &[Access::ReadWrite], 32);
    let set_up = || -> Result<_> {
        let stream = Stream::new(device)?;
        let storage = stream.allocate(256)?;
        stream.scope(|| device.pipeline(&source))?;
        Ok((stream, storage))
    };
    let ready = set_up();
    // Reached also by a thread that failed: the others wait for it.
    start.wait();
    let (stream, mut storage) = ready?;
    let mut launches = Launches::new();
    stream.scope(|| {
        // Relaxed: as above.
        while !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let pipeline = device.pipeline(&source)?;
            let work = Work::Dispatch { pipeline: &pipeline, params: &[0; 32], extent: [64, 1, 1] };
            stream.record(&work, &[Operand::update(&mut storage)])?;
            launches.add(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        Ok(launches)
    })
}
