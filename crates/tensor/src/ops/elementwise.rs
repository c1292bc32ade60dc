//! Copies, casts, and functions of one element. The operands may be any views.

use super::kernels::{self, cast, kernel};
use super::{dispatch, record};
use crate::layout::Layout;
use crate::{DType, Result, Tensor};
use thalweg_kernels::elementwise::{COPY, CopyParams, UNARY, Unary, UnaryParams};
use thalweg_runtime::{Device, Operand, Stream};

pub(super) fn copy(tensor: &Tensor) -> Result<Tensor> {
    let layout = Layout::contiguous("contiguous", tensor.shape())?;
    copy_from(tensor.device(), tensor.whole(), &tensor.layout, (layout, tensor.dtype))
}

/// A new tensor of the elements of `from` that lie as `view` says.
pub(crate) fn copy_from(device: &Device, from: Operand<'_>, view: &Layout, output: (Layout, DType)) -> Result<Tensor> {
    let params = CopyParams { shape: output.0.kernel_shape(), from: view.view() };
    let elements = output.0.elements();
    let source = kernels::moving(&COPY, output.1, "contiguous")?;
    dispatch(source, &[from], device, output, &params, elements)
}

/// Copies the elements of `from` to the first bytes of `to`.
pub(crate) fn copy_into(from: &Tensor, stream: &Stream, to: Operand<'_>) -> Result<()> {
    let params = CopyParams { shape: from.layout.kernel_shape(), from: from.layout.view() };
    let source = kernels::moving(&COPY, from.dtype, "contiguous")?;
    let to = to.first(from.layout.bytes(from.dtype));
    Ok(record(stream, source, &[from.whole()], to, &params, from.elements())?)
}

impl Tensor {
    /// A function of each element; f32 or f16.
    ///
    /// # Errors
    /// If the tensor is of another type.
    pub fn unary(&self, operation: Unary) -> Result<Self> {
        self.mapped("unary", operation)
    }

    fn mapped(&self, name: &'static str, operation: Unary) -> Result<Self> {
        let source = kernel(&UNARY, self.dtype, name, "the operand")?;
        let layout = Layout::contiguous(name, self.shape())?;
        let (shape, from) = (layout.kernel_shape(), self.layout.view());
        let params = UnaryParams { operation: operation as u32, shape, from };
        let elements = layout.elements();
        dispatch(source, &[self.whole()], self.device(), (layout, self.dtype), &params, elements)
    }

    /// The same values as elements of another type; this tensor if it has the type already.
    ///
    /// As Rust's `as`: a float is the nearest value, beyond f16's 65,504 an infinity. From a float to an integer it is
    /// towards 0; what is beyond the integer's range becomes its end, and NaN becomes 0. From u32 to i32 and back the
    /// bits stay: that is a view, and shares the memory.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let Some(source) = cast(self.dtype, dtype) else {
            return Ok(Self { dtype, ..self.clone() });
        };
        let layout = Layout::contiguous("to_dtype", self.shape())?;
        let params = CopyParams { shape: layout.kernel_shape(), from: self.layout.view() };
        let elements = layout.elements();
        dispatch(source, &[self.whole()], self.device(), (layout, dtype), &params, elements)
    }
}

macro_rules! functions {
    ($($method:ident, $unary:ident, $what:literal;)*) => {
        impl Tensor {
            $(
                #[doc = concat!($what, ", element by element: [`Unary::", stringify!($unary), "`]. For f32 and f16.")]
                ///
                /// # Errors
                /// If the tensor is of another type.
                #[allow(clippy::should_implement_trait)] // `Neg` is there too, for references
                pub fn $method(&self) -> Result<Self> {
                    self.mapped(stringify!($method), Unary::$unary)
                }
            )*
        }
    };
}
functions! {
    neg, Neg, "The number with the other sign";
    abs, Abs, "The magnitude";
    exp, Exp, "The exponential";
    ln, Ln, "The natural logarithm";
    sqrt, Sqrt, "The square root";
    rsqrt, Rsqrt, "The reciprocal of the square root";
    recip, Recip, "The reciprocal";
    sin, Sin, "The sine";
    cos, Cos, "The cosine";
    tanh, Tanh, "The hyperbolic tangent";
    sigmoid, Sigmoid, "The logistic function";
    relu, Relu, "The number, or 0 if it is below";
    silu, Silu, "The sigmoid-weighted linear unit";
    gelu, Gelu, "The Gaussian error linear unit";
    gelu_tanh, GeluTanh, "The same by way of tanh";
    erf, Erf, "The error function";
    floor, Floor, "The greatest whole number that is not above";
    ceil, Ceil, "The least whole number that is not below";
    round, Round, "The nearest whole number; of two, the even one";
}

impl std::ops::Neg for &Tensor {
    type Output = Result<Tensor>;

    fn neg(self) -> Result<Tensor> {
        Tensor::neg(self)
    }
}
