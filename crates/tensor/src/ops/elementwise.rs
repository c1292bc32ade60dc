//! Element by element. All operands may be any views.

use super::kernels::{self, cast, kernel};
use super::{dispatch, record};
use crate::layout::{Layout, broadcast};
use crate::{DType, Error, Result, Tensor};
use thalweg_kernels::elementwise::{BINARY, Binary, BinaryParams, CopyParams, UNARY, Unary, UnaryParams};
use thalweg_runtime::{Device, Operand, Stream};

pub(super) fn copy(tensor: &Tensor) -> Result<Tensor> {
    let layout = Layout::contiguous("contiguous", tensor.shape())?;
    copy_from(tensor.device(), tensor.whole(), &tensor.layout, (layout, tensor.dtype))
}

/// A new tensor of the elements of `from` that lie as `view` says.
pub(crate) fn copy_from(device: &Device, from: Operand<'_>, view: &Layout, output: (Layout, DType)) -> Result<Tensor> {
    let params = CopyParams { shape: output.0.kernel_shape(), from: view.view() };
    let elements = output.0.elements();
    let source = kernels::copy(output.1)?;
    dispatch(source, &[from], device, output, &params, elements)
}

/// Copies the elements of `from` to the first bytes of `to`.
pub(crate) fn copy_into(from: &Tensor, stream: &Stream, to: Operand<'_>) -> Result<()> {
    let params = CopyParams { shape: from.layout.kernel_shape(), from: from.layout.view() };
    let source = kernels::copy(from.dtype)?;
    let to = to.first(from.layout.bytes(from.dtype));
    Ok(record(stream, source, &[from.whole()], to, &params, from.elements())?)
}

impl Tensor {
    /// `self op other`, element by element, broadcasting. Integers wrap.
    ///
    /// # Errors
    /// If the shapes do not broadcast or the types differ. An integer division by zero fails when the data is read.
    pub fn binary(&self, operation: Binary, other: &Self) -> Result<Self> {
        if self.dtype != other.dtype {
            let (what, expected) = ("the second operand", self.dtype.name());
            return Err(Error::DType { operation: "binary", what, given: other.dtype, expected });
        }
        let layout = Layout::contiguous("binary", &broadcast("binary", self.shape(), other.shape())?)?;
        let params = BinaryParams {
            operation: operation as u32,
            shape: layout.kernel_shape(),
            a: self.layout.broadcast_to("binary", "the first operand", &layout.shape)?.view(),
            b: other.layout.broadcast_to("binary", "the second operand", &layout.shape)?.view(),
        };
        let source = kernel(&BINARY, self.dtype, "binary", "the first operand")?;
        let elements = layout.elements();
        dispatch(source, &[self.whole(), other.whole()], self.device(), (layout, self.dtype), &params, elements)
    }

    /// A function of each element; f32 or f16.
    ///
    /// # Errors
    /// If the tensor is of another type.
    pub fn unary(&self, operation: Unary) -> Result<Self> {
        let source = kernel(&UNARY, self.dtype, "unary", "the operand")?;
        let layout = Layout::contiguous("unary", self.shape())?;
        let (shape, from) = (layout.kernel_shape(), self.layout.view());
        let params = UnaryParams { operation: operation as u32, shape, from };
        let elements = layout.elements();
        dispatch(source, &[self.whole()], self.device(), (layout, self.dtype), &params, elements)
    }

    /// The same values as elements of another type, rounded to the nearest where it has fewer; this tensor if it has
    /// the type already. Between f32 and f16; a value beyond f16's 65,504 becomes an infinity.
    ///
    /// # Errors
    /// If one of the two types is an integer, and the other is not the same.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        if self.dtype == dtype {
            return Ok(self.clone());
        }
        let Some(source) = cast(self.dtype, dtype) else {
            let expected = match dtype {
                DType::F32 => "f16, to become f32",
                DType::F16 => "f32, to become f16",
                DType::U32 => "u32, to stay u32",
                DType::I32 => "i32, to stay i32",
            };
            return Err(Error::DType { operation: "to_dtype", what: "the operand", given: self.dtype, expected });
        };
        let layout = Layout::contiguous("to_dtype", self.shape())?;
        let params = CopyParams { shape: layout.kernel_shape(), from: self.layout.view() };
        let elements = layout.elements();
        dispatch(source, &[self.whole()], self.device(), (layout, dtype), &params, elements)
    }
}

macro_rules! operators {
    ($($trait:ident, $method:ident, $in_place:ident, $binary:ident, $sign:literal;)*) => {
        $(
            impl Tensor {
                #[doc = concat!("`self ", $sign, " other`; see [`binary`](Self::binary).")]
                ///
                /// # Errors
                /// As for [`binary`](Self::binary).
                #[allow(clippy::should_implement_trait)] // the trait is there too, for references
                pub fn $method(&self, other: &Self) -> Result<Self> {
                    self.binary(Binary::$binary, other)
                }

                #[doc = concat!("`self = self ", $sign, " other`; see [`binary_in_place`](Self::binary_in_place).")]
                ///
                /// # Errors
                /// As for [`binary_in_place`](Self::binary_in_place).
                pub fn $in_place(&mut self, other: &Self) -> Result<()> {
                    self.binary_in_place(Binary::$binary, other)
                }
            }

            impl std::ops::$trait for &Tensor {
                type Output = Result<Tensor>;

                fn $method(self, other: Self) -> Result<Tensor> {
                    self.binary(Binary::$binary, other)
                }
            }
        )*
    };
}
operators! {
    Add, add, add_in_place, Add, "+";
    Sub, sub, sub_in_place, Sub, "-";
    Mul, mul, mul_in_place, Mul, "*";
    Div, div, div_in_place, Div, "/";
}
