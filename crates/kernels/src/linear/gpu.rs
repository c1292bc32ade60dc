//! The layer's forms for GPUs, and which of them suits a call.

use super::{LINEAR, LINEAR_F16, LINEAR_FEW, LINEAR_FEW_F16, LINEAR_FEW_WIDE, LINEAR_FEW_WIDE_F16, LINEAR_WIDE};
use super::{LINEAR_WIDE_F16, PANEL};
use crate::gpu::{checked, text, word};
use thalweg_hal::{Groups, KernelSource, Wgsl};

/// Rows and outputs of a workgroup of the form for many rows.
const MANY: u32 = 64;
/// Rows of a workgroup of the form for few rows; its outputs are a panel.
const FEW_ROWS: u32 = 8;
/// The form for many rows needs this many workgroups to keep a large device busy.
const ENOUGH: usize = 128;

/// The form of [`LINEAR`], or of [`LINEAR_F16`], that suits a number of rows, inputs and outputs best. All compute the
/// same; on the host with the same bits.
pub fn best(f16: bool, rows: usize, inputs: usize, outputs: usize) -> &'static KernelSource {
    let groups = rows.div_ceil(MANY as usize).saturating_mul(outputs.div_ceil(MANY as usize));
    let wide = inputs.is_multiple_of(4) && outputs.is_multiple_of(4);
    match (f16, groups < ENOUGH, wide) {
        (false, false, false) => &LINEAR,
        (false, true, false) => &LINEAR_FEW,
        (false, false, true) => &LINEAR_WIDE,
        (false, true, true) => &LINEAR_FEW_WIDE,
        (true, false, false) => &LINEAR_F16,
        (true, true, false) => &LINEAR_FEW_F16,
        (true, false, true) => &LINEAR_WIDE_F16,
        (true, true, true) => &LINEAR_FEW_WIDE_F16,
    }
}

fn many_groups(extent: [u32; 3], params: &[u8]) -> [u32; 3] {
    Groups::folded(extent[0].div_ceil(MANY).saturating_mul(word(params, 1).div_ceil(MANY)))
}

fn few_groups(extent: [u32; 3], params: &[u8]) -> [u32; 3] {
    Groups::folded(extent[0].div_ceil(FEW_ROWS).saturating_mul(word(params, 1).div_ceil(PANEL as u32)))
}

macro_rules! layer {
    ($scalar:ident: $operands:literal, $form:literal) => {
        text!($scalar: "../wgsl/failure.wgsl", "../wgsl/bits.wgsl", "../wgsl/math.wgsl", $operands, "linear.wgsl", $form)
    };
}

const fn with_text(text: &'static str, few: bool) -> Wgsl {
    let groups = if few { few_groups } else { many_groups };
    checked(
        text,
        groups,
        &[
            "inputs and outputs must be at least 1",
            "the activation is unknown, expected 0 to 5",
            "inputs and outputs must be multiples of 4 for the wide form",
            "the lengths of the operands contradict the parameters",
        ],
    )
}

pub(super) const fn form(few: bool, wide: bool) -> Wgsl {
    let text = match (few, wide) {
        (false, false) => layer!(f32: "any.wgsl", "many.wgsl"),
        (true, false) => layer!(f32: "any.wgsl", "few.wgsl"),
        (false, true) => layer!(f32: "wide.wgsl", "many.wgsl"),
        (true, true) => layer!(f32: "wide.wgsl", "few.wgsl"),
    };
    with_text(text, few)
}

pub(super) const fn form_f16(few: bool, wide: bool) -> Wgsl {
    let text = match (few, wide) {
        (false, false) => layer!(f16: "any.wgsl", "many.wgsl"),
        (true, false) => layer!(f16: "any.wgsl", "few.wgsl"),
        (false, true) => layer!(f16: "wide.wgsl", "many.wgsl"),
        (true, true) => layer!(f16: "wide.wgsl", "few.wgsl"),
    };
    with_text(text, few)
}
