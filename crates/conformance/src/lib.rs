//! Every operator's cases once, for every backend, against references in plain f64.
//!
//! A [`Case`] is a function of a [`Context`]: a device, and numbers that nobody has seen before. It makes tensors of
//! random shapes, in disguise ([`disguise`]), and compares what the device computes with a reference within what
//! [`tolerance`] says. A [`Backend`] is a way to open a device; `tests/conformance` has a short file for each, and
//! makes a test of every case on every backend, `cpu::linear`. Where a driver is known to compute something else,
//! [`deviations`] says so, and why: such a case has to fail.
//!
//! A case runs several rounds. The seed of the run is printed; `THALWEG_SEED` sets it, and then every case sees the
//! same numbers again, also if it runs alone.

pub mod array;
mod backend;
pub mod cases;
mod context;
mod counting;
pub mod deviations;
pub mod disguise;
mod float;
mod outcome;
pub mod shapes;
pub mod tolerance;

pub use backend::{Backend, seed};
pub use context::{Context, Floats, close, equal};
pub use counting::Counting;
pub use float::Float;
pub use outcome::{Failure, Outcome};

/// What an operator has to do, on any device.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The name, without the backend's.
    pub name: &'static str,
    /// How often it runs, each time with other numbers.
    pub rounds: u64,
    /// One round.
    pub run: fn(&mut Context<'_>) -> Outcome,
}
