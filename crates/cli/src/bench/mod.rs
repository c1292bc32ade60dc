//! `thalweg bench`: throughput and latency of one model for several thread counts.
//!
//! A closed loop: each thread makes a request, waits for it, makes the next. All threads go through a warm-up straight
//! into the measured time, and a request counts when it *ends* inside that time, whenever it began; so the device is in
//! its stride at both edges and the rate is plainly requests by seconds. Texts are made between requests, outside their
//! latency; that takes a few microseconds.

mod histogram;
mod memory;
mod texts;

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::Serialize;
use thalweg::{Detail, EmbeddingModel};

use self::histogram::Histogram;
use self::memory::MemoryFile;
use self::texts::Texts;
use crate::args::BenchArgs;
use crate::error::Error;
use crate::streams::{self, FileId, Sink, Standard};
use crate::{model, trace};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    device: String,
    model: String,
    /// What the device computed in: "f32" or "f16".
    dtype: String,
    /// Of the build; "unknown" outside a git checkout.
    commit: &'static str,
    runs: Vec<Run>,
}

/// The figures of one thread count.
#[derive(Serialize)]
struct Run {
    threads: u16,
    batch: u16,
    tokens: u32,
    requests_per_s: f64,
    tokens_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    tokenize_ms: f64,
}

/// What one measurement asks for.
struct Setting<'a> {
    model: &'a EmbeddingModel,
    texts: &'a Texts,
    threads: u16,
    batch: u16,
    tokens: u32,
    warm_up: Duration,
    window: Duration,
}

/// What one thread saw inside the measured time.
struct Tally {
    requests: u64,
    tokenizing: Duration,
    latencies: Histogram,
}

/// Runs the command.
///
/// # Errors
///
/// A device or model that cannot be opened, a request that fails or gives a wrong result, or too short a time to finish
/// a single request in. A file that cannot be written, before anything else is done.
pub fn run(args: &BenchArgs) -> Result<(), Error> {
    let mut table = Table { output: Sink::standard_output()?, is_result: !args.json };
    let memory = args.memory.as_deref().map(MemoryFile::open).transpose()?;
    let trace = trace::Wanted::of(&args.trace, Detail::Coarse)?;
    let mut written = vec![(Standard::Output.name().to_owned(), FileId::of(table.output.file()))];
    written.extend(memory.as_ref().map(MemoryFile::named));
    written.extend(trace.as_ref().map(trace::Wanted::named));
    let directory = model::directory(&args.model)?;
    streams::refuse_shared(None, written, &directory)?;
    let (device, model) = model::load(&args.device, &directory, args.dtype, |device, path, options| {
        EmbeddingModel::load_with(device, path, options)
    })?;
    let texts = Texts::new(&model, args.tokens as usize)?;
    let mut report = Report {
        device: device.info().name.clone(),
        model: args.model.display().to_string(),
        dtype: model.dtype().to_string(),
        commit: option_env!("THALWEG_COMMIT").unwrap_or("unknown"),
        runs: Vec::new(),
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    table.line(&format!("device  {} ({cores} cores for this process)", report.device))?;
    table.line(&format!("model   {} in {}", report.model, report.dtype))?;
    table.line(&format!("commit  {}", report.commit))?;
    table.line(HEADER)?;
    let trace = trace.map(|trace| trace.start(&device)).transpose()?;
    let window = Duration::from_secs(args.seconds.into());
    for &threads in &args.threads {
        let setting = Setting {
            model: &model,
            texts: &texts,
            threads,
            batch: args.batch,
            tokens: args.tokens,
            warm_up: (window / 4).min(Duration::from_secs(1)),
            window,
        };
        let run = measure(&setting)?;
        table.line(&run.row())?;
        report.runs.push(run);
    }
    if let Some(trace) = trace {
        table.line(&trace.finish()?.kernels().to_string())?;
    }
    if let Some(memory) = memory {
        memory.write(&device)?;
    }
    if args.json {
        table.output.line(&crate::to_json(&report))?;
    }
    table.output.flush()
}

/// Where the table goes: to standard output, as the result, or to standard error, while a document is the result.
struct Table {
    output: Sink,
    is_result: bool,
}

impl Table {
    /// Prints a line at once.
    fn line(&mut self, line: &str) -> Result<(), Error> {
        if self.is_result {
            self.output.line(line.as_bytes())?;
            return self.output.flush();
        }
        crate::say(line);
        Ok(())
    }
}

const HEADER: &str = "threads  batch  tokens  requests/s    tokens/s    p50 ms    p99 ms  tokenize ms";

impl Run {
    fn row(&self) -> String {
        format!(
            "{:>7}  {:>5}  {:>6}  {:>10.1}  {:>10.0}  {:>8.3}  {:>8.3}  {:>11.3}",
            self.threads,
            self.batch,
            self.tokens,
            self.requests_per_s,
            self.tokens_per_s,
            self.p50_ms,
            self.p99_ms,
            self.tokenize_ms
        )
    }
}

fn measure(setting: &Setting<'_>) -> Result<Run, Error> {
    let failed = AtomicBool::new(false);
    // The threads wait for this lock; the one that starts them holds it until all are there.
    let start = RwLock::new(None);
    let tallies = thread::scope(|scope| -> Result<Vec<Tally>, Error> {
        let mut gate = start.write().expect("no thread can have panicked with the lock yet");
        let mut workers = Vec::with_capacity(setting.threads.into());
        for number in 0..setting.threads {
            let (start, failed) = (&start, &failed);
            let worker = thread::Builder::new()
                .name("thalweg-bench".to_owned())
                .spawn_scoped(scope, move || {
                    let start: Option<Instant> = *start.read().expect("the starter does not panic with the lock");
                    // Nothing to do when a later thread could not be started.
                    let Some(start) = start else { return Ok(Tally::new()) };
                    // Relaxed: a hint to stop early; the results travel through the join.
                    request_until_closed(setting, number, start, failed)
                        .inspect_err(|_| failed.store(true, Ordering::Relaxed))
                })
                .map_err(|source| Error::System { action: "start a thread", source })?;
            workers.push(worker);
        }
        *gate = Some(Instant::now());
        drop(gate);
        // All are joined before the first failure is returned: the scope would panic for one that panicked unjoined.
        let outcomes: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        outcomes.into_iter().map(|outcome| outcome.unwrap_or(Err(Error::Thread("measuring")))).collect()
    })?;

    let mut all = Tally::new();
    for tally in &tallies {
        all.requests += tally.requests;
        all.tokenizing += tally.tokenizing;
        all.latencies.merge(&tally.latencies);
    }
    let (Some(p50), Some(p99)) = (all.latencies.quantile(0.5), all.latencies.quantile(0.99)) else {
        return Err(Error::Bench(format!(
            "no request from {} threads ended within {} s; try more --seconds",
            setting.threads,
            setting.window.as_secs()
        )));
    };
    let requests_per_s = all.requests as f64 / setting.window.as_secs_f64();
    let tokens_per_request = f64::from(setting.batch) * f64::from(setting.tokens);
    Ok(Run {
        threads: setting.threads,
        batch: setting.batch,
        tokens: setting.tokens,
        requests_per_s: to_thousandths(requests_per_s),
        tokens_per_s: to_thousandths(requests_per_s * tokens_per_request),
        p50_ms: milliseconds(p50),
        p99_ms: milliseconds(p99),
        tokenize_ms: to_thousandths(all.tokenizing.as_secs_f64() * 1e3 / all.requests as f64),
    })
}

impl Tally {
    fn new() -> Self {
        Self { requests: 0, tokenizing: Duration::ZERO, latencies: Histogram::new() }
    }
}

/// The closed loop of one thread.
fn request_until_closed(
    setting: &Setting<'_>,
    number: u16,
    start: Instant,
    failed: &AtomicBool,
) -> Result<Tally, Error> {
    let open = start + setting.warm_up;
    let close = open + setting.window;
    // Seeds far apart for each thread of each thread count.
    let mut random = Rng::with_seed(u64::from(setting.threads) << 48 | u64::from(number) << 32);
    let mut tally = Tally::new();
    loop {
        let texts: Vec<String> = (0..setting.batch).map(|_| setting.texts.make(&mut random)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let begun = Instant::now();
        // Relaxed: see the store.
        if begun >= close || failed.load(Ordering::Relaxed) {
            return Ok(tally);
        }
        let request = || {
            let tokens = setting.model.tokenize(&texts)?;
            let tokenized = Instant::now();
            Ok((setting.model.embed_tokens(&tokens)?, tokenized))
        };
        let failed = |source: thalweg::ModelError| Error::Bench(Error::chain(&source));
        let (embeddings, tokenized) = request().map_err(failed)?;
        let ended = Instant::now();
        // Also that every value is finite.
        embeddings.values().map_err(failed)?;
        let tokens = (0..embeddings.rows()).map(|row| embeddings.tokens(row));
        if let Some(other) = tokens.into_iter().find(|tokens| *tokens != setting.tokens as usize) {
            return Err(Error::Bench(format!(
                "a text made for {} ids was computed from {}: the tokenizer does not split at spaces",
                setting.tokens, other
            )));
        }
        if counts(ended, open, close) {
            tally.requests += 1;
            tally.tokenizing += tokenized - begun;
            tally.latencies.record(ended - begun);
        }
    }
}

/// Whether a request that ended at `ended` counts: inside the measured time, whenever it began.
fn counts(ended: Instant, open: Instant, close: Instant) -> bool {
    open < ended && ended <= close
}

fn milliseconds(duration: Duration) -> f64 {
    to_thousandths(duration.as_secs_f64() * 1e3)
}

/// Figures are printed as far as they mean something.
fn to_thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_inside_the_measured_time_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let counted: Vec<u64> = (0..8).filter(|&second| counts(at(second), at(2), at(5))).collect();
        assert_eq!(counted, [3, 4, 5]);
    }
}
