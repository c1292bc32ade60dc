//! For tests of other crates: the device to test on.

use std::sync::Arc;
use thalweg_hal::Device;

/// The system's device; none where there is no Metal. The simulator always has one.
///
/// # Panics
/// If the device cannot be opened.
pub fn device() -> Option<Arc<dyn Device>> {
    #[cfg(any(target_vendor = "apple", metal_sim))]
    if let Some(adapter) = crate::adapters().first() {
        return Some(crate::MetalDevice::open(adapter).unwrap_or_else(|error| panic!("{error}")));
    }
    None
}
