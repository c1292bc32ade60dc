//! Operations on two operands.

use super::view::{Operand, Shape, View, elements};
use crate::gpu::{Gpu, Texts, by_256, texts};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, kernels};
use crate::params::params;
use crate::simd::Simd;
use bytemuck::Pod;
use std::marker::PhantomData;
use thalweg_hal::{Access, HostCall, KernelFailure};

/// An operation on two elements of the same type. Integers wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Binary {
    /// `a + b`
    Add = 0,
    /// `a - b`
    Sub = 1,
    /// `a * b`
    Mul = 2,
    /// `a / b`. Of integers: towards 0; a division by 0 fails the kernel.
    Div = 3,
    /// The greater; NaN if either is.
    Max = 4,
    /// The smaller; NaN if either is.
    Min = 5,
}

impl Binary {
    /// Every operation.
    pub const ALL: [Self; 6] = [Self::Add, Self::Sub, Self::Mul, Self::Div, Self::Max, Self::Min];

    /// `out = a op b` on three slices of one length; their first element is number `start` of the output.
    #[inline(always)]
    pub(super) fn apply<T: Number>(self, a: &[T], b: &[T], out: &mut [T], start: usize) -> Outcome {
        // Each arm is a loop of its own, which the compiler turns into vectors.
        macro_rules! each {
            ($function:expr) => {
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    *out = $function(*a, *b);
                }
            };
        }
        match self {
            Self::Add => each!(T::add),
            Self::Sub => each!(T::sub),
            Self::Mul => each!(T::mul),
            Self::Div => {
                if let Some(at) = b.iter().position(|b| b.is_no_divisor()) {
                    let message = format!("integer division by 0 at element {} of the output", start + at);
                    return Err(KernelFailure::new(message));
                }
                each!(T::div);
            }
            Self::Max => each!(T::max),
            Self::Min => each!(T::min),
        }
        Ok(())
    }
}

impl TryFrom<u32> for Binary {
    type Error = KernelFailure;

    fn try_from(value: u32) -> Result<Self, KernelFailure> {
        let known = Self::ALL.into_iter().find(|operation| *operation as u32 == value);
        known.ok_or_else(|| KernelFailure::new(format!("binary operation {value} is unknown, expected 0 to 5")))
    }
}

params! {
    /// Parameters of the binary kernels.
    pub struct BinaryParams {
        /// A [`Binary`], as `u32`.
        pub operation: u32,
        /// The output's shape.
        pub shape: Shape,
        /// Where the first operand's elements lie.
        pub a: View,
        /// Where the second operand's elements lie.
        pub b: View,
    }
}

kernels! {
    /// `out[shape] = a[view] op b[view]`, all of one type.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | a |
    /// | 1 | read | b |
    /// | 2 | write | out, contiguous |
    ///
    /// Parameters: [`BinaryParams`]. Extent `[elements, 1, 1]`: an item is an element of the output.
    BINARY = "binary", numbers(Kind);
}

const FAILURES: &[&str] = &[
    "the operation is unknown, expected 0 to 5",
    "the output's length is not that of the shape",
    "the first operand reaches outside of its binding",
    "the second operand reaches outside of its binding",
    "integer division by 0",
];

struct Kind<T>(PhantomData<T>);

/// Elements gathered at once when an operand is not contiguous.
pub(super) const BLOCK: usize = 256;

impl<T: Number> Kernel for Kind<T> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    type Params = BinaryParams;
    const GPU: Gpu = Gpu::clamped(T::ORDINARY, by_256, FAILURES);

    #[inline(always)]
    fn run<S: Simd>(_: S, params: BinaryParams, call: &mut HostCall<'_>) -> Outcome {
        let operation = Binary::try_from(params.operation)?;
        expect_extent("elements of the shape", call, elements(params.shape))?;
        let a = Operand::new("the first operand", params.a, params.shape, call.inputs.get::<T>(0)?)?;
        let b = Operand::new("the second operand", params.b, params.shape, call.inputs.get::<T>(1)?)?;
        let out = call.outputs.get::<T>(0)?;
        expect_len("out", out.len(), &[call.items.len()])?;
        let mut start = call.items.start as usize;
        let (mut a_buffer, mut b_buffer) = ([T::zeroed(); BLOCK], [T::zeroed(); BLOCK]);
        for out in out.chunks_mut(BLOCK) {
            let a = a.block(start, &mut a_buffer[..out.len()]);
            let b = b.block(start, &mut b_buffer[..out.len()]);
            operation.apply(a, b, out, start)?;
            start += out.len();
        }
        Ok(())
    }
}

/// What the operations mean for a type.
pub(super) trait Number: Pod {
    /// The module for GPUs.
    const ORDINARY: Texts;
    /// The module of its form in place.
    const IN_PLACE: Texts;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    /// Whether a division by it has no result.
    fn is_no_divisor(self) -> bool;
}

/// The texts with the operations of a type.
macro_rules! operations {
    ([$($type:ident:)? $apply:literal]) => {
        const ORDINARY: Texts = texts![
            $($type:)? "../wgsl/failure.wgsl", "../wgsl/bits.wgsl", "../wgsl/view.wgsl", $apply, "binary.wgsl"
        ];
        const IN_PLACE: Texts = texts![
            $($type:)? "../wgsl/failure.wgsl", "../wgsl/bits.wgsl", "../wgsl/view.wgsl", $apply, "binary_in_place.wgsl"
        ];
    };
}

#[rustfmt::skip]
impl Number for f32 {
    operations!(["binary_float.wgsl"]);
    #[inline(always)] fn add(self, b: Self) -> Self { self + b }
    #[inline(always)] fn sub(self, b: Self) -> Self { self - b }
    #[inline(always)] fn mul(self, b: Self) -> Self { self * b }
    #[inline(always)] fn div(self, b: Self) -> Self { self / b }
    #[inline(always)] fn max(self, b: Self) -> Self { if self > b || self.is_nan() { self } else { b } }
    #[inline(always)] fn min(self, b: Self) -> Self { if self < b || self.is_nan() { self } else { b } }
    #[inline(always)] fn is_no_divisor(self) -> bool { false }
}

macro_rules! integer {
    ($type:ident) => {
#[rustfmt::skip]
        impl Number for $type {
            operations!([$type: "binary_integer.wgsl"]);
            #[inline(always)] fn add(self, b: Self) -> Self { self.wrapping_add(b) }
            #[inline(always)] fn sub(self, b: Self) -> Self { self.wrapping_sub(b) }
            #[inline(always)] fn mul(self, b: Self) -> Self { self.wrapping_mul(b) }
            #[inline(always)] fn div(self, b: Self) -> Self { self.wrapping_div(b) }
            #[inline(always)] fn max(self, b: Self) -> Self { Ord::max(self, b) }
            #[inline(always)] fn min(self, b: Self) -> Self { Ord::min(self, b) }
            #[inline(always)] fn is_no_divisor(self) -> bool { self == 0 }
        }
    };
}
integer!(i32);
integer!(u32);
