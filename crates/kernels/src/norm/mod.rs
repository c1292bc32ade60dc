//! Layer normalisation, alone and after a residual sum, with and without bias, and by the root mean square.

pub mod reference;

use crate::gpu::{Gpu, one_each, texts};
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernels};
use crate::params::params;
use crate::simd::{Simd, rows};
use thalweg_hal::{Access, HostCall};

params! {
    /// Parameters of each kernel here.
    pub struct Params {
        /// Length of a row, at least 1.
        pub width: u32,
        /// Added to the variance, so that a constant row is not divided by 0.
        pub epsilon: f32,
    }
}

kernels! {
    /// `out[r, i] = (x[r, i] - mean_r) / sqrt(variance_r + epsilon) * weight[i] + bias[i]`, f32, with the variance
    /// divided by the width. In two passes, so that a mean far from 0 costs no precision.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x `[n, width]` |
    /// | 1 | read | weight `[width]` |
    /// | 2 | read | bias `[width]` |
    /// | 3 | write | out `[n, width]` |
    ///
    /// Extent `[n, 1, 1]`: an item is a row.
    LAYER_NORM = "layer_norm", floats(Norm<PLAIN>);

    /// [`LAYER_NORM`] with a bias of 0.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x `[n, width]` |
    /// | 1 | read | weight `[width]` |
    /// | 2 | write | out `[n, width]` |
    ///
    /// Extent `[n, 1, 1]`: an item is a row.
    LAYER_NORM_UNBIASED = "layer_norm_unbiased", floats(Norm<UNBIASED>);

    /// `out[r, i] = x[r, i] / sqrt(mean_j(x[r, j]^2) + epsilon) * weight[i]`, f32 (Zhang and Sennrich, "Root Mean
    /// Square Layer Normalization", 2019). Bindings and extent of [`LAYER_NORM_UNBIASED`].
    RMS_NORM = "rms_norm", floats(Norm<RMS>);

    /// [`LAYER_NORM`] of `x + residual`.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x `[n, width]` |
    /// | 1 | read | residual `[n, width]` |
    /// | 2 | read | weight `[width]` |
    /// | 3 | read | bias `[width]` |
    /// | 4 | write | out `[n, width]` |
    ///
    /// Extent `[n, 1, 1]`: an item is a row.
    ADD_LAYER_NORM = "add_layer_norm", floats(Norm<ADDED>);
}

macro_rules! module {
    ($operands:literal) => {
        texts![
            "../wgsl/failure.wgsl",
            "../wgsl/by_rows.wgsl",
            "../wgsl/bits.wgsl",
            "../wgsl/rows.wgsl",
            $operands,
            "norm.wgsl"
        ]
    };
}

/// What differs between the kernels: of [`ADDED`], [`UNBIASED`] and [`RMS`], those that apply.
struct Norm<const KIND: u32>;

const PLAIN: u32 = 0;
/// A residual is added before.
const ADDED: u32 = 1;
/// There is no bias.
const UNBIASED: u32 = 2;
/// There is no bias, nor a mean that is subtracted.
const RMS: u32 = 3;

impl<const KIND: u32> Kernel for Norm<KIND> {
    const BINDINGS: &'static [Access] = match KIND {
        ADDED => &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write],
        PLAIN => &[Access::Read, Access::Read, Access::Read, Access::Write],
        _ => &[Access::Read, Access::Read, Access::Write],
    };
    type Params = Params;
    const GPU: Gpu = {
        const ALWAYS: &[(&str, f64)] = &[];
        let texts = match KIND {
            ADDED => module!("added.wgsl"),
            PLAIN => module!("plain.wgsl"),
            _ => module!("unbiased.wgsl"),
        };
        // SAFETY: the module goes on only if the width is not 0 and divides the length that the output and the operands
        // of as many rows have, if weight and bias are as long as a row, and only in rows that there are; it uses
        // elements 0 to width - 1 of its row. Its variables of the workgroup have an element for each index that an
        // invocation's number gives, written before it is read. `RMS` changes no index.
        unsafe {
            Gpu::checked(
                texts,
                one_each,
                &["the width is 0, must be at least 1", "the lengths of the operands contradict the parameters"],
            )
            .with(if KIND == RMS { &[("RMS", 1.0)] } else { ALWAYS })
        }
    };

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let width = expect_positive("width", params.width)?;
        let operands = Self::BINDINGS.len() - 1;
        let n = call.extent[0] as usize;
        let x = call.inputs.get::<f32>(0)?;
        let out = call.outputs.get::<f32>(0)?;
        expect_len("x", x.len(), &[n, width])?;
        expect_len("out", out.len(), &[call.items.len(), width])?;
        let first = call.items.start as usize * width;
        out.copy_from_slice(&x[first..first + out.len()]);
        if KIND == ADDED {
            let residual = call.inputs.get::<f32>(1)?;
            expect_len("residual", residual.len(), &[n, width])?;
            out.iter_mut().zip(&residual[first..]).for_each(|(out, residual)| *out += residual);
        }
        let vector = |what, at| {
            let vector = call.inputs.get::<f32>(at)?;
            expect_len(what, vector.len(), &[width]).map(|()| vector)
        };
        let (weight, bias) = match KIND {
            UNBIASED | RMS => (vector("weight", operands - 1)?, None),
            _ => (vector("weight", operands - 2)?, Some(vector("bias", operands - 1)?)),
        };
        for row in out.chunks_exact_mut(width) {
            let mean = if KIND == RMS { 0.0 } else { rows::sum(simd, row) / width as f32 };
            let variance = rows::squares(simd, row, mean) / width as f32;
            let scale = 1.0 / (variance + params.epsilon).sqrt();
            let values = row.iter_mut().zip(weight);
            match bias {
                Some(bias) => values.zip(bias).for_each(|((v, weight), bias)| *v = (*v - mean) * scale * weight + bias),
                None => values.for_each(|(v, weight)| *v = (*v - mean) * scale * weight),
            }
        }
        Ok(())
    }
}
