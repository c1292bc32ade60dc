//! Operations on two operands, the second of which may be one number.

use super::view::{Operand, Shape, View, elements};
use crate::gpu::{Gpu, Texts, by_256, texts};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, kernels};
use crate::numbered::numbered;
use crate::params::params;
use crate::simd::Simd;
use bytemuck::Pod;
use std::marker::PhantomData;
use thalweg_hal::{Access, HostCall, KernelFailure};

numbered! {
    /// An operation on two elements of the same type. Integers wrap.
    pub enum Binary, "binary operation" {
        /// `a + b`
        Add,
        /// `a - b`
        Sub,
        /// `a * b`
        Mul,
        /// `a / b`. Of integers: towards 0; a division by 0 fails the kernel.
        Div,
        /// The greater; NaN if either is.
        Max,
        /// The smaller; NaN if either is.
        Min,
        /// `a^b`, within 1 ulp on the host and 2 on a GPU, special values as C's `pow` has them: `a^0` is 1, also for
        /// NaN. Of integers: a negative power is towards 0, so 0 but for 1 and -1, and 0 for 0.
        Pow,
    }
}

params! {
    /// Parameters of the binary kernels.
    pub struct BinaryParams {
        /// A [`Binary`], or a [`Comparison`](super::Comparison), as `u32`.
        pub operation: u32,
        /// The output's shape.
        pub shape: Shape,
        /// Where the first operand's elements lie.
        pub a: View,
        /// Where the second operand's elements lie.
        pub b: View,
    }

    /// Parameters of the kernels with a number for one of the operands.
    pub struct ScalarParams {
        /// A [`Binary`], or a [`Comparison`](super::Comparison), as `u32`.
        pub operation: u32,
        /// The number's bits: of an f32 where the elements are f16, so that the result alone is rounded.
        pub scalar: u32,
        /// 1 if the number is the first operand, 0 if the second.
        pub swapped: u32,
        /// The output's shape.
        pub shape: Shape,
        /// Where the operand's elements lie.
        pub from: View,
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
    BINARY = "binary", numbers(Arithmetic);

    /// `out[shape] = from[view] op scalar`, or `scalar op from[view]`, all of one type.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | the operand |
    /// | 1 | write | out, contiguous |
    ///
    /// Parameters: [`ScalarParams`]. Extent `[elements, 1, 1]`: an item is an element of the output.
    BINARY_SCALAR = "binary_scalar", numbers(ArithmeticWithScalar);
}

type Arithmetic<T> = Pair<Binary, T>;
type ArithmeticWithScalar<T> = WithScalar<Binary, T>;

/// A function of two elements of one type, that its number names.
pub(super) trait Function<T: Pod>: Copy + TryFrom<u32, Error = KernelFailure> {
    type Result: Pod;
    /// Whether the result's type is the same for all types of elements.
    const FIXED_RESULT: bool;
    /// The module for two operands.
    const PAIR: Texts;
    /// The module for one operand and a number.
    const WITH_SCALAR: Texts;

    /// `out = a op b` on three slices of one length; their first element is number `start` of the output.
    fn apply(self, a: &[T], b: &[T], out: &mut [Self::Result], start: usize) -> Outcome;
}

/// `out = function(a, b)` for each of three slices' elements: a loop, which the compiler turns into vectors.
macro_rules! map {
    ($out:ident, $a:ident, $b:ident, $function:expr) => {
        for ((out, a), b) in $out.iter_mut().zip($a).zip($b) {
            *out = $function(*a, *b);
        }
    };
}
pub(super) use map;

impl<T: Number> Function<T> for Binary {
    type Result = T;
    const FIXED_RESULT: bool = false;
    const PAIR: Texts = T::PAIR;
    const WITH_SCALAR: Texts = T::WITH_SCALAR;

    #[inline(always)]
    fn apply(self, a: &[T], b: &[T], out: &mut [T], start: usize) -> Outcome {
        match self {
            Self::Add => map!(out, a, b, T::add),
            Self::Sub => map!(out, a, b, T::sub),
            Self::Mul => map!(out, a, b, T::mul),
            Self::Div => {
                if let Some(at) = b.iter().position(|b| b.is_no_divisor()) {
                    let message = format!("integer division by 0 at element {} of the output", start + at);
                    return Err(KernelFailure::new(message));
                }
                map!(out, a, b, T::div);
            }
            Self::Max => map!(out, a, b, T::max),
            Self::Min => map!(out, a, b, T::min),
            Self::Pow => map!(out, a, b, T::pow),
        }
        Ok(())
    }
}

/// A function of two operands.
pub(super) struct Pair<F, T>(PhantomData<(F, T)>);

/// Elements gathered at once when an operand is not contiguous.
pub(super) const BLOCK: usize = 256;

impl<F: Function<T>, T: Pod> Kernel for Pair<F, T> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const FIXED_OUTPUT: bool = F::FIXED_RESULT;
    type Params = BinaryParams;
    const GPU: Gpu = Gpu::clamped(
        F::PAIR,
        by_256,
        &[
            "the operation is unknown",
            "the output's length is not that of the shape",
            "the first operand reaches outside of its binding",
            "the second operand reaches outside of its binding",
            "integer division by 0",
        ],
    );

    #[inline(always)]
    fn run<S: Simd>(_: S, params: BinaryParams, call: &mut HostCall<'_>) -> Outcome {
        let function = F::try_from(params.operation)?;
        expect_extent("elements of the shape", call, elements(params.shape))?;
        let a = Operand::new("the first operand", params.a, params.shape, call.inputs.get::<T>(0)?)?;
        let b = Operand::new("the second operand", params.b, params.shape, call.inputs.get::<T>(1)?)?;
        let out = call.outputs.get::<F::Result>(0)?;
        expect_len("out", out.len(), &[call.items.len()])?;
        let mut start = call.items.start as usize;
        let (mut a_buffer, mut b_buffer) = ([T::zeroed(); BLOCK], [T::zeroed(); BLOCK]);
        for out in out.chunks_mut(BLOCK) {
            let a = a.block(start, &mut a_buffer[..out.len()]);
            let b = b.block(start, &mut b_buffer[..out.len()]);
            function.apply(a, b, out, start)?;
            start += out.len();
        }
        Ok(())
    }
}

/// A function of an operand and a number.
pub(super) struct WithScalar<F, T>(PhantomData<(F, T)>);

impl<F: Function<T>, T: Pod> Kernel for WithScalar<F, T> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Write];
    const FIXED_OUTPUT: bool = F::FIXED_RESULT;
    type Params = ScalarParams;
    const GPU: Gpu = Gpu::clamped(
        F::WITH_SCALAR,
        by_256,
        &[
            "the operation is unknown",
            "the output's length is not that of the shape",
            "the operand reaches outside of its binding",
            "integer division by 0",
        ],
    );

    #[inline(always)]
    fn run<S: Simd>(_: S, params: ScalarParams, call: &mut HostCall<'_>) -> Outcome {
        let function = F::try_from(params.operation)?;
        expect_extent("elements of the shape", call, elements(params.shape))?;
        let from = Operand::new("the operand", params.from, params.shape, call.inputs.get::<T>(0)?)?;
        let out = call.outputs.get::<F::Result>(0)?;
        expect_len("out", out.len(), &[call.items.len()])?;
        let mut start = call.items.start as usize;
        // Every element type here is one of 4 bytes.
        let (mut buffer, scalars) = ([T::zeroed(); BLOCK], [bytemuck::cast::<u32, T>(params.scalar); BLOCK]);
        for out in out.chunks_mut(BLOCK) {
            let (from, scalars) = (from.block(start, &mut buffer[..out.len()]), &scalars[..out.len()]);
            let (a, b) = if params.swapped == 0 { (from, scalars) } else { (scalars, from) };
            function.apply(a, b, out, start)?;
            start += out.len();
        }
        Ok(())
    }
}

/// What the operations mean for a type.
pub(super) trait Number: Pod + PartialOrd {
    /// The module of [`Binary`] for two operands.
    const PAIR: Texts;
    /// That of its form with a number.
    const WITH_SCALAR: Texts;
    /// That of its form in place.
    const IN_PLACE: Texts;
    /// The module of [`Comparison`](super::Comparison) for two operands.
    const COMPARE: Texts;
    /// That of its form with a number.
    const COMPARE_SCALAR: Texts;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    fn pow(self, other: Self) -> Self;
    /// Whether a division by it has no result.
    fn is_no_divisor(self) -> bool;
}

/// The texts of a type's kernels.
macro_rules! modules {
    ([$($type:ident:)? $number:literal, $($apply:literal),+]) => {
        const PAIR: Texts = modules!(@ [$($type:)? $number, $($apply),+, "binary.wgsl"]);
        const WITH_SCALAR: Texts = modules!(@ [$($type:)? $number, $($apply),+, "binary_scalar.wgsl"]);
        const IN_PLACE: Texts = modules!(@ [$($type:)? $number, $($apply),+, "binary_in_place.wgsl"]);
        const COMPARE: Texts = modules!(@ [$($type:)? $number, "compare.wgsl", "binary.wgsl"]);
        const COMPARE_SCALAR: Texts = modules!(@ [$($type:)? $number, "compare.wgsl", "binary_scalar.wgsl"]);
    };
    (@ [$($type:ident:)? $($file:literal),+]) => {
        texts![$($type:)? "../wgsl/failure.wgsl", "../wgsl/bits.wgsl", "../wgsl/view.wgsl", $($file),+]
    };
}

#[rustfmt::skip]
impl Number for f32 {
    modules!(["number_float.wgsl", "../wgsl/math.wgsl", "pow.wgsl", "binary_float.wgsl"]);
    #[inline(always)] fn add(self, b: Self) -> Self { self + b }
    #[inline(always)] fn sub(self, b: Self) -> Self { self - b }
    #[inline(always)] fn mul(self, b: Self) -> Self { self * b }
    #[inline(always)] fn div(self, b: Self) -> Self { self / b }
    #[inline(always)] fn max(self, b: Self) -> Self { if self > b || self.is_nan() { self } else { b } }
    #[inline(always)] fn min(self, b: Self) -> Self { if self < b || self.is_nan() { self } else { b } }
    #[inline(always)] fn pow(self, b: Self) -> Self { self.powf(b) }
    #[inline(always)] fn is_no_divisor(self) -> bool { false }
}

macro_rules! integer {
    ($type:ident, $pow:expr) => {
#[rustfmt::skip]
        impl Number for $type {
            modules!([$type: "number_integer.wgsl", "binary_integer.wgsl"]);
            #[inline(always)] fn add(self, b: Self) -> Self { self.wrapping_add(b) }
            #[inline(always)] fn sub(self, b: Self) -> Self { self.wrapping_sub(b) }
            #[inline(always)] fn mul(self, b: Self) -> Self { self.wrapping_mul(b) }
            #[inline(always)] fn div(self, b: Self) -> Self { self.wrapping_div(b) }
            #[inline(always)] fn max(self, b: Self) -> Self { Ord::max(self, b) }
            #[inline(always)] fn min(self, b: Self) -> Self { Ord::min(self, b) }
            #[inline(always)] fn pow(self, b: Self) -> Self { $pow(self, b) }
            #[inline(always)] fn is_no_divisor(self) -> bool { self == 0 }
        }
    };
}
integer!(i32, signed_power);
integer!(u32, u32::wrapping_pow);

#[inline(always)]
fn signed_power(base: i32, power: i32) -> i32 {
    match (base, u32::try_from(power)) {
        (_, Ok(power)) => base.wrapping_pow(power),
        (1, Err(_)) => 1,
        (-1, Err(_)) => 1 - 2 * (power & 1),
        (_, Err(_)) => 0,
    }
}
