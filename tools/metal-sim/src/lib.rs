//! A Metal that runs on Linux, behind the real bindings: for tests, and stricter than Metal's own validation.

#![cfg(metal_sim)]

mod fiber;
pub mod rules;
pub mod shader;
