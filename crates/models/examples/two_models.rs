//! Two models on one device: what a caller of one waits when the other is in use too.
//!
//! all-MiniLM-L6-v2 and a small seeded encoder (2 layers, width 128) share a device. Half of the threads ask one, half
//! the other, 24 tokens a request, one after another. Each round measures either model alone, with its half of the
//! threads, and then both at once. Every embedding is compared, bit by bit, with the one that was computed before by
//! one thread alone, and at the end no more memory may be in use than before.

#[path = "../../tensor/benches/measure/mod.rs"]
mod measure;
#[path = "../../thalweg/benches/requests/mod.rs"]
mod requests;

use clap::Parser;
use measure::{Options, Result, Spread};
use requests::{Group, TOKENS};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use thalweg_models::EmbeddingModel;
use thalweg_models::testing::SmallEncoder;
use thalweg_runtime::{Config, Device};

/// Distinct texts; requests go round among them.
const TEXTS: u64 = 64;
/// "p99 of either at most 3 times what it has alone with half the threads".
const GOAL: f64 = 3.0;

/// Latencies of two models on one device, against what each has alone.
#[derive(Parser)]
struct Args {
    /// The directory of the larger model; scripts/fetch-model brings one
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/all-MiniLM-L6-v2"))]
    model: PathBuf,
    /// Number of threads; half of them, rounded down, for each model
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=256))]
    threads: u16,
    /// Measured seconds for each figure of a round [default: 2, with --quick 0.5]
    #[arg(long)]
    seconds: Option<f64>,
    #[command(flatten)]
    options: Options,
}

/// A model and what it gives for each text, computed by one thread alone.
struct Subject {
    name: &'static str,
    model: EmbeddingModel,
    /// Texts, and what each is embedded as alone.
    alone: Vec<(String, Vec<f32>)>,
}

/// One model over the rounds; milliseconds.
#[derive(Serialize)]
struct Figure {
    model: &'static str,
    p50_alone: Spread,
    p50_shared: Spread,
    p99_alone: Spread,
    p99_shared: Spread,
    requests_per_s_alone: Spread,
    requests_per_s_shared: Spread,
    /// Of the p99, each of one round.
    ratio: Spread,
    goal: f64,
    met: bool,
}

/// One model in one round; milliseconds.
#[derive(Clone, Copy)]
struct Sample {
    p50: f64,
    p99: f64,
    requests_per_s: f64,
}

fn main() -> ExitCode {
    measure::end(run(Args::parse()))
}

fn run(args: Args) -> Result<()> {
    let Args { model, threads, seconds, options } = args;
    measure::check_model(&model)?;
    let setting = options.introduce();
    let device = Device::new(thalweg_cpu::CpuDevice::open()?, Config::default())?;
    let half = usize::from(threads / 2);
    eprintln!("device   {}\nthreads  {half} for each model, requests of {TOKENS} tokens\n", device.info().name);
    let small = tempfile::tempdir()?;
    SmallEncoder::new(7, 2, 128).write(small.path())?;
    let subjects = [
        Subject::new("all-MiniLM-L6-v2", EmbeddingModel::load(&device, model)?)?,
        Subject::new("small encoder", EmbeddingModel::load(&device, small.path())?)?,
    ];
    let before = device.memory();
    let window = Duration::try_from_secs_f64(seconds.unwrap_or(if options.quick { 0.5 } else { 2.0 }))?;

    // By round and model: alone, shared.
    let mut rounds = Vec::new();
    for _ in 0..options.rounds() {
        let requests = subjects.each_ref().map(|subject| move |seed| subject.request(seed));
        let groups = requests.each_ref().map(|request| Group { threads: half, request });
        let mut alone = Vec::new();
        for group in groups.chunks(1) {
            alone.extend(requests::run(group, window)?);
        }
        let shared = requests::run(&groups, window)?;
        let both = alone.into_iter().zip(shared);
        rounds.push(both.map(|(alone, shared)| (Sample::of(alone, window), Sample::of(shared, window))).collect());
    }
    let after = device.memory();
    let figures: Vec<Figure> =
        subjects.iter().enumerate().map(|(index, subject)| Figure::of(subject.name, index, &rounds)).collect();
    print(&figures);
    if (before.live, before.frozen) != (after.live, after.frozen) {
        return Err(format!("memory in use was {before:?} before and is {after:?} after").into());
    }
    eprintln!("\nevery embedding had the bits of the one computed alone; memory in use is what it was before");
    options.finish(&setting, &figures)
}

impl Subject {
    fn new(name: &'static str, model: EmbeddingModel) -> Result<Self> {
        let embed = |seed| {
            let text = requests::text(seed);
            let embeddings = model.embed(&[&text])?;
            if embeddings.tokens(0) != TOKENS {
                return Err(format!("{name}: {text:?} has {} tokens, expected {TOKENS}", embeddings.tokens(0)).into());
            }
            let values = embeddings.row(0)?.to_vec();
            Ok((text, values))
        };
        let alone = (0..TEXTS).map(embed).collect::<Result<Vec<_>>>()?;
        Ok(Self { name, model, alone })
    }

    /// Makes and checks one request.
    fn request(&self, seed: u64) -> Result<Duration> {
        // Threads start apart: the thread's number is in the upper half of the seed.
        let (text, alone) = &self.alone[((seed >> 32).wrapping_mul(7).wrapping_add(seed) % TEXTS) as usize];
        let begun = Instant::now();
        let embeddings = self.model.embed(&[text])?;
        let latency = begun.elapsed();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        if bits(embeddings.values()?) != bits(alone) {
            return Err(format!("{}: {text:?} has another embedding than alone", self.name).into());
        }
        Ok(latency)
    }
}

impl Sample {
    fn of(mut latencies: Vec<Duration>, window: Duration) -> Self {
        latencies.sort_unstable();
        // The smallest latency that at least this share of all are not longer than.
        let quantile = |share: f64| {
            let rank = (share * latencies.len() as f64).ceil() as usize;
            latencies[rank.clamp(1, latencies.len()) - 1].as_secs_f64() * 1e3
        };
        let requests_per_s = latencies.len() as f64 / window.as_secs_f64();
        Self { p50: quantile(0.5), p99: quantile(0.99), requests_per_s }
    }
}

impl Figure {
    fn of(model: &'static str, index: usize, rounds: &[Vec<(Sample, Sample)>]) -> Self {
        let over_rounds =
            |value: fn((Sample, Sample)) -> f64| Spread::of(rounds.iter().map(|round| value(round[index])));
        let ratio = over_rounds(|(alone, shared)| shared.p99 / alone.p99);
        Self {
            model,
            p50_alone: over_rounds(|(alone, _)| alone.p50),
            p50_shared: over_rounds(|(_, shared)| shared.p50),
            p99_alone: over_rounds(|(alone, _)| alone.p99),
            p99_shared: over_rounds(|(_, shared)| shared.p99),
            requests_per_s_alone: over_rounds(|(alone, _)| alone.requests_per_s),
            requests_per_s_shared: over_rounds(|(_, shared)| shared.requests_per_s),
            ratio,
            goal: GOAL,
            met: ratio.median <= GOAL,
        }
    }
}

fn print(figures: &[Figure]) {
    for figure in figures {
        eprintln!("{:<24} alone                                 with the other", figure.model);
        eprintln!("  p50, ms                {:.2}    {:.2}", figure.p50_alone, figure.p50_shared);
        eprintln!("  p99, ms                {:.2}    {:.2}", figure.p99_alone, figure.p99_shared);
        eprintln!("  requests a second      {:.1}    {:.1}", figure.requests_per_s_alone, figure.requests_per_s_shared);
        let met = if figure.met { "met" } else { "MISSED" };
        eprintln!("  p99 shared over alone  {:.2}    goal <= {GOAL}  {met}\n", figure.ratio);
    }
}
