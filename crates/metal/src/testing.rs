//! For tests of this and other crates: the device to test on.

use crate::{MetalDevice, adapters};
use std::sync::Arc;

/// The system's device; none, with the reason on standard error, if there is no Metal. The simulator always has one.
///
/// # Panics
/// If the device cannot be opened.
pub fn device() -> Option<Arc<MetalDevice>> {
    let Some(adapter) = adapters().into_iter().next() else {
        eprintln!("SKIPPED: no Metal device");
        return None;
    };
    Some(MetalDevice::open(&adapter).unwrap_or_else(|error| panic!("{error}")))
}
