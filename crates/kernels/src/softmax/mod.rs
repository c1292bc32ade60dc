//! Softmax over the last axis.

pub mod reference;

use crate::gpu::{Gpu, one_each, texts};
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernels};
use crate::params::params;
use crate::simd::{Simd, math, rows};
use thalweg_hal::{Access, HostCall};

params! {
    /// Parameters of [`SOFTMAX`].
    pub struct Params {
        /// Length of a row, at least 1.
        pub width: u32,
    }
}

kernels! {
    /// `out[r, i] = exp(x[r, i] - max_r) / sum_j exp(x[r, j] - max_r)`, f32. A row of nothing but -inf, and one with
    /// NaN or +inf, becomes NaN, as in PyTorch.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x `[n, width]` |
    /// | 1 | write | out `[n, width]` |
    ///
    /// Extent `[n, 1, 1]`: an item is a row.
    SOFTMAX = "softmax", floats(Softmax);
}

struct Softmax;

impl Kernel for Softmax {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Write];
    type Params = Params;
    // SAFETY: the module goes on only if the width is not 0 and divides both lengths, which are the same, and only
    // in rows that there are; it uses elements 0 to width - 1 of its row. Its variables of the workgroup have an
    // element for each index that an invocation's number gives, written before it is read.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts![
                "../wgsl/failure.wgsl",
                "../wgsl/by_rows.wgsl",
                "../wgsl/bits.wgsl",
                "../wgsl/rows.wgsl",
                "../wgsl/math.wgsl",
                "softmax.wgsl"
            ],
            one_each,
            &["the width is 0, must be at least 1", "the lengths of the operands contradict the parameters"],
        )
    };

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let width = expect_positive("width", params.width)?;
        let x = call.inputs.get::<f32>(0)?;
        let out = call.outputs.get::<f32>(0)?;
        expect_len("x", x.len(), &[call.extent[0] as usize, width])?;
        expect_len("out", out.len(), &[call.items.len(), width])?;
        let x = &x[call.items.start as usize * width..];
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let greatest = simd.splat(rows::greatest(simd, x));
            for (x, out) in x.chunks(S::LANES).zip(out.chunks_mut(S::LANES)) {
                if out.len() == S::LANES {
                    simd.store(math::exp(simd, simd.sub(simd.load(x), greatest)), out);
                } else {
                    let x = simd.load_partial(x, 0.0);
                    simd.store_partial(math::exp(simd, simd.sub(x, greatest)), out);
                }
            }
            let sum = rows::sum(simd, out);
            for out in out {
                *out /= sum;
            }
        }
        Ok(())
    }
}
