//! The `thalweg` command: embeds text, measures, and lists devices.
//!
//! Standard output carries results for programs and nothing else; everything for people goes to standard error. Exit
//! codes: 0 done, 1 failed, 2 wrong usage.

mod args;
mod bench;
mod devices;
mod embed;
mod error;
mod interrupt;
mod model;
mod progress;
mod streams;
mod trace;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Embed(args) => embed::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Devices(args) => devices::run(&args),
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

/// `value` as JSON.
fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("figures, texts and lists of them, with names that are texts, have a JSON form")
}
