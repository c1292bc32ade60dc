//! Passes the commit that the command is built from to the compiler, as `THALWEG_COMMIT`.
//!
//! Outside a git checkout, or without git, nothing is passed on and `thalweg bench` reports "unknown". The build never
//! fails for it.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The log grows by a line whenever HEAD moves. Naming a missing file would rebuild the crate every time.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
    // A package unpacked inside somebody else's repository must not report that repository's commit.
    let is_ours = git(&["ls-files", "--error-unmatch", "build.rs"]).is_some();
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| is_ours) {
        println!("cargo::rustc-env=THALWEG_COMMIT={commit}");
    }
}

/// What git prints for `arguments`, without the end of the line; `None` when it cannot be run, fails or prints nothing.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
