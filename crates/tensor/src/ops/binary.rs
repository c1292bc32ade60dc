//! Two operands, element by element, or one and a number. Tensors broadcast, and may be any views.

use super::dispatch;
use super::kernels::kernel;
use crate::layout::{Layout, broadcast};
use crate::{DType, Result, Scalar, Tensor, f16};
use thalweg_kernels::Kernels;
use thalweg_kernels::elementwise::{
    BINARY, BINARY_SCALAR, Binary, BinaryParams, COMPARE, COMPARE_SCALAR, Comparison, ScalarParams,
};

/// A function of two elements: its kernels, for two tensors and for one with a number, its number in them, and the type
/// of its results, if that is not the operands'.
#[derive(Clone, Copy)]
struct Function {
    kernels: [&'static Kernels; 2],
    operation: u32,
    result: Option<DType>,
}

impl From<Binary> for Function {
    fn from(operation: Binary) -> Self {
        Self { kernels: [&BINARY, &BINARY_SCALAR], operation: operation as u32, result: None }
    }
}

impl From<Comparison> for Function {
    fn from(comparison: Comparison) -> Self {
        Self { kernels: [&COMPARE, &COMPARE_SCALAR], operation: comparison as u32, result: Some(DType::U32) }
    }
}

impl Tensor {
    /// `self op other`, element by element, broadcasting. Integers wrap.
    ///
    /// # Errors
    /// If the shapes do not broadcast or the types differ. An integer division by zero fails when the data is read.
    pub fn binary(&self, operation: Binary, other: &Self) -> Result<Self> {
        self.paired("binary", operation.into(), other)
    }

    /// `self op scalar`, element by element. The number is a parameter of the kernel, and is not rounded to f16 where
    /// the elements are: the result alone is.
    ///
    /// # Errors
    /// If the number is none of the elements' type; see [`Scalar`]. An integer division by zero fails when the data is
    /// read.
    pub fn binary_scalar(&self, operation: Binary, scalar: impl Into<Scalar>) -> Result<Self> {
        self.with_scalar("binary_scalar", operation.into(), scalar.into(), false)
    }

    /// `scalar op tensor`, element by element, as [`binary_scalar`](Self::binary_scalar).
    ///
    /// # Errors
    /// As for [`binary_scalar`](Self::binary_scalar).
    pub fn scalar_binary(scalar: impl Into<Scalar>, operation: Binary, tensor: &Self) -> Result<Self> {
        tensor.with_scalar("scalar_binary", operation.into(), scalar.into(), true)
    }

    /// Where `self op other` is so, element by element, broadcasting: a mask, u32, of 1 where it is and 0 where not.
    ///
    /// # Errors
    /// If the shapes do not broadcast or the types differ.
    pub fn compare(&self, comparison: Comparison, other: &Self) -> Result<Self> {
        self.paired("compare", comparison.into(), other)
    }

    /// Where `self op scalar` is so: a mask, as [`compare`](Self::compare).
    ///
    /// # Errors
    /// If the number is none of the elements' type; see [`Scalar`].
    pub fn compare_scalar(&self, comparison: Comparison, scalar: impl Into<Scalar>) -> Result<Self> {
        self.with_scalar("compare_scalar", comparison.into(), scalar.into(), false)
    }

    /// `name` is the operator that was called, for errors.
    fn paired(&self, name: &'static str, function: Function, other: &Self) -> Result<Self> {
        other.expect_dtype(name, "the second operand", self.dtype)?;
        let shape = broadcast(name, "the second operand", self.shape(), other.shape())?;
        let layout = Layout::contiguous(name, &shape)?;
        let params = BinaryParams {
            operation: function.operation,
            shape: layout.kernel_shape(),
            a: self.layout.broadcast_to(name, "the first operand", &layout.shape)?.view(),
            b: other.layout.broadcast_to(name, "the second operand", &layout.shape)?.view(),
        };
        let source = kernel(function.kernels[0], self.dtype, name, "the first operand")?;
        let (elements, result) = (layout.elements(), function.result.unwrap_or(self.dtype));
        dispatch(source, &[self.whole(), other.whole()], self.device(), (layout, result), &params, elements)
    }

    fn with_scalar(&self, name: &'static str, function: Function, scalar: Scalar, swapped: bool) -> Result<Self> {
        let layout = Layout::contiguous(name, self.shape())?;
        let params = ScalarParams {
            operation: function.operation,
            scalar: scalar.bits(name, self.dtype)?,
            swapped: u32::from(swapped),
            shape: layout.kernel_shape(),
            from: self.layout.view(),
        };
        let source = kernel(function.kernels[1], self.dtype, name, "the operand")?;
        let (elements, result) = (layout.elements(), function.result.unwrap_or(self.dtype));
        dispatch(source, &[self.whole()], self.device(), (layout, result), &params, elements)
    }
}

macro_rules! operators {
    ($($method:ident, $in_place:ident, $scalar:ident, $binary:ident, $what:literal;)*) => {
        impl Tensor {
            $(
                #[doc = concat!($what, ", element by element; see [`binary`](Self::binary).")]
                ///
                /// # Errors
                /// As for [`binary`](Self::binary).
                #[allow(clippy::should_implement_trait)] // the trait is there too, for references
                pub fn $method(&self, other: &Self) -> Result<Self> {
                    self.paired(stringify!($method), Binary::$binary.into(), other)
                }

                #[doc = concat!(
                    $what, ", with a number for `other`; see [`binary_scalar`](Self::binary_scalar)."
                )]
                ///
                /// # Errors
                /// As for [`binary_scalar`](Self::binary_scalar).
                pub fn $scalar(&self, other: impl Into<Scalar>) -> Result<Self> {
                    self.with_scalar(stringify!($scalar), Binary::$binary.into(), other.into(), false)
                }

                #[doc = concat!(
                    $what, ", in this tensor's own memory; see [`binary_in_place`](Self::binary_in_place)."
                )]
                ///
                /// # Errors
                /// As for [`binary_in_place`](Self::binary_in_place).
                pub fn $in_place(&mut self, other: &Self) -> Result<()> {
                    self.changed_with(stringify!($in_place), Binary::$binary, other)
                }
            )*
        }
    };
}
operators! {
    add, add_in_place, add_scalar, Add, "`self + other`";
    sub, sub_in_place, sub_scalar, Sub, "`self - other`";
    mul, mul_in_place, mul_scalar, Mul, "`self * other`";
    div, div_in_place, div_scalar, Div, "`self / other`";
    maximum, maximum_in_place, maximum_scalar, Max, "The greater of `self` and `other`";
    minimum, minimum_in_place, minimum_scalar, Min, "The smaller of `self` and `other`";
    pow, pow_in_place, pow_scalar, Pow, "`self` to the power of `other`";
}

macro_rules! comparisons {
    ($($method:ident, $scalar:ident, $comparison:ident, $sign:literal;)*) => {
        impl Tensor {
            $(
                #[doc = concat!("Where `self ", $sign, " other`: a mask, see [`compare`](Self::compare).")]
                ///
                /// # Errors
                /// As for [`compare`](Self::compare).
                #[allow(clippy::should_implement_trait)] // those of the traits are no tensors
                pub fn $method(&self, other: &Self) -> Result<Self> {
                    self.paired(stringify!($method), Comparison::$comparison.into(), other)
                }

                #[doc = concat!("Where `self ", $sign, " other`, a number: see [`compare_scalar`](Self::compare_scalar).")]
                ///
                /// # Errors
                /// As for [`compare_scalar`](Self::compare_scalar).
                pub fn $scalar(&self, other: impl Into<Scalar>) -> Result<Self> {
                    self.with_scalar(stringify!($scalar), Comparison::$comparison.into(), other.into(), false)
                }
            )*
        }
    };
}
comparisons! {
    eq, eq_scalar, Eq, "==";
    ne, ne_scalar, Ne, "!=";
    lt, lt_scalar, Lt, "<";
    le, le_scalar, Le, "<=";
    gt, gt_scalar, Gt, ">";
    ge, ge_scalar, Ge, ">=";
}

/// The signs, between tensors, and between a tensor and a number on either side. A literal is f32 or i32.
macro_rules! signs {
    ($($trait:ident, $method:ident, [$($number:ty),*];)*) => {
        $(
            impl std::ops::$trait for &Tensor {
                type Output = Result<Tensor>;

                fn $method(self, other: Self) -> Result<Tensor> {
                    Tensor::$method(self, other)
                }
            }

            $(
                impl std::ops::$trait<$number> for &Tensor {
                    type Output = Result<Tensor>;

                    fn $method(self, other: $number) -> Result<Tensor> {
                        self.with_scalar(stringify!($method), Binary::$trait.into(), other.into(), false)
                    }
                }

                impl std::ops::$trait<&Tensor> for $number {
                    type Output = Result<Tensor>;

                    fn $method(self, other: &Tensor) -> Result<Tensor> {
                        other.with_scalar(stringify!($method), Binary::$trait.into(), self.into(), true)
                    }
                }
            )*
        )*
    };
}
signs! {
    Add, add, [f32, f16, u32, i32];
    Sub, sub, [f32, f16, u32, i32];
    Mul, mul, [f32, f16, u32, i32];
    Div, div, [f32, f16, u32, i32];
}
