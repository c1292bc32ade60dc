//! What threads gain: single requests of 24 tokens to one model, from N threads, over one thread and over one lock
//! around the whole call, at the same N.
//!
//! Each round measures every number of threads, without the lock and with it; the ratios are those of one round, and
//! their median over the rounds is printed.

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
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use thalweg::EmbeddingModel;

/// What threads gain over one thread, and over one lock around the call.
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

/// One number of threads, over the rounds.
#[derive(Serialize)]
struct Figure {
    threads: u16,
    requests_per_s: Spread,
    over_one_thread: Spread,
    locked_requests_per_s: Spread,
    over_one_lock: Spread,
}

/// What one round found for one number of threads, in requests a second.
struct Sample {
    free: f64,
    locked: f64,
}

fn main() -> ExitCode {
    measure::end(run(Args::parse()))
}

fn run(args: Args) -> Result<()> {
    let Args { model, threads, seconds, options } = args;
    measure::check_model(&model)?;
    let setting = options.introduce();
    let device = thalweg::open("cpu")?;
    let name = model.file_name().unwrap_or(model.as_os_str()).display();
    eprintln!("device   {}\nmodel    {name}, requests of {TOKENS} tokens\n", device.info().name);
    let model = EmbeddingModel::load(&device, &model)?;
    let window = Duration::try_from_secs_f64(seconds.unwrap_or(if options.quick { 0.25 } else { 1.0 }))?;

    // By round and number of threads, each round with what one thread had in it.
    let mut rounds = Vec::new();
    for _ in 0..options.rounds() {
        let one = throughput(&model, 1, None, window)?;
        let samples = threads.iter().map(|threads| {
            let lock = Mutex::new(());
            let free = if *threads == 1 { one } else { throughput(&model, *threads, None, window)? };
            Ok(Sample { free, locked: throughput(&model, *threads, Some(&lock), window)? })
        });
        rounds.push((one, samples.collect::<Result<Vec<_>>>()?));
    }
    let figure = |(index, threads): (usize, &u16)| {
        let over_rounds = |value: &dyn Fn(f64, &Sample) -> f64| {
            Spread::of(rounds.iter().map(|(one, round)| value(*one, &round[index])))
        };
        Figure {
            threads: *threads,
            requests_per_s: over_rounds(&|_, sample| sample.free),
            over_one_thread: over_rounds(&|one, sample| sample.free / one),
            locked_requests_per_s: over_rounds(&|_, sample| sample.locked),
            over_one_lock: over_rounds(&|_, sample| sample.free / sample.locked),
        }
    };
    let figures: Vec<Figure> = threads.iter().enumerate().map(figure).collect();
    print(&figures);
    options.finish(&setting, &figures)
}

/// Requests a second. With a lock, every thread holds it for the whole call.
fn throughput(model: &EmbeddingModel, threads: u16, lock: Option<&Mutex<()>>, window: Duration) -> Result<f64> {
    let request = |seed| {
        let text = requests::text(seed);
        let begun = Instant::now();
        let held = lock.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        let embeddings = model.embed(&[&text])?;
        drop(held);
        let latency = begun.elapsed();
        match embeddings.tokens(0) {
            TOKENS => Ok(latency),
            other => Err(format!("a text of {TOKENS} tokens was embedded as one of {other}").into()),
        }
    };
    let latencies = requests::run(&[Group { threads: threads.into(), request: &request }], window)?;
    Ok(latencies.iter().map(Vec::len).sum::<usize>() as f64 / window.as_secs_f64())
}

fn print(figures: &[Figure]) {
    eprintln!("threads  requests a second                   over one thread                     over one lock");
    for Figure { threads, requests_per_s, over_one_thread, over_one_lock, .. } in figures {
        eprintln!("{threads:>7}  {requests_per_s:.1}  {over_one_thread:.2}  {over_one_lock:.2}");
    }
}
