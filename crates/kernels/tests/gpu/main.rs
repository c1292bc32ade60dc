//! Every kernel's form for GPUs: it translates, its parameters lie where Rust puts them, and its Metal text compiles.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

mod layout;
mod module;
mod msl;
mod rig;
mod run;
mod run_elementwise;
mod translate;

use thalweg_hal::KernelSource;
use thalweg_kernels::{attention, elementwise, embedding, linear, matmul, norm, pool, reduce, softmax};

/// Every kernel of the crate.
const ALL: &[&KernelSource] = &[
    &attention::ATTENTION,
    &attention::ATTENTION_F16,
    &attention::ATTENTION_WIDE,
    &attention::ATTENTION_WIDE_F16,
    &elementwise::BINARY_F16,
    &elementwise::BINARY_F16_IN_PLACE,
    &elementwise::BINARY_F32,
    &elementwise::BINARY_F32_IN_PLACE,
    &elementwise::BINARY_I32,
    &elementwise::BINARY_I32_IN_PLACE,
    &elementwise::BINARY_U32,
    &elementwise::BINARY_U32_IN_PLACE,
    &elementwise::CAST_TO_F16,
    &elementwise::CAST_TO_F32,
    &elementwise::COPY,
    &elementwise::COPY_F16,
    &elementwise::UNARY,
    &elementwise::UNARY_F16,
    &elementwise::UNARY_IN_PLACE,
    &elementwise::UNARY_IN_PLACE_F16,
    &embedding::EMBEDDING,
    &embedding::EMBEDDING_F16,
    &embedding::EMBED_SUM,
    &embedding::EMBED_SUM_F16,
    &linear::LINEAR,
    &linear::LINEAR_F16,
    &linear::LINEAR_FEW,
    &linear::LINEAR_FEW_F16,
    &linear::LINEAR_FEW_WIDE,
    &linear::LINEAR_FEW_WIDE_F16,
    &linear::LINEAR_SOME,
    &linear::LINEAR_SOME_F16,
    &linear::LINEAR_SOME_WIDE,
    &linear::LINEAR_SOME_WIDE_F16,
    &linear::LINEAR_WIDE,
    &linear::LINEAR_WIDE_F16,
    &matmul::MATMUL,
    &matmul::MATMUL_F16,
    &norm::ADD_LAYER_NORM,
    &norm::ADD_LAYER_NORM_F16,
    &norm::LAYER_NORM,
    &norm::LAYER_NORM_F16,
    &pool::NORMALIZE,
    &pool::NORMALIZE_F16,
    &pool::POOL,
    &pool::POOL_F16,
    &reduce::REDUCE,
    &reduce::REDUCE_F16,
    &softmax::SOFTMAX,
    &softmax::SOFTMAX_F16,
];
