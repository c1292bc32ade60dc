//! Recorded allocations, replayed: the runtime's allocator beside a best-fit allocator under one lock.
//!
//! Two ways. *In order*, one thread makes all calls in the order of the trace, each on its stream; every block is used
//! on the device from when it is allocated, and the device has done a stream's work when the trace says that it was
//! waited for. That gives the memory, the calls to the driver, and what each call costs undisturbed. *At once*, each
//! thread of the trace makes its own calls as fast as it can, over and over: that gives what the calls cost where
//! threads meet.

#![allow(missing_docs)] // a program

#[path = "replay/best_fit.rs"]
mod best_fit;
mod measure;
#[allow(dead_code)] // the other benchmark's rows need more
mod null;
#[path = "replay/shapes.rs"]
mod shapes;
#[path = "replay/trace.rs"]
mod trace;

use best_fit::BestFit;
use clap::Parser;
use measure::{Options, Result, Spread};
use null::{Completion, NullDevice};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use thalweg_runtime::{Config, Device, Operand, Storage, Stream, Work};
use trace::{Event, Trace};

/// Replays recorded allocations.
#[derive(Parser)]
struct Args {
    /// The folder with the traces, files that end in .trace [default: bench/replay of the repository]
    #[arg(long)]
    traces: Option<PathBuf>,
    /// The device's memory, in times of what the trace has allocated at its peak; 0 is more than enough
    #[arg(long, value_delimiter = ',', default_value = "0,1.5")]
    memory: Vec<f64>,
    /// Write the traces that are in the repository anew, and replay nothing
    #[arg(long)]
    record: bool,
    #[command(flatten)]
    options: Options,
}

/// One allocator on one trace.
#[derive(Serialize)]
struct Figure {
    trace: String,
    allocator: &'static str,
    /// The device's memory, in bytes.
    memory: u64,
    /// Nanoseconds for one allocation or free, in order, the look at the clock included, when the trace is replayed for
    /// the first time.
    cold: Spread,
    /// The same, when it is replayed again.
    warm: Spread,
    /// The processor time of one at once, in nanoseconds: wall clock times min(threads, cores) by calls.
    at_once: Option<Spread>,
    /// The most that was allocated, as the trace has it.
    peak_live: u64,
    peak_reserved: u64,
    /// Memories that the device was asked for.
    driver_allocations: u64,
    /// Calls that found nothing and had the device asked.
    misses: u64,
    /// Those that could have had memory that another stream had freed and the device still used.
    pending: u64,
    /// Calls for which there was no memory.
    refused: u64,
}

fn main() -> ExitCode {
    measure::end(run(Args::parse()))
}

fn run(args: Args) -> Result<()> {
    let Args { traces, memory, record, options } = args;
    let folder = traces.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/replay")));
    if record {
        use shapes::{MINI_LM, WIDE};
        let one = shapes::record(1, &[MINI_LM; 8], 10, false);
        one.write(&folder.join("minilm.trace"), "all-MiniLM-L6-v2, 8 threads of single texts, 1 to 256 tokens")?;
        let two = shapes::record(2, &[MINI_LM, MINI_LM, WIDE, WIDE, MINI_LM, WIDE, MINI_LM, WIDE], 10, true);
        return two.write(
            &folder.join("two-models.trace"),
            "all-MiniLM-L6-v2 and a wider model, 8 threads of single texts, 1 to 256 tokens; results are freed by another thread",
        );
    }
    let setting = options.introduce();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.extension().is_some_and(|end| end == "trace")))
        .collect();
    paths.sort();
    let mut figures = Vec::new();
    for path in paths {
        let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let trace = Trace::read(&path)?;
        for times in &memory {
            let memory = if *times > 0.0 { (*times * trace.peak() as f64) as u64 } else { 1 << 40 };
            figures.extend(compare(&name, &trace, memory, *times == 0.0, setting.cores, &options)?);
        }
    }
    print(&figures);
    options.finish(&setting, &figures)
}

/// Both allocators, in turn, round by round.
fn compare(
    name: &str,
    trace: &Trace,
    memory: u64,
    roomy: bool,
    cores: usize,
    options: &Options,
) -> Result<[Figure; 2]> {
    let turns = if options.quick { 20 } else { 100 };
    let calls = trace.events.iter().filter(|(_, event)| *event != Event::Wait).count();
    let mut samples = [const { [const { Vec::new() }; 3] }; 2];
    let mut outcomes = [Outcome::default(); 2];
    for _ in 0..options.rounds() {
        for allocator in 0..2 {
            let device = NullDevice::with_memory(Completion::WhenWaitedFor, memory);
            let outcomes_of = match allocator {
                0 => replay_again(trace, &mut Ours::new(&device, trace.threads)?, &device)?,
                _ => {
                    let hal: Arc<dyn thalweg_hal::Device> = Arc::<NullDevice>::clone(&device);
                    replay_again(trace, &mut Peer::new(BestFit::new(hal, trace.threads, memory)), &device)?
                }
            };
            let [cold, warm, at_once] = &mut samples[allocator];
            cold.push(outcomes_of[0].time.as_secs_f64() * 1e9 / calls as f64);
            warm.push(outcomes_of[1].time.as_secs_f64() * 1e9 / (AGAIN * calls) as f64);
            outcomes[allocator] = outcomes_of[0];
            if roomy {
                let time = replay_at_once(trace, turns, allocator == 0)?;
                let scale = trace.threads.min(cores) as f64 / (calls * turns) as f64;
                at_once.push(time.as_secs_f64() * 1e9 * scale);
            }
        }
    }
    let figure = |at: usize, allocator: &'static str| {
        let Outcome { peak_reserved, driver_allocations, misses, pending, refused, .. } = outcomes[at];
        let [cold, warm, at_once] = samples[at].clone();
        Figure {
            trace: name.to_owned(),
            allocator,
            memory,
            cold: Spread::of(cold),
            warm: Spread::of(warm),
            at_once: (!at_once.is_empty()).then(|| Spread::of(at_once)),
            peak_live: trace.peak(),
            peak_reserved,
            driver_allocations,
            misses,
            pending,
            refused,
        }
    };
    Ok([figure(0, "thalweg"), figure(1, "best fit, one lock")])
}

/// How often a trace is replayed again.
const AGAIN: usize = 5;

/// The first replay, and the others.
fn replay_again<A: Replayed>(trace: &Trace, allocator: &mut A, device: &NullDevice) -> Result<[Outcome; 2]> {
    let first = replay(trace, allocator, device)?;
    let mut again = Outcome::default();
    for _ in 0..AGAIN {
        again.time += replay(trace, allocator, device)?.time;
    }
    Ok([first, again])
}

/// What a replay in order found.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    time: Duration,
    peak_reserved: u64,
    driver_allocations: u64,
    misses: u64,
    pending: u64,
    refused: u64,
}

/// An allocator that replays in order.
trait Replayed {
    /// What it hands out.
    type Block;
    /// `None` if there is no memory.
    fn allocate(&mut self, stream: usize, bytes: u64) -> Result<Option<Self::Block>>;
    /// Has the device use a block, if that is not known by itself.
    fn use_it(&mut self, stream: usize, block: &mut Self::Block) -> Result<()>;
    fn free(&mut self, block: Self::Block);
    fn wait(&mut self, stream: usize) -> Result<()>;
    fn reserved(&self) -> u64;
    /// Misses, and those that a block in use would have served.
    fn misses(&self) -> (u64, u64);
}

fn replay<A: Replayed>(trace: &Trace, allocator: &mut A, device: &NullDevice) -> Result<Outcome> {
    let mut blocks: Vec<Option<A::Block>> = (0..trace.allocations).map(|_| None).collect();
    let mut outcome = Outcome::default();
    for (stream, event) in &trace.events {
        match event {
            Event::Allocate { id, bytes } => {
                let begun = Instant::now();
                let block = allocator.allocate(*stream, *bytes)?;
                outcome.time += begun.elapsed();
                match block {
                    Some(mut block) => {
                        allocator.use_it(*stream, &mut block)?;
                        blocks[*id] = Some(block);
                    }
                    None => outcome.refused += 1,
                }
                outcome.peak_reserved = outcome.peak_reserved.max(allocator.reserved());
            }
            Event::Free { id } => {
                if let Some(block) = blocks[*id].take() {
                    let begun = Instant::now();
                    allocator.free(block);
                    outcome.time += begun.elapsed();
                }
            }
            Event::Wait => allocator.wait(*stream)?,
        }
    }
    (outcome.misses, outcome.pending) = allocator.misses();
    outcome.driver_allocations = device.allocated();
    Ok(outcome)
}

/// The runtime's, on streams of the threads' own.
struct Ours {
    streams: Vec<Stream>,
    device: Device,
    hal: Arc<NullDevice>,
    /// What was freed while the device used it, and has not been waited for: stream and bytes. An estimate of what the
    /// allocator has, which says nothing of that itself: a block goes from here when its stream next asks for about as
    /// much.
    in_use: Vec<(usize, u64)>,
    misses: u64,
    pending: u64,
}

impl Ours {
    fn new(hal: &Arc<NullDevice>, streams: usize) -> Result<Self> {
        // Lists are handed over when they are waited for.
        let config = Config::default().list_commands(65_536).lists_in_flight(u64::MAX);
        let hal = Arc::clone(hal);
        let device = Device::new(Arc::<NullDevice>::clone(&hal), config)?;
        let streams = (0..streams).map(|_| Stream::new(&device)).collect::<Result<_, _>>()?;
        Ok(Self { streams, device, hal, in_use: Vec::new(), misses: 0, pending: 0 })
    }
}

impl Replayed for Ours {
    type Block = (usize, Storage);

    fn allocate(&mut self, stream: usize, bytes: u64) -> Result<Option<Self::Block>> {
        match self.streams[stream].allocate(bytes) {
            Ok(storage) => Ok(Some((stream, storage))),
            Err(thalweg_runtime::Error::OutOfMemory(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn use_it(&mut self, stream: usize, (_, storage): &mut Self::Block) -> Result<()> {
        let bytes = storage.bytes();
        // Blocks of about this size: what is rounded up is at most an eighth.
        let fits = |of: u64| of >= bytes && of <= bytes + bytes / 8 + 256;
        let allocations = self.hal.allocated();
        if allocations > self.misses {
            self.misses = allocations;
            self.pending += u64::from(self.in_use.iter().any(|(by, of)| *by != stream && fits(*of)));
        } else if let Some(own) = self.in_use.iter().position(|(by, of)| *by == stream && fits(*of)) {
            self.in_use.swap_remove(own);
        }
        Ok(self.streams[stream].record(&Work::Fill(0), &[Operand::write(storage)])?)
    }

    fn free(&mut self, (stream, storage): Self::Block) {
        self.in_use.push((stream, storage.bytes()));
        drop(storage);
    }

    fn wait(&mut self, stream: usize) -> Result<()> {
        self.in_use.retain(|(by, _)| *by != stream);
        Ok(self.streams[stream].synchronize()?)
    }

    fn reserved(&self) -> u64 {
        self.device.memory().reserved
    }

    fn misses(&self) -> (u64, u64) {
        (self.misses, self.pending)
    }
}

/// The peer, under its lock.
struct Peer(Mutex<BestFit>);

impl Peer {
    fn new(best_fit: BestFit) -> Self {
        Self(Mutex::new(best_fit))
    }

    fn with<R>(&self, call: impl FnOnce(&mut BestFit) -> R) -> R {
        call(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Replayed for Peer {
    type Block = usize;

    fn allocate(&mut self, stream: usize, bytes: u64) -> Result<Option<usize>> {
        Ok(self.with(|best_fit| best_fit.allocate(stream, bytes)))
    }
    fn use_it(&mut self, _stream: usize, _block: &mut usize) -> Result<()> {
        Ok(())
    }
    fn free(&mut self, block: usize) {
        self.with(|best_fit| best_fit.free(block));
    }
    fn wait(&mut self, stream: usize) -> Result<()> {
        self.with(|best_fit| best_fit.wait(stream));
        Ok(())
    }
    fn reserved(&self) -> u64 {
        self.with(|best_fit| best_fit.reserved)
    }
    fn misses(&self) -> (u64, u64) {
        self.with(|best_fit| (best_fit.misses, best_fit.pending))
    }
}

/// Every thread makes its own calls, `turns` times: from the first one's start to the last one's end. What another
/// thread frees is freed by the thread that allocated it, at the end of its turn.
fn replay_at_once(trace: &Trace, turns: usize, ours: bool) -> Result<Duration> {
    let hal = NullDevice::with_memory(Completion::AtSubmit, 1 << 40);
    let device = Device::new(Arc::<NullDevice>::clone(&hal), Config::default())?;
    let peer = Peer::new(BestFit::new(hal, trace.threads, 1 << 40));
    let start = Barrier::new(trace.threads);
    let thread = |at: usize| -> Result<(Instant, Instant)> {
        let own: Vec<Event> =
            trace.events.iter().filter(|(thread, _)| *thread == at).map(|(_, event)| *event).collect();
        let replay = |stream: &Stream, turns: usize| -> Result<()> {
            let allocate = |bytes| peer.with(|best_fit| best_fit.allocate(at, bytes)).ok_or("no memory for the peer");
            for _ in 0..turns {
                if ours {
                    turn(&own, |bytes| Ok(stream.allocate(bytes)?), drop, || ())?;
                } else {
                    let free = |block| peer.with(|best_fit| best_fit.free(block));
                    turn(&own, |bytes| Ok(allocate(bytes)?), free, || peer.with(|best_fit| best_fit.wait(at)))?;
                }
            }
            Ok(())
        };
        // The first turn finds everything new.
        let ready = Stream::new(&device).map_err(Into::into).and_then(|stream| replay(&stream, 1).map(|()| stream));
        // Reached also by a thread that failed: the others wait for it.
        start.wait();
        let stream = ready?;
        let begun = Instant::now();
        replay(&stream, turns)?;
        Ok((begun, Instant::now()))
    };
    let spans = thread::scope(|scope| {
        let threads: Vec<_> = (0..trace.threads).map(|at| scope.spawn(move || thread(at))).collect();
        let ended =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<Vec<_>>>()
    })?;
    let begun = spans.iter().map(|(begun, _)| *begun).min();
    let ended = spans.iter().map(|(_, ended)| *ended).max();
    Ok(begun.zip(ended).map_or(Duration::ZERO, |(begun, ended)| ended - begun))
}

fn turn<B>(events: &[Event], allocate: impl Fn(u64) -> Result<B>, free: impl Fn(B), wait: impl Fn()) -> Result<()> {
    // By the order of their allocation, which is that of their names.
    let mut blocks: Vec<(usize, B)> = Vec::new();
    for event in events {
        match event {
            Event::Allocate { id, bytes } => blocks.push((*id, allocate(*bytes)?)),
            Event::Free { id } => {
                if let Some(at) = blocks.iter().position(|(known, _)| known == id) {
                    free(blocks.swap_remove(at).1);
                }
            }
            Event::Wait => wait(),
        }
    }
    blocks.into_iter().for_each(|(_, block)| free(block));
    Ok(())
}

fn print(figures: &[Figure]) {
    const MIB: f64 = (1 << 20) as f64;
    for Figure { trace, allocator, memory, cold, warm, at_once, peak_live, peak_reserved, .. } in figures {
        let room = if *memory >= 1 << 40 { "enough".to_owned() } else { format!("{:.1} MiB", *memory as f64 / MIB) };
        eprintln!("\n{trace}, {allocator}, memory: {room}");
        eprintln!("  ns a call, first time     {cold}");
        eprintln!("  ns a call, again          {warm}");
        if let Some(at_once) = at_once {
            eprintln!("  ns a call, at once        {at_once}");
        }
        let (live, reserved) = (*peak_live as f64 / MIB, *peak_reserved as f64 / MIB);
        eprintln!("  peak reserved, peak live  {reserved:.1} MiB, {live:.1} MiB: {:.2}", reserved / live);
    }
    eprintln!("\ntrace                allocator            memory     driver calls   misses  of them pending  refused");
    for Figure { trace, allocator, memory, driver_allocations, misses, pending, refused, .. } in figures {
        let room = if *memory >= 1 << 40 { "enough".to_owned() } else { format!("{:.1} MiB", *memory as f64 / MIB) };
        eprintln!(
            "{trace:<20} {allocator:<20} {room:<10} {driver_allocations:>12} {misses:>8}  {pending:>15}  {refused:>7}"
        );
    }
    eprintln!(
        "\npending: another stream had freed a block that would have done, and the device was still at work on it. Exact for \
         the peer; for the runtime's allocator an upper estimate from the trace"
    );
}
