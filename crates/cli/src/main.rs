//! The `thalweg` command: embeds, scores and classifies text, tells of models and fetches them, measures, and lists
//! devices.
//!
//! Standard output carries results for programs and nothing else; everything for people goes to standard error. Exit
//! codes: 0 done, 1 failed, 2 wrong usage.

mod args;
mod bench;
mod classify;
mod devices;
mod embed;
mod error;
mod flow;
mod info;
mod input;
mod interrupt;
mod lines;
mod model;
mod output;
mod progress;
#[cfg(feature = "pull")]
mod pull;
mod rerank;
mod streams;
mod tokenize;
mod trace;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::error::Error;
use crate::streams::Standard;

fn main() -> ExitCode {
    let outcome = match Cli::try_parse().map(|cli| cli.command) {
        Ok(Command::Embed(args)) => embed::run(&args),
        Ok(Command::Rerank(args)) => rerank::run(&args),
        Ok(Command::Classify(args)) => classify::run(&args),
        Ok(Command::Tokenize(args)) => tokenize::run(&args),
        Ok(Command::Info(args)) => info::run(&args),
        Ok(Command::Bench(args)) => bench::run(&args),
        #[cfg(feature = "pull")]
        Ok(Command::Pull(args)) => pull::run(&args),
        Ok(Command::Devices(args)) => devices::run(&args),
        // The help and the version are results too.
        Err(answer) if !answer.use_stderr() => print(&answer),
        Err(wrong) => wrong.exit(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the results has seen enough (`| head`): that is their choice, not our failure.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.describe());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints a line for people on standard error. `eprintln!` would panic when standard error is closed; there is nobody
/// left to tell then.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints the help, or the version.
fn print(answer: &clap::Error) -> Result<(), Error> {
    Standard::Output.open()?;
    let printed = answer.print().and_then(|()| std::io::stdout().flush());
    printed.map_err(|source| Error::Io { action: "write", what: Standard::Output.name().to_owned(), source })
}

/// `value` as JSON.
fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("figures, texts and lists of them, with names that are texts, have a JSON form")
}
