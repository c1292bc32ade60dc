//! What a program is, and how its end is judged.

use libtest_mimic::{Arguments, Failed, Trial};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// A small program.
pub struct Program {
    pub name: &'static str,
    /// The rule that it breaks; none if it has to end well.
    pub breaks: Option<&'static str>,
    /// Its environment.
    pub with: &'static [(&'static str, &'static str)],
    pub run: fn(),
}

impl Program {
    /// Breaks a rule.
    pub const fn breaks(rule: &'static str, name: &'static str, run: fn()) -> Self {
        Self { name, breaks: Some(rule), with: &[], run }
    }

    /// Ends well.
    pub const fn ends(name: &'static str, run: fn()) -> Self {
        Self { name, breaks: None, with: &[], run }
    }

    pub const fn with(self, with: &'static [(&'static str, &'static str)]) -> Self {
        Self { with, ..self }
    }

    fn judge(&self) -> Result<(), Failed> {
        let mut program = Command::new(std::env::current_exe()?);
        program.env(NAME, self.name).env_remove("RUST_BACKTRACE").envs(self.with.iter().copied());
        let output = program.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let good = match self.breaks {
            None => output.status.success(),
            Some(rule) => {
                let mut said = said.lines().filter_map(|line| line.strip_prefix("metal-sim: broken rule: "));
                let first = said.next().is_some_and(|said| said.starts_with(&format!("{rule}: ")));
                output.status.signal() == Some(libc::SIGABRT) && first
            }
        };
        if good { Ok(()) } else { Err(format!("{}, it said:\n{said}", output.status).into()) }
    }
}

/// In the environment of a program: its name.
const NAME: &str = "METAL_SIM_PROGRAM";

/// Runs one program, if this process is to be one; otherwise a process for each.
pub fn main(programs: &[&'static [Program]]) {
    let all = || programs.iter().copied().flatten();
    if let Ok(name) = std::env::var(NAME) {
        let program = all().find(|program| program.name == name).expect("a program of this name");
        return (program.run)();
    }
    let trials = all().map(|program| Trial::test(program.name, || program.judge()));
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}
