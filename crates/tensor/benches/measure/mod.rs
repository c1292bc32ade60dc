//! What the benchmarks of this project share: their flags, what they say of the machine, and how figures are summed up.
//!
//! Every figure is the median of several rounds, and every round measures everything once, so that what disturbs the
//! machine for a while disturbs all figures alike. Text for people goes to stderr; `--json` prints the same on stdout.

use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;

/// What a benchmark's parts answer.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Ends a benchmark: a failure is told on stderr, with its causes.
pub fn end(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because {cause}");
        source = cause.source();
    }
    ExitCode::FAILURE
}

/// Refuses a directory of a model that is not there.
#[allow(dead_code)] // some benchmarks need no model
pub fn check_model(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let what = "is not a directory; run scripts/fetch-model, or name the model's with --model";
    Err(format!("{} {what}", directory.display()).into())
}

/// The flags of every benchmark.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// How often everything is measured; the figures are medians over the rounds [default: 7, with --quick 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Few and short rounds: to see that it works, not to quote
    #[arg(long)]
    pub quick: bool,
    /// Print the figures as JSON on stdout, too
    #[arg(long)]
    json: bool,
    /// The commit that this was built from, where git cannot tell
    #[arg(long)]
    commit: Option<String>,
    /// What `cargo bench` passes to every benchmark.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

impl Options {
    /// How often everything is measured.
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 7 })
    }

    /// Says where and how often, before anything is measured.
    pub fn introduce(&self) -> Setting {
        let setting = Setting {
            processor: processor(),
            cores: cores(),
            commit: self.commit.clone().or_else(commit).unwrap_or_else(|| "unknown".to_owned()),
            rounds: self.rounds(),
        };
        eprintln!("{setting}");
        setting
    }

    /// Prints the figures for machines, if that was asked for.
    pub fn finish<F: Serialize>(&self, setting: &Setting, figures: &[F]) -> Result<()> {
        #[derive(Serialize)]
        struct Report<'a, F> {
            setting: &'a Setting,
            figures: &'a [F],
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&Report { setting, figures })?);
        }
        Ok(())
    }
}

/// What was measured where, and how often.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    commit: String,
    rounds: u32,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "machine  {}, {} cores for this process", self.processor, self.cores)?;
        writeln!(f, "commit   {}", self.commit)?;
        write!(f, "rounds   {}, interleaved; figures are median [lowest .. highest]", self.rounds)
    }
}

/// The figures of all rounds, summed up.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Spread {
    /// Of at least one figure; none may be NaN.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (lower, upper) = (figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
        Self { median: (lower + upper) / 2.0, lowest: figures[0], highest: figures[figures.len() - 1] }
    }
}

impl fmt::Display for Spread {
    /// With as many decimals as the precision says, else one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        let Self { median, lowest, highest } = self;
        write!(f, "{median:>9.digits$} [{lowest:>9.digits$} .. {highest:>9.digits$}]")
    }
}

/// Cores that this process may use.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The processor's name, as far as the system tells.
fn processor() -> String {
    let linux = || {
        let info = fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    linux()
        .or_else(|| output(Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"])))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The commit of the checkout that this was built in, if it is still there, and whether anything differs from it.
fn commit() -> Option<String> {
    let describe = ["describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"];
    output(Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(describe))
}

/// What a command prints, on one line; `None` if it cannot be run, fails or prints nothing.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
