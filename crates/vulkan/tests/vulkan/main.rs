//! The backend on a real driver, under Khronos' validation layers where they are installed: not one message is allowed.
//!
//! Where there is no Vulkan at all, one line on standard error says so, and the tests that need a device are not
//! listed.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod discrete;
mod limits;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use std::sync::Arc;
use thalweg_doubles::suite::{self, Gpu, Test};
use thalweg_hal::Device;
use thalweg_vulkan::{VulkanDevice, testing, validation_messages};

fn main() -> ExitCode {
    let layers = layers_are_installed();
    if layers {
        // SAFETY: no other thread has been started.
        unsafe { std::env::set_var("THALWEG_VULKAN_VALIDATION", "1") };
    } else {
        eprintln!(
            "the validation layers are not installed (Debian: vulkan-validationlayers): the tests run without them"
        );
    }
    let arguments = Arguments::from_args();
    let Some(device) = testing::device() else { return ExitCode::SUCCESS };
    let Some(discrete) = testing::discrete() else { return ExitCode::SUCCESS };
    let tests = [&suite::tests(), limits::TESTS].concat();
    let gpu = |device, open| Gpu { device, open };
    let (device, discrete) =
        (gpu(device, || another(testing::device())), gpu(discrete, || another(testing::discrete())));
    let trial = |prefix: &str, gpu: &Gpu, (name, test): (&'static str, Test)| {
        let gpu = gpu.clone();
        Trial::test(format!("{prefix}{name}"), move || {
            test(&gpu);
            Ok(())
        })
    };
    // Twice: on the device as it is, and as a laptop's discrete GPU would be.
    let as_it_is = tests.iter().map(|test| trial("", &device, *test));
    let as_discrete = tests.iter().chain(discrete::TESTS).map(|test| trial("discrete::", &discrete, *test));
    let conclusion = libtest_mimic::run(&arguments, as_it_is.chain(as_discrete).collect());
    let messages = validation_messages();
    if messages > 0 {
        eprintln!("{messages} messages of the validation layers, above: none is allowed");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn another(device: Option<Arc<VulkanDevice>>) -> Arc<dyn Device> {
    device.expect("there was one a moment ago")
}

/// Whether the layers can be turned on, asked in a process of its own: this one's answer would be for good.
fn layers_are_installed() -> bool {
    const ASKED: &str = "THALWEG_TEST_ASKS_FOR_LAYERS";
    if std::env::var_os(ASKED).is_some() {
        std::process::exit(i32::from(thalweg_vulkan::adapters().is_err()));
    }
    let Ok(program) = std::env::current_exe() else { return false };
    let mut child = std::process::Command::new(program);
    child.env(ASKED, "1").env("THALWEG_VULKAN_VALIDATION", "1").status().is_ok_and(|status| status.success())
}
