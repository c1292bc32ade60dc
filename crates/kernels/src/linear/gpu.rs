//! The layer's forms for GPUs, and which of them suits a call.

use super::{LINEAR, LINEAR_FEW, LINEAR_FEW_WIDE, LINEAR_SOME, LINEAR_SOME_WIDE, LINEAR_WIDE, PANEL};
use crate::Kernels;
use crate::gpu::{Gpu, texts, word};
use thalweg_hal::Groups;

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

/// The form of [`LINEAR`] that suits a number of rows, inputs and outputs best. All compute the same; on the host with
/// the same bits.
pub fn best(rows: usize, inputs: usize, outputs: usize) -> &'static Kernels {
    let groups = |rows_each: u32, outputs_each: usize| {
        rows.div_ceil(rows_each as usize).saturating_mul(outputs.div_ceil(outputs_each))
    };
    let [any, wide] = if groups(MANY, MANY as usize) >= ENOUGH {
        [&LINEAR, &LINEAR_WIDE]
    } else if rows > FEW as usize && groups(SOME, PANEL) >= SOME_GROUPS {
        [&LINEAR_SOME, &LINEAR_SOME_WIDE]
    } else {
        [&LINEAR_FEW, &LINEAR_FEW_WIDE]
    };
    if inputs.is_multiple_of(4) && outputs.is_multiple_of(4) { wide } else { any }
}

/// A workgroup for each so many rows and outputs.
fn groups<const ROWS: u32, const OUTPUTS: u32>(extent: [u32; 3], params: &[u8]) -> [u32; 3] {
    Groups::folded(extent[0].div_ceil(ROWS).saturating_mul(word(params, 1).div_ceil(OUTPUTS)))
}

macro_rules! layer {
    ($operands:literal, $form:literal) => {
        texts![
            "../wgsl/failure.wgsl",
            "../wgsl/bits.wgsl",
            "../wgsl/math.wgsl",
            "../wgsl/activation.wgsl",
            $operands,
            "linear.wgsl",
            $form
        ]
    };
}

/// The forms for `rows`, one of [`FEW`], [`SOME`] and [`MANY`].
pub(super) const fn form(rows: u32, wide: bool) -> Gpu {
    const LINE: u32 = PANEL as u32;
    const FAILURES: &[&str] = &[
        "inputs and outputs must be at least 1",
        "the activation is unknown, expected 0 to 6",
        "inputs and outputs must be multiples of 4 for the wide form",
        "the lengths of the operands contradict the parameters",
    ];
    let texts = match (rows, wide) {
        (MANY, false) => layer!("any.wgsl", "many.wgsl"),
        (_, false) => layer!("any.wgsl", "few.wgsl"),
        (MANY, true) => layer!("wide.wgsl", "many.wgsl"),
        (_, true) => layer!("wide.wgsl", "few.wgsl"),
    };
    // SAFETY: the modules go on only if the lengths are rows * inputs, panels * inputs * 32, outputs and rows *
    // outputs, and for the wide forms only if inputs and outputs are multiples of 4; they use rows, inputs and outputs
    // that there are, or the last of them. The stages of `many.wgsl` have an element for each index that an
    // invocation's number gives; of `parts`, in `few.wgsl`, each of GROUPS * PARTS = 32 has 32. All are written before
    // they are read.
    unsafe {
        match rows {
            FEW => Gpu::checked(texts, groups::<FEW, LINE>, FAILURES).with(&[("GROUPS", 1.0)]),
            SOME => Gpu::checked(texts, groups::<SOME, LINE>, FAILURES).with(&[("GROUPS", 4.0)]),
            _ => Gpu::checked(texts, groups::<MANY, MANY>, FAILURES),
        }
    }
}
