//! The machine's best Vulkan device, a software driver if there is nothing better.

use std::sync::LazyLock;
use thalweg_conformance::{Backend, Case};
use thalweg_hal::Error;
use thalweg_vulkan::{adapters, best, testing};

static BACKEND: Backend = Backend::shared("vulkan", |_| match testing::device() {
    Some(device) => Ok(device),
    // It was there when the tests were listed.
    None => Err(Error::DeviceLost { device: "vulkan".to_owned() }),
});

/// Why the device cannot run a case.
pub fn cannot(case: &Case) -> Option<&'static str> {
    static HAS_F16: LazyLock<bool> = LazyLock::new(|| {
        adapters().is_ok_and(|adapters| best(&adapters).is_some_and(|index| adapters[index].has_f16()))
    });
    (case.name.ends_with("_f16") && !*HAS_F16).then_some("it has no f16")
}

/// If there is a device. Where there is none, `testing` says so and why; `THALWEG_REQUIRE_VULKAN=1` makes that a
/// failure.
pub fn backend() -> Option<&'static Backend> {
    testing::device().map(|_| &BACKEND)
}
