//! Every case on every backend, `backend::case`. There is a file for each backend, which says how to open it.

mod cpu;
mod discrete;
mod metal;
mod mock;
mod mock_discrete;
mod vulkan;

use libtest_mimic::{Arguments, Failed, Trial};
use thalweg_conformance::{cases, seed};

fn main() {
    let arguments = Arguments::from_args();
    let seed = seed();
    if !arguments.list {
        println!("THALWEG_SEED={seed}");
    }
    let always = [&mock::BACKEND, &mock_discrete::BACKEND, &cpu::BACKEND];
    let backends = always.into_iter().chain(metal::backend()).chain(vulkan::backend()).chain(discrete::backend());
    let trials = backends.flat_map(|backend| {
        cases::all().into_iter().filter_map(move |case| {
            let name = format!("{}::{}", backend.name(), case.name);
            if let Some(reason) = vulkan::cannot(&case).filter(|_| ["vulkan", "discrete"].contains(&backend.name())) {
                eprintln!("SKIPPED: {name}: {reason}");
                return None;
            }
            let run = move || backend.run(&case, seed).map_err(|failure| Failed::from(failure.to_string()));
            Some(Trial::test(name, run))
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let messages = thalweg_vulkan::validation_messages();
    if messages > 0 {
        eprintln!("{messages} messages of Vulkan's validation layers, above: none is allowed");
        std::process::exit(1);
    }
    conclusion.exit();
}
