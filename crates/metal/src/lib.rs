//! Thalweg's Metal backend: the GPUs of Apple's machines.

#![cfg(any(target_vendor = "apple", metal_sim))]

#[cfg(metal_sim)]
extern crate metal_sim as _;
