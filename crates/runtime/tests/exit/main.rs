//! The ends that programs come to: of the process, of a device, of a thread, of a future, in whatever state the work
//! is.
//!
//! Each case is a process of its own, this program again: it opens a device, gets into the state in question, and ends
//! in the way in question, through its own `main` or through `exit`, so that the handlers and the destructors of thread
//! locals run as they do for anybody. It has passed if it ended by itself, with code 0, came to its last line, and
//! wrote nothing to stderr: no panic of any thread, and no complaint of the [`driver`].

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod close;
mod driver;
mod drops;
mod flight;
#[cfg(unix)]
mod fork;
mod lost;
mod panics;
mod parent;
mod program;
mod tasks;

use libtest_mimic::{Arguments, Trial};
use program::{Double, Program};

/// A way to end, and the devices that it is tried on.
pub struct Case {
    name: &'static str,
    on: &'static [Double],
    /// What the process does. It returns, and `main` after it, unless it calls `exit`.
    run: fn(&Program),
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(flight::CASES);
    cases.extend(drops::CASES);
    cases.extend(close::CASES);
    cases.extend(lost::CASES);
    #[cfg(unix)]
    cases.extend(fork::CASES);
    cases.extend(panics::CASES);
    cases.extend(tasks::CASES);
    cases
}

fn main() {
    if let Some((name, program)) = parent::told() {
        let case = cases().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("unknown case {name}"));
        (case.run)(&program);
        return;
    }
    let arguments = Arguments::from_args();
    let (has_vulkan, has_metal) =
        (thalweg_vulkan::testing::discrete().is_some(), thalweg_metal::testing::device().is_some());
    let is_there = |double: &Double| match double {
        Double::VulkanDiscrete => has_vulkan,
        Double::Metal => has_metal,
        Double::Cpu | Double::Mock | Double::MockDiscrete => true,
    };
    let mut trials = Vec::new();
    for case in cases() {
        for &double in case.on.iter().filter(|double| is_there(double)) {
            let name = format!("exit_{}_{}", case.name, double.name());
            trials.push(Trial::test(name, move || parent::run(case.name, double)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
