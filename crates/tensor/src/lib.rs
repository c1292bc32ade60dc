//! Tensors on a Thalweg device, and the operators on them.
//!
//! A [`Tensor`] is a value: an operator reads its operands and makes a new tensor, or, with `_in_place` in its name,
//! changes one that shares its memory with nobody. A [`MutableTensor`] is a place that any number of threads read and
//! change.
//!
//! Any thread may use any tensor at any
//! time; an operator is recorded on the calling thread's current stream and returns at once. [`Tensor::to_vec`] waits.
//!
//! A [`Graph`] is operations that are recorded once and run often.
//!
//! Views (`reshape`, `permute`, `narrow`, `broadcast_to`) share their tensor's memory and cost nothing on the device.
//! Operators take views as they are where their kernel can, and make them contiguous where it cannot; their
//! documentation says which.

mod dtype;
mod error;
mod graph;
mod kernel;
mod layout;
mod mutable;
mod ops;
mod scalar;
mod tensor;
mod view;

pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use graph::Graph;
pub use half::f16;
pub use kernel::Kernel;
pub use layout::MAX_RANK;
pub use mutable::MutableTensor;
pub use ops::{AttentionOptions, PackedMatrix};
pub use scalar::Scalar;
pub use tensor::Tensor;
pub use thalweg_kernels::elementwise::{Binary, Comparison, Unary};
pub use thalweg_kernels::linear::Activation;
pub use thalweg_kernels::pool::Pooling;
pub use thalweg_kernels::reduce::Reduction;
