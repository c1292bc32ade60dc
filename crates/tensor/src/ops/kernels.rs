//! Which kernel an operation is, for each element type: the one place that knows.

use crate::{DType, Error, Result};
use thalweg_hal::StaticKernel;
use thalweg_kernels::{Kernels, Scalar, elementwise};

impl DType {
    /// The kernels' word for it.
    pub(super) fn scalar(self) -> Scalar {
        match self {
            Self::F32 => Scalar::F32,
            Self::F16 => Scalar::F16,
            Self::U32 => Scalar::U32,
            Self::I32 => Scalar::I32,
        }
    }

    /// A type of the same size, for kernels that only move elements.
    pub(super) fn bits(self) -> Scalar {
        match self {
            Self::F16 => Scalar::F16,
            Self::F32 | Self::U32 | Self::I32 => Scalar::U32,
        }
    }
}

/// The kernel for these elements. `operation` and `what` are for the error: the operator, and the operand.
pub(super) fn kernel(
    kernels: &'static Kernels,
    dtype: DType,
    operation: &'static str,
    what: &'static str,
) -> Result<&'static StaticKernel> {
    let unsupported = || Error::DType { operation, what, given: dtype, expected: "f32 or f16" };
    kernels.get(dtype.scalar()).ok_or_else(unsupported)
}

/// The kernel that moves elements of this type.
pub(super) fn moving(
    kernels: &'static Kernels,
    dtype: DType,
    operation: &'static str,
) -> Result<&'static StaticKernel> {
    let unsupported = || Error::DType { operation, what: "the operand", given: dtype, expected: "any" };
    kernels.get(dtype.bits()).ok_or_else(unsupported)
}

/// The kernel that converts elements of one type to those of another; `None` if their bits stay.
pub(super) fn cast(from: DType, to: DType) -> Option<&'static StaticKernel> {
    let kernels = match from {
        DType::F32 => &elementwise::CAST_FROM_F32,
        DType::F16 => &elementwise::CAST_FROM_F16,
        DType::U32 => &elementwise::CAST_FROM_U32,
        DType::I32 => &elementwise::CAST_FROM_I32,
    };
    kernels.get(to.scalar())
}
