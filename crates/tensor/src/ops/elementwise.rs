//! Element by element. All operands may be any views.

use super::dispatch;
use crate::layout::{Layout, broadcast};
use crate::{DType, Error, Result, Tensor};
use thalweg_kernels::elementwise::{self as kernels, Binary, BinaryParams, CopyParams, Unary, UnaryParams};

pub(super) fn copy(tensor: &Tensor) -> Result<Tensor> {
    let layout = Layout::contiguous("contiguous", tensor.shape())?;
    let params = CopyParams { shape: layout.kernel_shape(), from: tensor.layout.view() };
    let elements = layout.elements();
    dispatch(&kernels::COPY, &[tensor.whole()], tensor.device(), (layout, tensor.dtype), &params, elements)
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
            a: self.layout.broadcast_to("binary", &layout.shape)?.view(),
            b: other.layout.broadcast_to("binary", &layout.shape)?.view(),
        };
        let source = match self.dtype {
            DType::F32 => &kernels::BINARY_F32,
            DType::U32 => &kernels::BINARY_U32,
            DType::I32 => &kernels::BINARY_I32,
        };
        let elements = layout.elements();
        dispatch(source, &[self.whole(), other.whole()], self.device(), (layout, self.dtype), &params, elements)
    }

    /// A function of each element; f32.
    ///
    /// # Errors
    /// If the tensor is not f32.
    pub fn unary(&self, operation: Unary) -> Result<Self> {
        self.expect_dtype("unary", "the operand", DType::F32)?;
        let layout = Layout::contiguous("unary", self.shape())?;
        let (shape, from) = (layout.kernel_shape(), self.layout.view());
        let params = UnaryParams { operation: operation as u32, shape, from };
        let elements = layout.elements();
        dispatch(&kernels::UNARY, &[self.whole()], self.device(), (layout, self.dtype), &params, elements)
    }
}

macro_rules! operators {
    ($($trait:ident, $method:ident, $binary:ident, $sign:literal;)*) => {
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
    Add, add, Add, "+";
    Sub, sub, Sub, "-";
    Mul, mul, Mul, "*";
    Div, div, Div, "/";
}
