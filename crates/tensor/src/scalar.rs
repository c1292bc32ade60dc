//! A number beside a tensor.

use crate::{DType, Error, Result, f16};

/// A number that an operator takes beside a tensor. Beside floats it may be any, and is an f32; beside integers it has
/// to be an integer that they can be. `From` makes one of f32, f16, u32 and i32, so that operators take these.
///
/// ```
/// # use thalweg_tensor::{Result, Tensor};
/// # fn example(x: &Tensor) -> Result<()> {
/// let scaled = x.mul_scalar(0.5)?;
/// let rest = (1.0 - &scaled)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Scalar {
    /// A floating-point number.
    Float(f32),
    /// An integer.
    Integer(i64),
}

impl Scalar {
    /// The bits that kernels take beside elements of a type: of an f32 beside f16.
    pub(crate) fn bits(self, operation: &'static str, dtype: DType) -> Result<u32> {
        let bits = match (dtype, self) {
            (DType::F32 | DType::F16, Self::Float(value)) => Some(value.to_bits()),
            (DType::F32 | DType::F16, Self::Integer(value)) => Some((value as f32).to_bits()),
            (DType::U32, Self::Integer(value)) => u32::try_from(value).ok(),
            (DType::I32, Self::Integer(value)) => i32::try_from(value).ok().map(|value| value as u32),
            (DType::U32 | DType::I32, Self::Float(_)) => None,
        };
        bits.ok_or(Error::Scalar { operation, scalar: self, dtype })
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Integer(value) => write!(f, "{value}"),
        }
    }
}

impl From<f32> for Scalar {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<f16> for Scalar {
    fn from(value: f16) -> Self {
        Self::Float(value.to_f32())
    }
}

impl From<u32> for Scalar {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<i32> for Scalar {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}
