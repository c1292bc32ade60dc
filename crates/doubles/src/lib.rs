//! What stands in for a device in tests. Nothing that is released depends on this crate.
//!
//! - [`mock`] is a device as weak as the contract allows: it reorders, overlaps, completes late, takes few lists if
//!   told so, and hands out memory full of NaN.
//! - [`faulty`] wraps any device and takes protections out, to show that something then notices.
//! - [`progression`] has kernels on tensors of values that two numbers tell.
//! - [`suite`] is what a GPU's backend has to do, as tests that each backend runs.
//! - [`testing`] runs one kernel on the host's memory, with random data, and compares with a reference.
//!
//! A third double is not here: [`thalweg_hal::validate`] checks each submission against a model of its own, and is
//! there for programs too.

pub mod faulty;
pub mod mock;
pub mod progression;
pub mod suite;
pub mod testing;

// The validator's tests look at its inside, so what they stand on is compiled with it, and here once more.
#[cfg(test)]
#[allow(dead_code)] // each crate that compiles it uses its part
#[path = "../../hal/src/validate/tests/double.rs"]
mod double;
#[cfg(test)]
#[allow(dead_code)]
#[path = "../../hal/src/validate/tests/rig.rs"]
mod rig;
