//! The same Vulkan device as a laptop's discrete GPU would be: the host does not see its memory, and it has one queue.

use thalweg_conformance::Backend;
use thalweg_hal::Error;
use thalweg_vulkan::testing;

static BACKEND: Backend = Backend::shared("discrete", |_| match testing::discrete() {
    Some(device) => Ok(device),
    // It was there when the tests were listed.
    None => Err(Error::DeviceLost { device: "vulkan".to_owned() }),
});

/// If there is a device.
pub fn backend() -> Option<&'static Backend> {
    testing::discrete().map(|_| &BACKEND)
}
