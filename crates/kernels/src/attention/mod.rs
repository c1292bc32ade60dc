//! Attention of packed sequences, each within itself.

mod head;
pub mod reference;

use crate::float16::{Half, HalfKernel};
use crate::gpu::{checked, text, word};
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernel};
use crate::packed::check_offsets;
use crate::scratch::Scratch;
use crate::simd::Simd;
use bytemuck::{Pod, Zeroable};
use head::{Head, Workspace};
use thalweg_hal::{Access, Groups, HostCall, StaticKernel, Wgsl};

/// Parameters of [`ATTENTION`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    /// Number of heads, at least 1.
    pub heads: u32,
    /// Width of a head, at least 1; `heads * head_dim` is w.
    pub head_dim: u32,
    /// Number of sequences.
    pub sequences: u32,
    /// What scores are multiplied with: usually `1 / sqrt(head_dim)`.
    pub scale: f32,
}

kernel! {
    /// `out[i] = softmax(scale * q[i] k^T) v` for each head, over the rows of i's own sequence; no mask. All f32 but
    /// the offsets.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | q, k and v side by side: `[n, 3 * w]`, each of the three with its heads side by side |
    /// | 1 | read | offsets `[sequences + 1]`, u32: rising from 0 to n, no sequence empty |
    /// | 2 | write | out `[n, w]` |
    ///
    /// Extent `[n, 1, 1]`: an item is a row of all heads. Working memory does not grow with the length of a sequence.
    /// Each call checks all offsets.
    ATTENTION, attention_on: Attention<false>
}

kernel! {
    /// [`ATTENTION`] for a `head_dim` that is a multiple of 4, for which a GPU loads four elements at once.
    ATTENTION_WIDE, attention_wide_on: Attention<true>
}

kernel! {
    /// [`ATTENTION`] with f16 for f32; its sums are f32.
    ATTENTION_F16, attention_f16_on: Half<Attention<false>>
}

kernel! {
    /// [`ATTENTION_WIDE`] with f16 for f32; its sums are f32.
    ATTENTION_WIDE_F16, attention_wide_f16_on: Half<Attention<true>>
}

/// The form of [`ATTENTION`], or of [`ATTENTION_F16`], that suits a width of heads best.
pub fn best(f16: bool, head_dim: usize) -> &'static StaticKernel {
    match (f16, head_dim.is_multiple_of(4)) {
        (false, false) => &ATTENTION,
        (false, true) => &ATTENTION_WIDE,
        (true, false) => &ATTENTION_F16,
        (true, true) => &ATTENTION_WIDE_F16,
    }
}

/// How many rows' state is kept at once, for each head.
const ROWS: usize = 256;

/// Rows of one head that a workgroup has.
const GROUP_ROWS: u32 = 16;

fn groups(extent: [u32; 3], params: &[u8]) -> [u32; 3] {
    Groups::folded(extent[0].div_ceil(GROUP_ROWS).saturating_mul(word(params, 0)))
}

macro_rules! form {
    ($scalar:ident, $operands:literal) => {
        // SAFETY: the module goes on only if the output's length is rows * heads * head_dim, and qkv's three times
        // that, and if there are sequences + 1 offsets; it uses rows, columns and offsets that there are, and a
        // sequence's rows only if its two offsets rise and are at most the number of rows. Its variables of the
        // workgroup have an element for each index that an invocation's number gives, written before it is read.
        unsafe {
            checked(
                text!($scalar: "../wgsl/failure.wgsl", "../wgsl/bits.wgsl", $operands, "attention.wgsl"),
                groups,
                &[
                    "heads and head_dim must be at least 1",
                    "head_dim must be a multiple of 4 for the wide form",
                    "the lengths of the operands contradict the parameters",
                    "the number of offsets contradicts the parameters",
                    "the offsets do not rise from 0 to the number of rows",
                ],
            )
        }
    };
}

struct Attention<const WIDE: bool>;

impl<const WIDE: bool> Kernel for Attention<WIDE> {
    const NAME: &'static str = if WIDE { "attention_wide" } else { "attention" };
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    type Params = Params;
    const WGSL: Wgsl = if WIDE { form!(f32, "wide.wgsl") } else { form!(f32, "any.wgsl") };

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let heads = expect_positive("heads", params.heads)?;
        let head_dim = expect_positive("head_dim", params.head_dim)?;
        let n = call.extent[0] as usize;
        let (qkv, offsets) = (call.inputs.get::<f32>(0)?, call.inputs.get::<u32>(1)?);
        let out = call.outputs.get::<f32>(0)?;
        expect_len("qkv", qkv.len(), &[n, 3, heads, head_dim])?;
        expect_len("out", out.len(), &[call.items.len(), heads, head_dim])?;
        check_offsets(offsets, params.sequences, n)?;

        let width = heads * head_dim;
        let mut scratch = Scratch::new(Workspace::len(ROWS, head_dim));
        let mut rest = out;
        let mut row = call.items.start as usize;
        // The sequence that `row` is in: the last one that starts at or before it.
        let mut sequence = offsets.partition_point(|offset| *offset as usize <= row).saturating_sub(1);
        while row < call.items.end as usize {
            let (start, end) = (offsets[sequence] as usize, offsets[sequence + 1] as usize);
            let rows = (end - row).min(call.items.end as usize - row).min(ROWS);
            let (out, left) = rest.split_at_mut(rows * width);
            for head in 0..heads {
                let head = Head {
                    sequence: &qkv[start * 3 * width..end * 3 * width],
                    width,
                    column: head * head_dim,
                    head_dim,
                    scale: params.scale,
                };
                head.attend(simd, row - start, rows, &mut Workspace::new(scratch.as_mut(), rows, head_dim), out);
            }
            rest = left;
            row += rows;
            sequence += usize::from(row == end);
        }
        Ok(())
    }
}

impl<const WIDE: bool> HalfKernel for Attention<WIDE> {
    const NAME: &'static str = if WIDE { "attention_wide_f16" } else { "attention_f16" };
    const INTEGERS: &'static [usize] = &[1];
    const WGSL: Wgsl = if WIDE { form!(f16, "wide.wgsl") } else { form!(f16, "any.wgsl") };
}
