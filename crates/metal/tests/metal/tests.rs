//! Those that there are: what every GPU's backend must do, and what only the simulator can bring about.

#[cfg(metal_sim)]
mod simulated;

use libtest_mimic::{Arguments, Trial};
use std::sync::Arc;
use thalweg_doubles::suite::{self, Gpu};
use thalweg_hal::Device;
use thalweg_metal::testing;

pub fn main() {
    #[cfg(metal_sim)]
    if simulated::is_case() {
        return;
    }
    let arguments = Arguments::from_args();
    let Some(device) = testing::device() else {
        eprintln!("SKIPPED: no Metal device");
        return;
    };
    let gpu = Gpu { device, open: another };
    let trial = |(name, test): (&'static str, suite::Test)| {
        let gpu = gpu.clone();
        Trial::test(name, move || {
            test(&gpu);
            Ok(())
        })
    };
    #[allow(unused_mut, reason = "on Apple's systems there are no others")]
    let mut trials: Vec<Trial> = suite::tests().into_iter().map(trial).collect();
    #[cfg(metal_sim)]
    trials.extend(simulated::trials());
    libtest_mimic::run(&arguments, trials).exit();
}

fn another() -> Arc<dyn Device> {
    testing::device().expect("there was one a moment ago")
}
