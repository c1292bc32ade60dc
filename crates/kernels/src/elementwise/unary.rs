//! Operations on one operand.

use super::view::{Operand, Shape, View, elements};
use crate::gpu::{Gpu, by_256, texts};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, kernels};
use crate::params::params;
use crate::simd::{Simd, math};
use thalweg_hal::{Access, HostCall, KernelFailure};

/// An operation on one f32. NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Unary {
    /// `-v`
    Neg = 0,
    /// `|v|`
    Abs = 1,
    /// `e^v`, within 1.5 ulp
    Exp = 2,
    /// The natural logarithm, as the host's library computes it; one element at a time.
    Ln = 3,
    /// The square root.
    Sqrt = 4,
    /// `1 / v`
    Recip = 5,
    /// `tanh v`, within 2 ulp
    Tanh = 6,
    /// `max(v, 0)`
    Relu = 7,
    /// `v / (1 + e^-v)`
    Silu = 8,
    /// `v / 2 * (1 + erf(v / sqrt(2)))`
    Gelu = 9,
    /// `v / 2 * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 * v^3)))`
    GeluTanh = 10,
    /// The error function, within 2 ulp
    Erf = 11,
}

impl Unary {
    /// Every operation.
    pub const ALL: [Self; 12] = [
        Self::Neg,
        Self::Abs,
        Self::Exp,
        Self::Ln,
        Self::Sqrt,
        Self::Recip,
        Self::Tanh,
        Self::Relu,
        Self::Silu,
        Self::Gelu,
        Self::GeluTanh,
        Self::Erf,
    ];

    /// `out = op(from)` on two slices of one length.
    #[inline(always)]
    pub(super) fn map<S: Simd>(self, simd: S, from: &[f32], out: &mut [f32]) {
        for (from, out) in from.chunks(S::LANES).zip(out.chunks_mut(S::LANES)) {
            if out.len() == S::LANES {
                simd.store(self.apply(simd, simd.load(from)), out);
            } else {
                simd.store_partial(self.apply(simd, simd.load_partial(from, 1.0)), out);
            }
        }
    }

    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, v: S::V) -> S::V {
        match self {
            Self::Neg => simd.neg(v),
            Self::Abs => simd.abs(v),
            Self::Exp => math::exp(simd, v),
            Self::Ln => {
                let mut lanes = [1.0; crate::simd::MAX_LANES];
                simd.store(v, &mut lanes);
                for lane in &mut lanes {
                    *lane = lane.ln();
                }
                simd.load(&lanes)
            }
            Self::Sqrt => simd.sqrt(v),
            Self::Recip => simd.div(simd.splat(1.0), v),
            Self::Tanh => math::tanh(simd, v),
            Self::Relu => simd.max(simd.splat(0.0), v),
            Self::Silu => math::silu(simd, v),
            Self::Gelu => math::gelu(simd, v),
            Self::GeluTanh => math::gelu_tanh(simd, v),
            Self::Erf => math::erf(simd, v),
        }
    }
}

impl TryFrom<u32> for Unary {
    type Error = KernelFailure;

    fn try_from(value: u32) -> Result<Self, KernelFailure> {
        let known = Self::ALL.into_iter().find(|operation| *operation as u32 == value);
        known.ok_or_else(|| KernelFailure::new(format!("unary operation {value} is unknown, expected 0 to 11")))
    }
}

params! {
    /// Parameters of [`UNARY`].
    pub struct UnaryParams {
        /// A [`Unary`], as `u32`.
        pub operation: u32,
        /// The output's shape.
        pub shape: Shape,
        /// Where the operand's elements lie.
        pub from: View,
    }
}

kernels! {
    /// `out[shape] = op(from[view])`, f32.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | the operand |
    /// | 1 | write | out, contiguous |
    ///
    /// Extent `[elements, 1, 1]`: an item is an element of the output.
    UNARY = "unary", floats(Map);
}

/// Elements gathered at once when the operand is not contiguous.
const BLOCK: usize = 256;

struct Map;

impl Kernel for Map {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Write];
    type Params = UnaryParams;
    const GPU: Gpu = Gpu::clamped(
        texts![
            "../wgsl/failure.wgsl",
            "../wgsl/bits.wgsl",
            "../wgsl/math.wgsl",
            "unary_apply.wgsl",
            "../wgsl/view.wgsl",
            "unary.wgsl"
        ],
        by_256,
        &[
            "the operation is unknown, expected 0 to 11",
            "the output's length is not that of the shape",
            "the operand reaches outside of its binding",
        ],
    );

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: UnaryParams, call: &mut HostCall<'_>) -> Outcome {
        let operation = Unary::try_from(params.operation)?;
        expect_extent("elements of the shape", call, elements(params.shape))?;
        let from = Operand::new("the operand", params.from, params.shape, call.inputs.get::<f32>(0)?)?;
        let out = call.outputs.get::<f32>(0)?;
        expect_len("out", out.len(), &[call.items.len()])?;
        let mut start = call.items.start as usize;
        let mut buffer = [0.0; BLOCK];
        for out in out.chunks_mut(BLOCK) {
            let from = from.block(start, &mut buffer[..out.len()]);
            operation.map(simd, from, out);
            start += out.len();
        }
        Ok(())
    }
}
