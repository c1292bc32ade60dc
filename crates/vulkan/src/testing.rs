//! For tests of this and other crates: the device to test on.

use crate::{Options, VulkanDevice, adapters, best};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The variable that makes a missing device a failure, for machines that are known to have one.
const REQUIRE: &str = "THALWEG_REQUIRE_VULKAN";

/// The best device of this machine; none, with the reason on standard error, if there is none.
///
/// # Panics
/// If there is none and `THALWEG_REQUIRE_VULKAN` is `1`, or if the device cannot be opened.
pub fn device() -> Option<Arc<VulkanDevice>> {
    open(Options::from_environment().unwrap_or_else(|error| panic!("{error}")))
}

/// The same device as a laptop's discrete GPU would be ([`Options::discrete`]).
///
/// # Panics
/// As for [`device`].
pub fn discrete() -> Option<Arc<VulkanDevice>> {
    open(Options::DISCRETE)
}

fn open(options: Options) -> Option<Arc<VulkanDevice>> {
    let found = adapters().map_err(|error| error.to_string()).and_then(|adapters| {
        let index = best(&adapters).ok_or_else(|| format!("none of {adapters:?} can be used"))?;
        VulkanDevice::open_with(&adapters[index], options).map_err(|error| panic!("{error}"))
    });
    match found {
        Ok(device) => Some(device),
        Err(reason) if std::env::var_os(REQUIRE).is_some_and(|value| value == "1") => {
            panic!("{REQUIRE} is 1, but there is no Vulkan device: {reason}")
        }
        Err(reason) => {
            eprintln!("SKIPPED: no Vulkan device: {reason}");
            None
        }
    }
}

/// The driver allocations of a device that exist.
pub fn allocations(device: &VulkanDevice) -> u32 {
    device.context.allocations.load(Ordering::Relaxed)
}
