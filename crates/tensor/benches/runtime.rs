//! What one operation costs the calling thread: the runtime on a device that runs nothing, at several thread counts.
//!
//! A figure is the wall clock from the first thread's start to the last one's end, times the cores that the threads can
//! use (the smaller of threads and cores), by all operations: the processor time of one operation while every core is
//! busy. With no more threads than cores that is the slowest thread's time for one operation. With more, threads take
//! turns, and the figure also holds what a thread costs the others when it is interrupted with a lock. The reaper, one
//! thread of the device, is not counted as a core of its own: it takes its share from the threads once they are as many
//! as the cores.

#![allow(missing_docs)] // a program

mod launch;
mod measure;
mod null;
mod rows;

use clap::Parser;
use measure::{Options, Result, Spread};
use null::NullDevice;
use rows::{Goal, ROWS, Row};
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use thalweg_runtime::Device;

/// The control, a lock of one's own, takes no longer than this many times its best while the cores are ours.
const BUSY: f64 = 1.25;

/// What the runtime costs, on a device that runs nothing.
#[derive(Parser)]
struct Args {
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Vec<u16>,
    /// Measure only rows with this in their name
    #[arg(long, default_value = "")]
    row: String,
    #[command(flatten)]
    options: Options,
}

/// One row at one number of threads.
#[derive(Serialize)]
struct Figure {
    operation: &'static str,
    threads: usize,
    nanoseconds: Spread,
    /// Nanoseconds, where there is one for this number of threads.
    goal: Option<f64>,
    met: Option<bool>,
}

fn main() -> ExitCode {
    measure::end(run(Args::parse()))
}

fn run(args: Args) -> Result<()> {
    let Args { threads, row, options } = args;
    let rows: Vec<&Row> = ROWS.iter().filter(|candidate| candidate.name.contains(&row)).collect();
    let launches = launch::NAMES.iter().any(|name| name.contains(&row));
    if rows.is_empty() && !launches {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).chain(launch::NAMES).collect();
        return Err(format!("no row's name contains {row:?}; they are {}", names.join(", ")).into());
    }
    let setting = options.introduce();
    eprintln!("device   null: completes a list at submit, or never, and runs nothing\n");
    let long_enough = Duration::from_millis(if options.quick { 8 } else { 20 });
    let turns = rows.iter().map(|row| calibrate(row, long_enough)).collect::<Result<Vec<_>>>()?;
    // By row, number of threads, and round.
    let mut samples = vec![vec![Vec::new(); threads.len()]; rows.len()];
    for _ in 0..options.rounds() {
        for ((row, turns), samples) in rows.iter().zip(&turns).zip(&mut samples) {
            for (threads, samples) in threads.iter().zip(samples) {
                let threads = usize::from(*threads);
                let elapsed = measure(row, threads, *turns)?;
                let operations = threads as u64 * turns * row.operations;
                samples.push(elapsed.as_secs_f64() * 1e9 * threads.min(setting.cores) as f64 / operations as f64);
            }
        }
    }
    let mut figures = Vec::new();
    for (row, samples) in rows.into_iter().zip(samples) {
        let spreads: Vec<(usize, Spread)> = threads
            .iter()
            .zip(samples)
            .map(|(threads, samples)| (usize::from(*threads), Spread::of(samples)))
            .collect();
        let one = spreads.iter().find(|(threads, _)| *threads == 1).map(|(_, spread)| spread.median);
        figures.extend(spreads.into_iter().map(|(threads, nanoseconds)| {
            let goal = row.goal.at(threads, setting.cores, one);
            let met = goal.map(|goal| nanoseconds.median <= goal);
            Figure { operation: row.name, threads, nanoseconds, goal, met }
        }));
    }
    if launches {
        figures.extend(launch::measure(&threads, setting.cores, &options)?);
    }
    print(&figures, setting.cores);
    options.finish(&setting, &figures)
}

impl Goal {
    /// Nanoseconds for this number of threads. `one` is what one thread was measured to have.
    fn at(&self, threads: usize, cores: usize, one: Option<f64>) -> Option<f64> {
        match self {
            Self::Flat(nanoseconds) => Some(*nanoseconds),
            Self::Scaling { one, .. } if threads == 1 => Some(*one),
            Self::Scaling { one: goal, factor } => (threads <= cores).then(|| factor * one.unwrap_or(*goal).min(*goal)),
            Self::None => None,
        }
    }
}

/// How many turns one thread makes in about this time.
fn calibrate(row: &Row, long_enough: Duration) -> Result<u64> {
    let mut turns = 1000;
    loop {
        let elapsed = measure(row, 1, turns)?;
        if elapsed >= long_enough / 2 {
            let scale = long_enough.as_secs_f64() / elapsed.as_secs_f64();
            return Ok((turns as f64 * scale) as u64 + 1);
        }
        turns *= 2;
    }
}

/// From the first thread's start to the last one's end, on a fresh device, warmed up.
fn measure(row: &Row, threads: usize, turns: u64) -> Result<Duration> {
    let device = Device::new(NullDevice::new(row.completion), (row.config)(threads))?;
    let start = Barrier::new(threads);
    let thread = || {
        let ready = (row.set_up)(&device).and_then(|mut run| {
            run(turns.div_ceil(10))?;
            Ok(run)
        });
        // Reached also by a thread that failed: the others wait for it.
        start.wait();
        let mut run = ready?;
        let begun = Instant::now();
        run(turns)?;
        Ok((begun, Instant::now()))
    };
    let spans = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(thread)).collect();
        let ended =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<Vec<(Instant, Instant)>>>()
    })?;
    let begun = spans.iter().map(|(begun, _)| *begun).min();
    let ended = spans.iter().map(|(_, ended)| *ended).max();
    Ok(begun.zip(ended).map_or(Duration::ZERO, |(begun, ended)| ended - begun))
}

fn print(figures: &[Figure], cores: usize) {
    eprintln!("ns an operation                  threads      median [   lowest ..   highest]      goal");
    for Figure { operation, threads, nanoseconds, goal, met } in figures {
        let turns = if *threads > cores { '*' } else { ' ' };
        let goal = goal.map_or("-".to_owned(), |goal| format!("<= {goal:.0}"));
        let met = met.map_or("", |met| if met { "met" } else { "MISSED" });
        eprintln!("{operation:<32} {threads:>7}{turns}  {nanoseconds}  {goal:>8}  {met}");
    }
    eprintln!("\nwall clock times min(threads, cores) by operations; see the head of the source");
    if figures.iter().any(|figure| figure.threads > cores) {
        eprintln!("* more threads than the {cores} cores: they take turns, and wait for locks of interrupted holders");
    }
    let control: Vec<&Figure> = figures.iter().filter(|figure| figure.operation == ROWS[0].name).collect();
    let best = control.iter().map(|figure| figure.nanoseconds.lowest).fold(f64::INFINITY, f64::min);
    if let Some(slow) = control.iter().find(|figure| figure.threads <= cores && figure.nanoseconds.median > BUSY * best)
    {
        let (threads, times) = (slow.threads, slow.nanoseconds.median / best);
        eprintln!(
            "! a lock of one's own took {times:.1} times its best (threads: {threads}): other programs used the cores, and \
             every figure is too high"
        );
    }
    for row in ROWS.iter().filter(|row| figures.iter().any(|figure| figure.operation == row.name)) {
        eprintln!("{}: {}", row.name, row.note);
    }
    if figures.iter().any(|figure| launch::NAMES.contains(&figure.operation)) {
        eprintln!("{}", launch::NOTE);
    }
}
