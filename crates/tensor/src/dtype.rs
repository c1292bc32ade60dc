//! Element types.

use bytemuck::Pod;
use half::f16;
use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point, IEEE 754's binary16: half the memory, 11 bits of precision, up to 65,504. Operators
    /// compute in f32 and round their results.
    F16,
    /// Unsigned 32-bit integer: indices.
    U32,
    /// Signed 32-bit integer.
    I32,
}

impl DType {
    /// Size of an element in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 | Self::U32 | Self::I32 => 4,
        }
    }

    /// The name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U32 => "u32",
            Self::I32 => "i32",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A host type that a tensor can hold. Only this crate implements it.
///
/// ```
/// # use thalweg_tensor::{Result, Tensor};
/// fn values(tensor: &Tensor) -> Result<Vec<f32>> {
///     tensor.to_vec::<f32>()
/// }
/// ```
///
/// No tensor holds any other type, so asking for one does not compile:
///
/// ```compile_fail,E0277
/// # use thalweg_tensor::{Result, Tensor};
/// fn values(tensor: &Tensor) -> Result<Vec<f64>> {
///     tensor.to_vec::<f64>()
/// }
/// ```
pub trait Element: Pod + Send + Sync + sealed::Sealed {
    /// Its element type.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for f16 {
    const DTYPE: DType = DType::F16;
}
impl Element for u32 {
    const DTYPE: DType = DType::U32;
}
impl Element for i32 {
    const DTYPE: DType = DType::I32;
}

mod sealed {
    #[expect(unnameable_types, reason = "nobody else implements it")]
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for u32 {}
    impl Sealed for i32 {}
}
