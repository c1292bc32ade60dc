//! Metal's language on the simulator: each family of functions against a reference, on random data and on the values at
//! which functions go wrong; threads that wait for each other; what is refused.

#![cfg(metal_sim)]
#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

mod barrier;
mod cache;
mod child;
mod float;
mod integer;
mod matrix;
mod naga;

mod rig;
mod simdgroup;
mod text;
mod vector;
