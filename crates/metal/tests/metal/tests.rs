//! Those that there are.

use libtest_mimic::{Arguments, Trial};
use std::sync::Arc;
use thalweg_doubles::suite::{self, Gpu};
use thalweg_hal::Device;
use thalweg_metal::testing;

pub fn main() {
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
    libtest_mimic::run(&arguments, suite::tests().into_iter().map(trial).collect()).exit();
}

fn another() -> Arc<dyn Device> {
    testing::device().expect("there was one a moment ago")
}
