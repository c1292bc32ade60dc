//! The layer's forms for GPUs, and which of them suits a call.

use super::{LINEAR, LINEAR_F16, LINEAR_FEW, LINEAR_FEW_F16, LINEAR_FEW_WIDE, LINEAR_FEW_WIDE_F16, LINEAR_SOME};
use super::{LINEAR_SOME_F16, LINEAR_SOME_WIDE, LINEAR_SOME_WIDE_F16, LINEAR_WIDE, LINEAR_WIDE_F16, PANEL};
use crate::gpu::{Text, checked_with, text, word};
use thalweg_hal::{Groups, StaticKernel, Wgsl};

/// Rows of a workgroup of the form for few rows; its outputs are a panel.
pub(super) const FEW: u32 = 8;
/// Rows of a workgroup of the form between; its outputs are a panel.
pub(super) const SOME: u32 = 32;
/// Rows of a workgroup of the form for many rows, and its outputs.
pub(super) const MANY: u32 = 64;
/// The form for many rows needs this many workgroups to keep a large device busy.
const ENOUGH: usize = 128;
/// From this many workgroups on, the form between is taken instead of that for few rows. Measured on an H200 with
/// MiniLM: it does more for several threads than it costs one (docs/proof.md), which reads the weights four times but
/// from more workgroups.
const SOME_GROUPS: usize = 32;

/// The form of [`LINEAR`], or of [`LINEAR_F16`], that suits a number of rows, inputs and outputs best. All compute the
/// same; on the host with the same bits.
pub fn best(f16: bool, rows: usize, inputs: usize, outputs: usize) -> &'static StaticKernel {
    let groups = |rows_each: u32, outputs_each: usize| {
        rows.div_ceil(rows_each as usize).saturating_mul(outputs.div_ceil(outputs_each))
    };
    let wide = inputs.is_multiple_of(4) && outputs.is_multiple_of(4);
    if groups(MANY, MANY as usize) >= ENOUGH {
        match (f16, wide) {
            (false, false) => &LINEAR,
            (false, true) => &LINEAR_WIDE,
            (true, false) => &LINEAR_F16,
            (true, true) => &LINEAR_WIDE_F16,
        }
    } else if rows > FEW as usize && groups(SOME, PANEL) >= SOME_GROUPS {
        match (f16, wide) {
            (false, false) => &LINEAR_SOME,
            (false, true) => &LINEAR_SOME_WIDE,
            (true, false) => &LINEAR_SOME_F16,
            (true, true) => &LINEAR_SOME_WIDE_F16,
        }
    } else {
        match (f16, wide) {
            (false, false) => &LINEAR_FEW,
            (false, true) => &LINEAR_FEW_WIDE,
            (true, false) => &LINEAR_FEW_F16,
            (true, true) => &LINEAR_FEW_WIDE_F16,
        }
    }
}

/// A workgroup for each so many rows and outputs.
fn groups<const ROWS: u32, const OUTPUTS: u32>(extent: [u32; 3], params: &[u8]) -> [u32; 3] {
    Groups::folded(extent[0].div_ceil(ROWS).saturating_mul(word(params, 1).div_ceil(OUTPUTS)))
}

macro_rules! layer {
    ($scalar:ident: $operands:literal, $form:literal) => {
        text!($scalar: "../wgsl/failure.wgsl", "../wgsl/bits.wgsl", "../wgsl/math.wgsl", $operands, "linear.wgsl", $form)
    };
}

/// `rows` is [`FEW`], [`SOME`] or [`MANY`].
///
/// # Safety
/// - The text is one of `layer!`'s, of `many.wgsl` for [`MANY`] rows and of `few.wgsl` for fewer.
const unsafe fn with_text(text: Text, rows: u32) -> Wgsl {
    const LINE: u32 = PANEL as u32;
    const FAILURES: &[&str] = &[
        "inputs and outputs must be at least 1",
        "the activation is unknown, expected 0 to 5",
        "inputs and outputs must be multiples of 4 for the wide form",
        "the lengths of the operands contradict the parameters",
    ];
    // SAFETY: the modules go on only if the lengths are rows * inputs, panels * inputs * 32, outputs and rows *
    // outputs, and for the wide forms only if inputs and outputs are multiples of 4; they use rows, inputs and outputs
    // that there are, or the last of them. The stages of `many.wgsl` have an element for each index that an
    // invocation's number gives; of `parts`, in `few.wgsl`, each of GROUPS * PARTS = 32 has 32. All are written before
    // they are read.
    unsafe {
        match rows {
            FEW => checked_with(text, &[("GROUPS", 1.0)], groups::<FEW, LINE>, FAILURES),
            SOME => checked_with(text, &[("GROUPS", 4.0)], groups::<SOME, LINE>, FAILURES),
            _ => checked_with(text, &[], groups::<MANY, MANY>, FAILURES),
        }
    }
}

pub(super) const fn form(rows: u32, wide: bool) -> Wgsl {
    let text = match (rows, wide) {
        (MANY, false) => layer!(f32: "any.wgsl", "many.wgsl"),
        (_, false) => layer!(f32: "any.wgsl", "few.wgsl"),
        (MANY, true) => layer!(f32: "wide.wgsl", "many.wgsl"),
        (_, true) => layer!(f32: "wide.wgsl", "few.wgsl"),
    };
    // SAFETY: as the match above says.
    unsafe { with_text(text, rows) }
}

pub(super) const fn form_f16(rows: u32, wide: bool) -> Wgsl {
    let text = match (rows, wide) {
        (MANY, false) => layer!(f16: "any.wgsl", "many.wgsl"),
        (_, false) => layer!(f16: "any.wgsl", "few.wgsl"),
        (MANY, true) => layer!(f16: "wide.wgsl", "many.wgsl"),
        (_, true) => layer!(f16: "wide.wgsl", "few.wgsl"),
    };
    // SAFETY: as the match above says.
    unsafe { with_text(text, rows) }
}
