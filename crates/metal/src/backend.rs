//! The backend itself, where there is Metal.

mod adapter;
mod capture;
mod command_queue;
mod context;
mod device;
mod encoder;
mod memory;
mod options;
mod pipeline;
mod pool;
mod queue;
mod residency;
mod room;
mod timeline;
mod transfer;

pub use adapter::{Adapter, adapters};
pub use device::MetalDevice;
pub use options::Options;

use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSError;
use thalweg_hal::Error;

// Metal's classes, where there is no Metal.
#[cfg(metal_sim)]
extern crate metal_sim as _;

// `MTLCreateSystemDefaultDevice` finds no device in a program that is not linked with it.
#[cfg(target_os = "macos")]
#[link(name = "CoreGraphics", kind = "framework")]
unsafe extern "C" {}

/// The backend's name in errors.
pub(crate) const NAME: &str = "metal";

/// An object of one of Metal's protocols.
pub(crate) type Object<P> = Retained<ProtocolObject<P>>;

/// What Metal says as an error of ours.
pub(crate) fn refused(call: &'static str, error: &NSError) -> Error {
    failed(call, error.localizedDescription().to_string())
}

/// That Metal gave nothing, and says no reason.
pub(crate) fn nothing(call: &'static str) -> Error {
    failed(call, "Metal gave nothing, and says no reason".to_owned())
}

fn failed(call: &'static str, message: String) -> Error {
    Error::Driver { device: NAME.to_owned(), call, message }
}
