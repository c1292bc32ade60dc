//! The backend on the system's device, or on the simulator's. Where there is no Metal there is nothing to test.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

#[cfg(any(target_vendor = "apple", metal_sim))]
mod tests;

fn main() {
    #[cfg(any(target_vendor = "apple", metal_sim))]
    tests::main();
}
