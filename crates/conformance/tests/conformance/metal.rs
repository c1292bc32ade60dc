//! The system's Metal device, or the simulator's.

use thalweg_conformance::Backend;
use thalweg_hal::Error;
use thalweg_metal::testing;

static BACKEND: Backend = Backend::shared("metal", |_| match testing::device() {
    Some(device) => Ok(device),
    // It was there when the tests were listed.
    None => Err(Error::DeviceLost { device: "metal".to_owned() }),
});

/// If there is a device.
pub fn backend() -> Option<&'static Backend> {
    testing::device().map(|_| &BACKEND)
}
