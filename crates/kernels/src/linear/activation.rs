//! What a layer does to its sums.

use crate::simd::{Simd, math};
use thalweg_hal::KernelFailure;

/// An activation function. NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u32)]
#[non_exhaustive]
pub enum Activation {
    /// `v`
    #[default]
    None = 0,
    /// `v / 2 * (1 + erf(v / sqrt(2)))`: the exact form.
    Gelu = 1,
    /// `v / 2 * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 * v^3)))`: the form of GPT-2, within 5e-4 of the exact one.
    GeluTanh = 2,
    /// `max(v, 0)`
    Relu = 3,
    /// `v / (1 + exp(-v))`, also called swish.
    Silu = 4,
    /// `tanh(v)`
    Tanh = 5,
    /// `1 / (1 + exp(-v))`
    Sigmoid = 6,
}

impl Activation {
    /// Every activation.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Gelu, Self::GeluTanh, Self::Relu, Self::Silu, Self::Tanh, Self::Sigmoid];

    /// The activation of each element, in two slices of one length.
    #[inline(always)]
    pub(crate) fn map<S: Simd>(self, simd: S, from: &[f32], out: &mut [f32]) {
        for (from, out) in from.chunks(S::LANES).zip(out.chunks_mut(S::LANES)) {
            if out.len() == S::LANES {
                simd.store(self.apply(simd, simd.load(from)), out);
            } else {
                simd.store_partial(self.apply(simd, simd.load_partial(from, 0.0)), out);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, simd: S, v: S::V) -> S::V {
        match self {
            Self::None => v,
            Self::Gelu => math::gelu(simd, v),
            Self::GeluTanh => math::gelu_tanh(simd, v),
            Self::Relu => simd.max(simd.splat(0.0), v),
            Self::Silu => math::silu(simd, v),
            Self::Tanh => math::tanh(simd, v),
            Self::Sigmoid => math::sigmoid(simd, v),
        }
    }
}

impl TryFrom<u32> for Activation {
    type Error = KernelFailure;

    fn try_from(value: u32) -> Result<Self, KernelFailure> {
        let known = Self::ALL.into_iter().find(|activation| *activation as u32 == value);
        known.ok_or_else(|| KernelFailure::new(format!("activation {value} is unknown, expected 0 to 6")))
    }
}
