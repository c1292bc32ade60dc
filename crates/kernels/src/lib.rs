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
//! # Forms
//!
//! Beside each host form lies the same kernel in WGSL, in the family's folder; what they share is in `wgsl/`. They need
//! no subgroups, at most 256 invocations a workgroup and 16 KiB of its memory. A kernel is one static, [`Kernels`],
//! which has a form for each type of element that it takes; in f16, on the host too, it computes in f32 and rounds each
//! result once. [`linear::best`] and [`attention::best`] choose between kernels that compute the same.
//!
//! # How it is built
//!
//! `simd` has one small vector abstraction with an implementation per instruction set; a kernel is written once over it
//! and compiled once for each. `gemm` has the matrix-product tile that [`linear`], [`matmul`] and [`attention`] share.
//! A new kernel is a folder with its host form, WGSL and reference, and a line in `ALL`, below; how it is declared is
//! said in `kernel.rs`.

pub mod attention;
pub mod concat;
pub mod elementwise;
pub mod embedding;
mod float16;
pub mod gated;
pub mod gather;
mod gemm;
mod gpu;
pub mod heads;
mod isa;
mod kernel;
pub mod linear;
pub mod matmul;
pub mod norm;
mod numbered;
mod packed;
mod params;
pub mod pool;
pub mod reduce;
pub mod rotary;
mod scratch;
mod simd;
pub mod softmax;

pub use isa::{Isa, isa};
pub use kernel::{Kernels, Scalar};

/// Every kernel.
pub fn all() -> impl Iterator<Item = &'static Kernels> {
    ALL.iter().copied().flatten().copied()
}

/// The kernels of each file.
static ALL: &[&[&Kernels]] = &[
    attention::ALL,
    concat::ALL,
    elementwise::binary::ALL,
    elementwise::compare::ALL,
    elementwise::copy::ALL,
    elementwise::in_place::ALL,
    elementwise::select::ALL,
    elementwise::unary::ALL,
    embedding::ALL,
    gated::ALL,
    gather::ALL,
    linear::ALL,
    matmul::ALL,
    norm::ALL,
    pool::ALL,
    reduce::ALL,
    rotary::ALL,
    reduce::arg::ALL,
    softmax::ALL,
];
