//! Attention of packed sequences, each within itself.

mod head;
pub mod reference;

use crate::Kernels;
use crate::gpu::{Gpu, texts, word};
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernels};
use crate::packed::check_offsets;
use crate::params::params;
use crate::scratch::Scratch;
use crate::simd::Simd;
use head::{Head, Workspace};
use thalweg_hal::{Access, Groups, HostCall};

params! {
    /// Parameters of [`ATTENTION`].
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
}

kernels! {
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
    ATTENTION = "attention", floats(Attention<false>);

    /// [`ATTENTION`] for a `head_dim` that is a multiple of 4, for which a GPU loads four elements at once.
    ATTENTION_WIDE = "attention_wide", floats(Attention<true>);
}

/// The form of [`ATTENTION`] that suits a width of heads best.
pub fn best(head_dim: usize) -> &'static Kernels {
    if head_dim.is_multiple_of(4) { &ATTENTION_WIDE } else { &ATTENTION }
}

/// How many rows' state is kept at once, for each head.
const ROWS: usize = 256;

/// Rows of one head that a workgroup has.
const GROUP_ROWS: u32 = 16;

fn groups(extent: [u32; 3], params: &[u8]) -> [u32; 3] {
    Groups::folded(extent[0].div_ceil(GROUP_ROWS).saturating_mul(word(params, 0)))
}

macro_rules! module {
    ($operands:literal) => {
        texts!["../wgsl/failure.wgsl", "../wgsl/bits.wgsl", $operands, "attention.wgsl"]
    };
}

struct Attention<const WIDE: bool>;

impl<const WIDE: bool> Kernel for Attention<WIDE> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const FIXED: &'static [usize] = &[1];
    type Params = Params;
    // SAFETY: the module goes on only if the output's length is rows * heads * head_dim, and qkv's three times
    // that, and if there are sequences + 1 offsets; it uses rows, columns and offsets that there are, and a
    // sequence's rows only if its two offsets rise and are at most the number of rows. Its variables of the
    // workgroup have an element for each index that an invocation's number gives, written before it is read.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            if WIDE { module!("wide.wgsl") } else { module!("any.wgsl") },
            groups,
            &[
                "heads and head_dim must be at least 1",
                "head_dim must be a multiple of 4 for the wide form",
                "the lengths of the operands contradict the parameters",
                "the number of offsets contradicts the parameters",
                "the offsets do not rise from 0 to the number of rows",
            ],
        )
    };

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
