//! For tests of other crates: the device to test on.

use std::sync::Arc;
use thalweg_hal::Device;

/// The variable that makes a missing device a failure, for machines that are known to have one.
const REQUIRE: &str = "THALWEG_REQUIRE_METAL";

/// The system's device; none where there is no Metal. The simulator always has one.
///
/// # Panics
/// If there is none and `THALWEG_REQUIRE_METAL` is `1`, or if the device cannot be opened.
pub fn device() -> Option<Arc<dyn Device>> {
    #[cfg(any(target_vendor = "apple", metal_sim))]
    if let Some(adapter) = crate::adapters().first() {
        return Some(crate::MetalDevice::open(adapter).unwrap_or_else(|error| panic!("{error}")));
    }
    assert!(std::env::var_os(REQUIRE).is_none_or(|value| value != "1"), "{REQUIRE} is 1, but there is no Metal device");
    None
}
