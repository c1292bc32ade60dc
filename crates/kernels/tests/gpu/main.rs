//! Every kernel's form for GPUs: it translates, its parameters lie where Rust puts them, and it computes what its host
//! form does.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

#[path = "../common/mod.rs"]
mod common;
mod layout;
mod module;
mod msl;
mod rig;
mod run;
mod run_attention;
mod run_elementwise;
mod run_moving;
mod translate;

use thalweg_hal::StaticKernel;

/// Every form of every kernel.
fn all() -> impl Iterator<Item = &'static StaticKernel> {
    thalweg_kernels::all().flat_map(|kernels| kernels.forms().map(|(_, form)| form))
}
