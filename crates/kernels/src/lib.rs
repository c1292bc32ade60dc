//! Thalweg's compute kernels: the host form, the form for GPUs and an f64 reference of each.
//!
//! A folder per family. Each has the parameter struct, a `static` [`KernelSource`](thalweg_hal::KernelSource) that says
//! what the bindings and the extent mean, and a `reference` module in plain f64 that tests compare with.
//!
//! # What every kernel keeps
//!
//! - **Bits.** An item's result depends on its operands alone: not on the number of items, the split of the dispatch,
//!   or the threads. It may differ between instruction sets ([`Isa`]) in the last bits.
//! - **No panic.** Parameters are checked against the bindings; a contradiction is a
//!   [`KernelFailure`](thalweg_hal::KernelFailure).
//! - **No allocation in the long run.** Working memory belongs to the thread, at most 4 MiB, and is used again.
//!
//! # Forms for GPUs
//!
//! Beside each host form lies the same kernel in WGSL, in the family's folder; what they share is in `wgsl/`. They need
//! no subgroups, at most 256 invocations a workgroup and 16 KiB of its memory. Kernels with names that end in `_F16`
//! store f16 and compute in f32, on the host too. [`linear::best`] and [`attention::best`] choose between forms that
//! compute the same.
//!
//! # How it is built
//!
//! `simd` has one small vector abstraction with an implementation per instruction set; a kernel is written once over it
//! and compiled once for each. `gemm` has the matrix-product tile that [`linear`], [`matmul`] and [`attention`] share.

pub mod attention;
pub mod elementwise;
pub mod embedding;
mod float16;
mod gemm;
mod gpu;
pub mod heads;
mod isa;
mod kernel;
pub mod linear;
pub mod matmul;
pub mod norm;
mod packed;
pub mod pool;
pub mod reduce;
mod scratch;
mod simd;
pub mod softmax;

pub use isa::{Isa, isa};
