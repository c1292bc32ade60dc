//! The command as a user meets it: a process, its streams and its exit code, over a small model with random weights.

#![allow(clippy::unwrap_used)] // also in the helpers, which are tests in all but name

mod append;
mod bench;
mod embed;
mod faults;
mod formats;
#[cfg(feature = "pull")]
mod hub;
mod interrupt;
mod matrix;
mod metal;
mod process;
#[cfg(feature = "pull")]
mod pull;
mod streams;
mod tasks;
mod trace;
mod usage;
mod vulkan;
