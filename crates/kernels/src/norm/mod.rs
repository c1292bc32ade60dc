//! Layer normalisation, alone and after a residual sum.

pub mod reference;

use crate::float16::{Half, HalfKernel};
use crate::gpu::{checked, one_each, text};
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernel};
use crate::simd::{Simd, rows};
use bytemuck::{Pod, Zeroable};
use thalweg_hal::{Access, HostCall, Wgsl};

/// Parameters of [`LAYER_NORM`] and [`ADD_LAYER_NORM`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    /// Length of a row, at least 1.
    pub width: u32,
    /// Added to the variance, so that a constant row is not divided by 0.
    pub epsilon: f32,
}

kernel! {
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
    LAYER_NORM, layer_norm_on: LayerNorm
}

kernel! {
    /// [`LAYER_NORM`] with f16 for f32; its sums are f32.
    LAYER_NORM_F16, layer_norm_f16_on: Half<LayerNorm>
}

kernel! {
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
    ADD_LAYER_NORM, add_layer_norm_on: AddLayerNorm
}

kernel! {
    /// [`ADD_LAYER_NORM`] with f16 for f32; its sums are f32.
    ADD_LAYER_NORM_F16, add_layer_norm_f16_on: Half<AddLayerNorm>
}

macro_rules! form {
    ($scalar:ident, $operands:literal) => {
        // SAFETY: the module goes on only if the width is not 0 and divides the length that the output and the operands
        // of as many rows have, if weight and bias are as long as a row, and only in rows that there are; it uses
        // elements 0 to width - 1 of its row. Its variables of the workgroup have an element for each index that an
        // invocation's number gives, written before it is read.
        unsafe {
            checked(
                text!(
                    $scalar: "../wgsl/failure.wgsl", "../wgsl/bits.wgsl", "../wgsl/rows.wgsl", $operands, "norm.wgsl"
                ),
                one_each,
                &["the width is 0, must be at least 1", "the lengths of the operands contradict the parameters"],
            )
        }
    };
}

struct LayerNorm;

impl Kernel for LayerNorm {
    const NAME: &'static str = "layer_norm";
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    type Params = Params;
    const WGSL: Wgsl = form!(f32, "plain.wgsl");

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let width = expect_positive("width", params.width)?;
        let x = call.inputs.get::<f32>(0)?;
        let (weight, bias) = (call.inputs.get::<f32>(1)?, call.inputs.get::<f32>(2)?);
        let out = call.outputs.get::<f32>(0)?;
        expect_len("x", x.len(), &[call.extent[0] as usize, width])?;
        expect_len("weight", weight.len(), &[width])?;
        expect_len("bias", bias.len(), &[width])?;
        expect_len("out", out.len(), &[call.items.len(), width])?;
        let x = &x[call.items.start as usize * width..];
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            out.copy_from_slice(x);
            normalise(simd, out, weight, bias, params.epsilon);
        }
        Ok(())
    }
}

impl HalfKernel for LayerNorm {
    const NAME: &'static str = "layer_norm_f16";
    const WGSL: Wgsl = form!(f16, "plain.wgsl");
}

struct AddLayerNorm;

impl Kernel for AddLayerNorm {
    const NAME: &'static str = "add_layer_norm";
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];
    type Params = Params;
    const WGSL: Wgsl = form!(f32, "added.wgsl");

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let width = expect_positive("width", params.width)?;
        let (x, residual) = (call.inputs.get::<f32>(0)?, call.inputs.get::<f32>(1)?);
        let (weight, bias) = (call.inputs.get::<f32>(2)?, call.inputs.get::<f32>(3)?);
        let out = call.outputs.get::<f32>(0)?;
        let n = call.extent[0] as usize;
        expect_len("x", x.len(), &[n, width])?;
        expect_len("residual", residual.len(), &[n, width])?;
        expect_len("weight", weight.len(), &[width])?;
        expect_len("bias", bias.len(), &[width])?;
        expect_len("out", out.len(), &[call.items.len(), width])?;
        let first = call.items.start as usize * width;
        let operands = x[first..].chunks_exact(width).zip(residual[first..].chunks_exact(width));
        for ((x, residual), out) in operands.zip(out.chunks_exact_mut(width)) {
            for ((out, x), residual) in out.iter_mut().zip(x).zip(residual) {
                *out = x + residual;
            }
            normalise(simd, out, weight, bias, params.epsilon);
        }
        Ok(())
    }
}

impl HalfKernel for AddLayerNorm {
    const NAME: &'static str = "add_layer_norm_f16";
    const WGSL: Wgsl = form!(f16, "added.wgsl");
}

/// Normalises one row in place.
#[inline(always)]
fn normalise<S: Simd>(simd: S, row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let width = row.len() as f32;
    let mean = rows::sum(simd, row) / width;
    let variance = rows::squares(simd, row, mean) / width;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for ((value, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *value = (*value - mean) * scale * weight + bias;
    }
}
