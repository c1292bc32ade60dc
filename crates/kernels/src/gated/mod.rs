//! One half of a row through an activation, times the other: what a gated feed-forward block does between its two dense
//! layers (Shazeer, "GLU Variants Improve Transformer", 2020).

pub mod reference;

use crate::gpu::{Gpu, one_each, texts};
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernels};
use crate::linear::Activation;
use crate::params::params;
use crate::simd::Simd;
use thalweg_hal::{Access, HostCall};

params! {
    /// Parameters of [`GATED`].
    pub struct Params {
        /// Length of a row of the output, at least 1: half of a row of x.
        pub width: u32,
        /// An [`Activation`], as `u32`.
        pub activation: u32,
    }
}

kernels! {
    /// `out[r, i] = activation(x[r, i]) * x[r, width + i]`, f32.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x `[n, 2 * width]` |
    /// | 1 | write | out `[n, width]` |
    ///
    /// Extent `[n, 1, 1]`: an item is a row.
    GATED = "gated", floats(Gated);
}

struct Gated;

impl Kernel for Gated {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Write];
    type Params = Params;
    // SAFETY: the module goes on only if the width is not 0 and divides the output's length, and if x is twice as long,
    // and only in rows that there are; it uses elements 0 to 2 * width - 1 of its row of x, and 0 to width - 1 of that of
    // the output.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts![
                "../wgsl/failure.wgsl",
                "../wgsl/by_rows.wgsl",
                "../wgsl/bits.wgsl",
                "../wgsl/math.wgsl",
                "../wgsl/activation.wgsl",
                "gated.wgsl"
            ],
            one_each,
            &[
                "the width is 0, must be at least 1",
                "the activation is unknown, expected 0 to 6",
                "the lengths of the operands contradict the parameters",
            ],
        )
    };

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let width = expect_positive("width", params.width)?;
        let activation = Activation::try_from(params.activation)?;
        let x = call.inputs.get::<f32>(0)?;
        let out = call.outputs.get::<f32>(0)?;
        expect_len("x", x.len(), &[call.extent[0] as usize, 2, width])?;
        expect_len("out", out.len(), &[call.items.len(), width])?;
        let x = &x[call.items.start as usize * 2 * width..];
        for (x, out) in x.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, value) = x.split_at(width);
            activation.map(simd, gate, out);
            out.iter_mut().zip(value).for_each(|(out, value)| *out *= value);
        }
        Ok(())
    }
}
