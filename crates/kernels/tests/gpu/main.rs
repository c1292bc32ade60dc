//! Every kernel's form for GPUs: it translates, its parameters lie where Rust puts them, and it computes what its host
//! form does.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

mod all;
#[path = "../common/mod.rs"]
mod common;
mod layout;
mod module;
mod msl;
mod rig;
mod run;
mod run_attention;
mod run_elementwise;
mod translate;

use all::ALL;
