//! What a GPU's backend has to do, as tests over the HAL's traits: each backend runs them on its devices.
//!
//! Lists are put together by hand, with kernels of the tests' own, so that nothing above the HAL has a part in them.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(missing_docs, reason = "tests, and helpers of tests")]

mod failures;
mod kernels;
mod order;
mod rig;

use std::sync::Arc;
use thalweg_hal::Device;

/// A device, and how to open another one like it.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// The device.
    pub device: Arc<dyn Device>,
    /// Opens another.
    pub open: fn() -> Arc<dyn Device>,
}

/// A test. It panics if the device does something else.
pub type Test = fn(&Gpu);

/// All of them, by name.
pub fn tests() -> Vec<(&'static str, Test)> {
    [kernels::TESTS, order::TESTS, failures::TESTS].concat()
}

pub use rig::{Builder, LONG, Line, advance, advanced, kernel, wait, words, write, zeroed};
