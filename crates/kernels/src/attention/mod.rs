//! Attention of packed sequences, each within itself.

mod head;
pub mod reference;

use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernel};
use crate::packed::check_offsets;
use crate::scratch::Scratch;
use crate::simd::Simd;
use bytemuck::{Pod, Zeroable};
use head::{Head, Workspace};
use thalweg_hal::{Access, HostCall};

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
    ATTENTION, attention_on: Attention
}

/// Rows whose state is kept at once, for each head.
const ROWS: usize = 256;

struct Attention;

impl Kernel for Attention {
    const NAME: &'static str = "attention";
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    type Params = Params;

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let heads = expect_positive("heads", params.heads)?;
        let head_dim = expect_positive("head_dim", params.head_dim)?;
        let n = call.extent[0] as usize;
        let (qkv, offsets) = (call.inputs.get::<f32>(0)?, call.inputs.get::<u32>(1)?);
        let out = call.outputs.get::<f32>(2)?;
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
