//! Short calls beside batches: what one text of 7 tokens waits while others embed batches of long texts, and what the
//! batches lose by it.
//!
//! Each cell has a number of batch callers and a number of texts of 256 tokens in each of their calls. A round measures
//! a cell three times, on the same work of the batch callers: without anybody else; beside a caller of short texts, who
//! pauses between two calls; and so on a device that runs every list to its end, as it would without time slices. Every
//! embedding is compared, bit by bit, with the one that was computed by one thread alone on the device without time
//! slices.

#[path = "../../tensor/benches/measure/mod.rs"]
mod measure;

use clap::Parser;
use measure::{Options, Result, Spread};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use thalweg_models::EmbeddingModel;
use thalweg_runtime::{Config, Device};

/// Tokens of a short text and of a long one, the two special ones included.
const TOKENS: [usize; 2] = [7, 256];
/// Distinct texts of either sort; calls go round among them.
const TEXTS: usize = 16;
/// Each batch caller embeds at least so many texts a time, in as many calls as it takes.
const LEAST: usize = 64;
/// Milliseconds of a short call: median and 99th percentile.
const GOAL: [f64; 2] = [9.0, 25.0];
/// The share of their throughput that the batch callers keep.
const KEPT: f64 = 0.9;
/// One token each.
const WORDS: [&str; 8] = ["river", "stream", "bank", "water", "many", "one", "deep", "fast"];

/// Latency of short calls beside batches of long texts, and what the batches keep of their throughput.
#[derive(Parser)]
struct Args {
    /// The model's directory; scripts/fetch-model brings one
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/all-MiniLM-L6-v2"))]
    model: PathBuf,
    /// Numbers of batch callers [default: 1,2,8, with --quick 2]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..))]
    callers: Option<Vec<u8>>,
    /// Numbers of texts in a batch [default: 8,32,64, with --quick 32]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    texts: Option<Vec<u16>>,
    /// Milliseconds that the short caller pauses after each call; 0: a closed loop, which takes what it can get
    #[arg(long, default_value_t = 50)]
    pause: u64,
    /// How long a list runs before it yields, in microseconds
    #[arg(long, default_value_t = 1_000)]
    quantum: u64,
    #[command(flatten)]
    options: Options,
}

/// The model on one device, and what it has to give for each short and each long text.
struct Subject {
    model: EmbeddingModel,
    texts: [Vec<String>; 2],
    alone: [Vec<Vec<f32>>; 2],
}

/// What one run of a cell gave.
struct Sample {
    /// Of the short calls, in milliseconds.
    p50: f64,
    p99: f64,
    /// Long texts a second.
    texts_per_s: f64,
}

/// A cell over the rounds.
#[derive(Serialize)]
struct Figure {
    callers: u8,
    texts: u16,
    p50: Spread,
    p99: Spread,
    p50_whole_lists: Spread,
    p99_whole_lists: Spread,
    texts_per_s: Spread,
    /// Beside the short caller, over without it.
    kept: Spread,
    /// With time slices over without, both beside the short caller.
    beside_whole_lists: Spread,
    met: bool,
}

fn main() -> ExitCode {
    measure::end(run(Args::parse()))
}

fn run(args: Args) -> Result<()> {
    let Args { model, callers, texts, pause, quantum, options } = args;
    measure::check_model(&model)?;
    let callers = callers.unwrap_or_else(|| if options.quick { vec![2] } else { vec![1, 2, 8] });
    let texts = texts.unwrap_or_else(|| if options.quick { vec![32] } else { vec![8, 32, 64] });
    let setting = options.introduce();
    // Each with workers of its own; of two pools that idle, one costs the other nothing.
    let sliced = device(setting.cores, Duration::from_micros(quantum))?;
    let whole = device(setting.cores, Duration::MAX)?;
    eprintln!("device   {}\nshort    {} tokens, a pause of {pause} ms after each call", sliced.info().name, TOKENS[0]);
    eprintln!("long     {} tokens", TOKENS[1]);
    let whole = Subject::new(&whole, &model, None)?;
    let sliced = Subject::new(&sliced, &model, Some(&whole))?;
    let pause = Duration::from_millis(pause);
    let idle: Vec<_> = (0..options.rounds()).map(|_| sliced.idle(pause)).collect::<Result<_>>()?;
    let spread = |value: fn(&Sample) -> f64| Spread::of(idle.iter().map(value));
    let (p50, p99) = (spread(|sample| sample.p50), spread(|sample| sample.p99));
    eprintln!("alone    p50 {p50:.2} ms, p99 {p99:.2} ms\n");

    let cells: Vec<_> = callers.iter().flat_map(|callers| texts.iter().map(|texts| (*callers, *texts))).collect();
    let mut rounds: Vec<Vec<[Sample; 3]>> = cells.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds() {
        for ((callers, texts), rounds) in cells.iter().zip(&mut rounds) {
            let (callers, texts) = (usize::from(*callers), usize::from(*texts));
            rounds.push([
                sliced.measure(callers, texts, None)?,
                sliced.measure(callers, texts, Some(pause))?,
                whole.measure(callers, texts, Some(pause))?,
            ]);
        }
    }
    let figures: Vec<_> = cells.iter().zip(&rounds).map(|(cell, rounds)| Figure::of(*cell, rounds)).collect();
    figures.iter().for_each(Figure::print);
    eprintln!("every embedding had the bits of the one computed alone");
    options.finish(&setting, &figures)
}

fn device(workers: usize, quantum: Duration) -> Result<Device> {
    Ok(Device::new(thalweg_cpu::CpuDevice::with_quantum(workers, quantum)?, Config::default())?)
}

/// The `index`-th text of so many tokens.
fn text(tokens: usize, index: usize) -> String {
    let word = |at: usize| WORDS[(at * (2 * index + 1) + index) % WORDS.len()];
    (0..tokens - 2).map(word).collect::<Vec<_>>().join(" ")
}

fn same(left: &[f32], right: &[f32]) -> bool {
    left.iter().map(|value| value.to_bits()).eq(right.iter().map(|value| value.to_bits()))
}

impl Subject {
    /// Loads the model. What it gives is taken from another subject, or computed.
    fn new(device: &Device, directory: &Path, other: Option<&Self>) -> Result<Self> {
        let model = EmbeddingModel::load(device, directory)?;
        let texts = TOKENS.map(|tokens| (0..TEXTS).map(|index| text(tokens, index)).collect::<Vec<_>>());
        if let Some(other) = other {
            return Ok(Self { model, texts, alone: other.alone.clone() });
        }
        let mut alone = [Vec::new(), Vec::new()];
        for ((texts, alone), tokens) in texts.iter().zip(&mut alone).zip(TOKENS) {
            for text in texts {
                let embeddings = model.embed(&[text])?;
                if embeddings.tokens(0) != tokens {
                    return Err(format!("a text has {} tokens, expected {tokens}", embeddings.tokens(0)).into());
                }
                alone.push(embeddings.row(0)?.to_vec());
            }
        }
        Ok(Self { model, texts, alone })
    }

    /// Embeds so many texts of a sort and checks the result.
    fn embed(&self, sort: usize, first: usize, texts: usize) -> Result<()> {
        let indices: Vec<_> = (first..first + texts).map(|index| index % TEXTS).collect();
        let texts: Vec<_> = indices.iter().map(|index| &*self.texts[sort][*index]).collect();
        let embeddings = self.model.embed(&texts)?;
        let expected = indices.iter().flat_map(|index| &self.alone[sort][*index]).copied().collect::<Vec<_>>();
        let right = same(embeddings.values()?, &expected);
        if right { Ok(()) } else { Err("an embedding has other bits than alone".into()) }
    }

    /// Short calls while `go_on` says so; milliseconds, ascending.
    fn short(&self, pause: Duration, go_on: impl Fn(usize) -> bool) -> Result<Vec<f64>> {
        let mut times = Vec::new();
        while go_on(times.len()) {
            thread::sleep(pause);
            let begun = Instant::now();
            self.embed(0, times.len(), 1)?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// Short calls with nobody else there.
    fn idle(&self, pause: Duration) -> Result<Sample> {
        Ok(Sample::of(&self.short(pause, |calls| calls < 50)?, 0.0))
    }

    /// Lets the batch callers do their work, beside a caller of short texts if it has a pause.
    fn measure(&self, callers: usize, texts: usize, short: Option<Duration>) -> Result<Sample> {
        let calls = LEAST.div_ceil(texts);
        // How many batch callers are not done.
        let left = AtomicUsize::new(callers);
        let begun = Instant::now();
        let batches = |caller: usize| {
            let done = (0..calls).try_for_each(|call| self.embed(1, caller + call, texts));
            left.fetch_sub(1, Ordering::Relaxed);
            done.map(|()| begun.elapsed())
        };
        let batches = &batches;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..callers).map(|caller| scope.spawn(move || batches(caller))).collect();
            // It stops when the first batch caller is done: from then on there are fewer than the cell says.
            let go_on = |_| left.load(Ordering::Relaxed) == callers;
            let times = short.map_or(Ok(Vec::new()), |pause| self.short(pause, go_on));
            let mut last = Duration::ZERO;
            for thread in threads {
                last = last.max(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(Sample::of(&times?, (callers * calls * texts) as f64 / last.as_secs_f64()))
        })
    }
}

impl Sample {
    /// Of ascending times; both quantiles are 0 if there are none.
    fn of(times: &[f64], texts_per_s: f64) -> Self {
        // The smallest that at least this share of all are not longer than.
        let quantile = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            times.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self { p50: quantile(0.5), p99: quantile(0.99), texts_per_s }
    }
}

impl Figure {
    fn of((callers, texts): (u8, u16), rounds: &[[Sample; 3]]) -> Self {
        let spread = |value: fn(&[Sample; 3]) -> f64| Spread::of(rounds.iter().map(value));
        let (p50, p99) = (spread(|[_, sliced, _]| sliced.p50), spread(|[_, sliced, _]| sliced.p99));
        let kept = spread(|[without, sliced, _]| sliced.texts_per_s / without.texts_per_s);
        Self {
            callers,
            texts,
            p50,
            p99,
            p50_whole_lists: spread(|[.., whole]| whole.p50),
            p99_whole_lists: spread(|[.., whole]| whole.p99),
            texts_per_s: spread(|[_, sliced, _]| sliced.texts_per_s),
            kept,
            beside_whole_lists: spread(|[_, sliced, whole]| sliced.texts_per_s / whole.texts_per_s),
            met: p50.median <= GOAL[0] && p99.median <= GOAL[1] && kept.median >= KEPT,
        }
    }

    fn print(&self) {
        let met = if self.met { "met" } else { "MISSED" };
        eprintln!("{} batch callers of {} texts                   without time slices", self.callers, self.texts);
        eprintln!("  short calls, p50, ms   {:.2}    {:.2}", self.p50, self.p50_whole_lists);
        eprintln!("  short calls, p99, ms   {:.2}    {:.2}", self.p99, self.p99_whole_lists);
        eprintln!("  batches keep           {:.3}", self.kept);
        eprintln!("  over whole lists       {:.3}", self.beside_whole_lists);
        eprintln!("  goals: p50 <= {}, p99 <= {}, keep >= {KEPT}: {met}\n", GOAL[0], GOAL[1]);
    }
}
