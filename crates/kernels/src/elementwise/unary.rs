//! Operations on one operand.

use super::view::{Operand, Shape, View, elements};
use crate::gpu::{Gpu, by_256, texts};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, kernels};
use crate::numbered::numbered;
use crate::params::params;
use crate::simd::{Simd, math};
use thalweg_hal::{Access, HostCall};

numbered! {
    /// An operation on one f32. NaN stays NaN.
    pub enum Unary, "unary operation" {
        /// `-v`
        Neg,
        /// `|v|`
        Abs,
        /// `e^v`, within 1.5 ulp
        Exp,
        /// The natural logarithm, as the host's library computes it; one element at a time.
        Ln,
        /// The square root.
        Sqrt,
        /// `1 / v`
        Recip,
        /// `tanh v`, within 2 ulp
        Tanh,
        /// `max(v, 0)`
        Relu,
        /// `v / (1 + e^-v)`
        Silu,
        /// `v / 2 * (1 + erf(v / sqrt(2)))`
        Gelu,
        /// `v / 2 * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 * v^3)))`
        GeluTanh,
        /// The error function, within 2 ulp
        Erf,
        /// `sin v`, v in radians: within 1.2e-7 on the host and 2e-7 on a GPU, for any v. NaN for an infinity.
        Sin,
        /// `cos v`, as [`Sin`](Self::Sin).
        Cos,
        /// `1 / sqrt(v)`, within 2 ulp
        Rsqrt,
        /// `1 / (1 + e^-v)`, within 4 ulp
        Sigmoid,
        /// The greatest whole number that is not above v.
        Floor,
        /// The least whole number that is not below v.
        Ceil,
        /// The nearest whole number; of two, the even one.
        Round,
    }
}

impl Unary {
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
            Self::Sin => math::sin(simd, v),
            Self::Cos => math::cos(simd, v),
            Self::Rsqrt => simd.div(simd.splat(1.0), simd.sqrt(v)),
            Self::Sigmoid => math::sigmoid(simd, v),
            Self::Floor => math::floor(simd, v),
            Self::Ceil => math::ceil(simd, v),
            Self::Round => simd.round(v),
        }
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
            "../wgsl/circle.wgsl",
            "unary_apply.wgsl",
            "../wgsl/view.wgsl",
            "unary.wgsl"
        ],
        by_256,
        &[
            "the operation is unknown",
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
