//! Which kernel an operation is, for each element type: the one place that knows.

use crate::{DType, Error, Result};
use thalweg_hal::StaticKernel;
use thalweg_kernels::{attention, elementwise, embedding, linear, matmul, norm, pool, reduce, softmax};

/// What is computed, whatever the elements are, and the sizes by which its forms differ.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    AddLayerNorm,
    Attention { wide: bool },
    Binary,
    BinaryInPlace,
    Copy,
    Embed,
    LayerNorm,
    Linear { rows: usize, inputs: usize, outputs: usize },
    Matmul,
    Normalize,
    Pool,
    Reduce,
    Softmax,
    Unary,
    UnaryInPlace,
}

impl Operation {
    /// The kernel for these elements. `name` and `what` are for the error: the operator, and the operand.
    pub(crate) fn on(self, dtype: DType, name: &'static str, what: &'static str) -> Result<&'static StaticKernel> {
        use DType::{F16, F32, I32, U32};
        Ok(match (self, dtype) {
            (Self::AddLayerNorm, F32) => &norm::ADD_LAYER_NORM,
            (Self::AddLayerNorm, F16) => &norm::ADD_LAYER_NORM_F16,
            (Self::Attention { wide }, F32 | F16) => attention::best(dtype == F16, wide),
            (Self::Binary, F32) => &elementwise::BINARY_F32,
            (Self::Binary, F16) => &elementwise::BINARY_F16,
            (Self::Binary, U32) => &elementwise::BINARY_U32,
            (Self::Binary, I32) => &elementwise::BINARY_I32,
            (Self::BinaryInPlace, F32) => &elementwise::BINARY_F32_IN_PLACE,
            (Self::BinaryInPlace, F16) => &elementwise::BINARY_F16_IN_PLACE,
            (Self::BinaryInPlace, U32) => &elementwise::BINARY_U32_IN_PLACE,
            (Self::BinaryInPlace, I32) => &elementwise::BINARY_I32_IN_PLACE,
            (Self::Copy, F16) => &elementwise::COPY_F16,
            (Self::Copy, F32 | U32 | I32) => &elementwise::COPY,
            (Self::Embed, F32) => &embedding::EMBED_SUM,
            (Self::Embed, F16) => &embedding::EMBED_SUM_F16,
            (Self::LayerNorm, F32) => &norm::LAYER_NORM,
            (Self::LayerNorm, F16) => &norm::LAYER_NORM_F16,
            (Self::Linear { rows, inputs, outputs }, F32 | F16) => linear::best(dtype == F16, rows, inputs, outputs),
            (Self::Matmul, F32) => &matmul::MATMUL,
            (Self::Matmul, F16) => &matmul::MATMUL_F16,
            (Self::Normalize, F32) => &pool::NORMALIZE,
            (Self::Normalize, F16) => &pool::NORMALIZE_F16,
            (Self::Pool, F32) => &pool::POOL,
            (Self::Pool, F16) => &pool::POOL_F16,
            (Self::Reduce, F32) => &reduce::REDUCE,
            (Self::Reduce, F16) => &reduce::REDUCE_F16,
            (Self::Softmax, F32) => &softmax::SOFTMAX,
            (Self::Softmax, F16) => &softmax::SOFTMAX_F16,
            (Self::Unary, F32) => &elementwise::UNARY,
            (Self::Unary, F16) => &elementwise::UNARY_F16,
            (Self::UnaryInPlace, F32) => &elementwise::UNARY_IN_PLACE,
            (Self::UnaryInPlace, F16) => &elementwise::UNARY_IN_PLACE_F16,
            (_, U32 | I32) => {
                return Err(Error::DType { operation: name, what, given: dtype, expected: "f32 or f16" });
            }
        })
    }
}

/// The kernel that converts elements of one type to those of another.
pub(crate) fn cast(from: DType, to: DType) -> Option<&'static StaticKernel> {
    match (from, to) {
        (DType::F32, DType::F16) => Some(&elementwise::CAST_TO_F16),
        (DType::F16, DType::F32) => Some(&elementwise::CAST_TO_F32),
        _ => None,
    }
}
