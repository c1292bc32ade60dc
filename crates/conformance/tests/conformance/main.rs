//! Every case on every backend, `backend::case`. There is a file for each backend, which says how to open it.

mod cpu;
mod mock;

use libtest_mimic::{Arguments, Failed, Trial};
use thalweg_conformance::{Backend, cases, seed};

static BACKENDS: [&Backend; 2] = [&mock::BACKEND, &cpu::BACKEND];

fn main() {
    let arguments = Arguments::from_args();
    let seed = seed();
    if !arguments.list {
        println!("THALWEG_SEED={seed}");
    }
    let trials = BACKENDS.into_iter().flat_map(|backend| {
        cases::all().into_iter().map(move |case| {
            let name = format!("{}::{}", backend.name(), case.name);
            Trial::test(name, move || backend.run(&case, seed).map_err(|failure| Failed::from(failure.to_string())))
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
