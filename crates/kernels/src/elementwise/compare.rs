//! Comparisons of two operands.

use super::binary::{Function, Number, Pair, WithScalar, map};
use crate::gpu::Texts;
use crate::kernel::{Outcome, kernels};
use crate::numbered::numbered;

numbered! {
    /// A comparison of two elements of the same type. NaN is not equal to anything, and neither less nor greater.
    pub enum Comparison, "comparison" {
        /// `a == b`
        Eq,
        /// `a != b`
        Ne,
        /// `a < b`
        Lt,
        /// `a <= b`
        Le,
        /// `a > b`
        Gt,
        /// `a >= b`
        Ge,
    }
}

kernels! {
    /// `out[shape] = a[view] op b[view]`, the operands of one type, the output u32: 1 where it is so, 0 where not.
    /// Bindings, parameters and extent of [`BINARY`](super::BINARY).
    COMPARE = "compare", numbers(Compared);

    /// The same with a number for one of the operands. Bindings, parameters and extent of
    /// [`BINARY_SCALAR`](super::BINARY_SCALAR).
    COMPARE_SCALAR = "compare_scalar", numbers(ComparedWithScalar);
}

type Compared<T> = Pair<Comparison, T>;
type ComparedWithScalar<T> = WithScalar<Comparison, T>;

impl<T: Number> Function<T> for Comparison {
    type Result = u32;
    const FIXED_RESULT: bool = true;
    const PAIR: Texts = T::COMPARE;
    const WITH_SCALAR: Texts = T::COMPARE_SCALAR;

    #[inline(always)]
    fn apply(self, a: &[T], b: &[T], out: &mut [u32], _: usize) -> Outcome {
        match self {
            Self::Eq => map!(out, a, b, |a, b| u32::from(a == b)),
            Self::Ne => map!(out, a, b, |a, b| u32::from(a != b)),
            Self::Lt => map!(out, a, b, |a, b| u32::from(a < b)),
            Self::Le => map!(out, a, b, |a, b| u32::from(a <= b)),
            Self::Gt => map!(out, a, b, |a, b| u32::from(a > b)),
            Self::Ge => map!(out, a, b, |a, b| u32::from(a >= b)),
        }
        Ok(())
    }
}
