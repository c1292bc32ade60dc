//! What the profiler costs: single requests of 24 tokens to one model, from N threads, and operations of a few hundred
//! bytes, with the profiler off, coarse and full.
//!
//! Each round measures everything once; the ratios are those of one round to what was measured with the profiler off in
//! it, and their median over the rounds is printed.

#![allow(missing_docs)] // a program

#[path = "../../tensor/benches/measure/mod.rs"]
mod measure;
mod requests;

use clap::Parser;
use measure::{Options, Result, Spread};
use requests::{Group, TOKENS};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use thalweg::{Detail, Device, EmbeddingModel, ProfileOptions, Profiler, Tensor};

/// What the profiler costs.
#[derive(Parser)]
struct Args {
    /// The model's directory; scripts/fetch-model brings one
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/all-MiniLM-L6-v2"))]
    model: PathBuf,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Vec<u16>,
    /// Measured seconds for each figure of a round [default: 1, with --quick 0.25]
    #[arg(long)]
    seconds: Option<f64>,
    #[command(flatten)]
    options: Options,
}

/// One sort of work from one number of threads, over the rounds.
#[derive(Serialize)]
struct Figure {
    work: &'static str,
    threads: u16,
    off_per_s: Spread,
    coarse_over_off: Spread,
    full_over_off: Spread,
    /// The best round coarse, over the best round off: for machines that do other things as well.
    best_coarse_over_off: f64,
    best_full_over_off: f64,
    /// Events of the full profiles that did not fit.
    dropped: u64,
}

/// What one round found: requests a second, off, coarse and full.
struct Sample {
    rates: [f64; 3],
    dropped: u64,
}

/// Makes a thread's n-th request, and says how long it took.
type Request<'a> = dyn Fn(u64) -> Result<Duration> + Sync + 'a;

/// Operations of one request for small operations.
const OPERATIONS: usize = 100;

fn main() -> ExitCode {
    measure::end(run(Args::parse()))
}

fn run(args: Args) -> Result<()> {
    let Args { model, threads, seconds, options } = args;
    measure::check_model(&model)?;
    let setting = options.introduce();
    let device = thalweg::open("cpu")?;
    let name = model.file_name().unwrap_or(model.as_os_str()).display();
    eprintln!(
        "device   {}\nmodel    {name}, requests of {TOKENS} tokens; and {OPERATIONS} small operations\n",
        device.info().name
    );
    let model = EmbeddingModel::load(&device, &model)?;
    let window = Duration::try_from_secs_f64(seconds.unwrap_or(if options.quick { 0.25 } else { 1.0 }))?;
    let embed = |seed| embed(&model, seed);
    let operate = |_| operate(&device);
    let works: [(&str, &Request<'_>); 2] = [("embed", &embed), ("operations", &operate)];

    // By round, work and number of threads.
    let mut rounds = Vec::new();
    for round in 0..options.rounds() as usize {
        let mut samples = Vec::new();
        for (_, request) in works {
            for &threads in &threads {
                samples.push(sample(&device, threads, request, window, round)?);
            }
        }
        rounds.push(samples);
    }
    let mut figures = Vec::new();
    for (index, (work, threads)) in
        works.iter().flat_map(|(work, _)| threads.iter().map(move |it| (*work, *it))).enumerate()
    {
        let over_rounds = |value: &dyn Fn(&Sample) -> f64| Spread::of(rounds.iter().map(|round| value(&round[index])));
        let best = |which: usize| over_rounds(&|sample| sample.rates[which]).highest;
        figures.push(Figure {
            work,
            threads,
            off_per_s: over_rounds(&|sample| sample.rates[0]),
            coarse_over_off: over_rounds(&|sample| sample.rates[1] / sample.rates[0]),
            full_over_off: over_rounds(&|sample| sample.rates[2] / sample.rates[0]),
            best_coarse_over_off: best(1) / best(0),
            best_full_over_off: best(2) / best(0),
            dropped: rounds.iter().map(|round| round[index].dropped).sum(),
        });
    }
    print(&figures);
    options.finish(&setting, &figures)
}

/// Off, coarse and full, in an order that changes with the round.
fn sample(device: &Device, threads: u16, request: &Request<'_>, window: Duration, round: usize) -> Result<Sample> {
    let mut sample = Sample { rates: [0.0; 3], dropped: 0 };
    for turn in 0..3 {
        let which = (turn + round) % 3;
        let detail = [None, Some(Detail::Coarse), Some(Detail::Full)][which];
        let start = |detail| Profiler::start(device, ProfileOptions::new().detail(detail).max_events(1 << 24));
        let profiler = detail.map(start).transpose()?;
        let latencies = requests::run(&[Group { threads: threads.into(), request }], window)?;
        sample.rates[which] = latencies.iter().map(Vec::len).sum::<usize>() as f64 / window.as_secs_f64();
        sample.dropped += profiler.map_or(0, |profiler| profiler.stop().dropped().total());
    }
    Ok(sample)
}

fn embed(model: &EmbeddingModel, seed: u64) -> Result<Duration> {
    let text = requests::text(seed);
    let begun = Instant::now();
    let embeddings = model.embed(&[&text])?;
    let latency = begun.elapsed();
    match embeddings.tokens(0) {
        TOKENS => Ok(latency),
        other => Err(format!("a text of {TOKENS} tokens was embedded as one of {other}").into()),
    }
}

/// A chain of sums of 64 elements: nearly all of it is the runtime.
fn operate(device: &Device) -> Result<Duration> {
    let begun = Instant::now();
    let one = Tensor::from_slice(device, &[1.0f32; 64], &[64])?;
    let mut sum = one.add(&one)?;
    for _ in 1..OPERATIONS {
        sum = sum.add(&one)?;
    }
    let values = sum.to_vec::<f32>()?;
    let latency = begun.elapsed();
    let expected = (OPERATIONS + 1) as f32;
    if values.iter().all(|value| *value == expected) {
        Ok(latency)
    } else {
        Err(format!("a sum of {expected} ones is {values:?}").into())
    }
}

fn print(figures: &[Figure]) {
    let heads = ["off, requests a second", "coarse over off", "full over off"];
    let [off, coarse, full] = heads.map(|head| format!("{head:<34}"));
    eprintln!("work        threads  {off}  {coarse}  {full}  best coarse  best full    dropped");
    for figure in figures {
        let Figure { work, threads, off_per_s, coarse_over_off, full_over_off, dropped, .. } = figure;
        let (coarse, full) = (figure.best_coarse_over_off, figure.best_full_over_off);
        eprintln!(
            "{work:<10}  {threads:>7}  {off_per_s:.1}  {coarse_over_off:.3}  {full_over_off:.3}  {coarse:>11.3}  {full:>9.3}  \
             {dropped:>9}"
        );
    }
}
