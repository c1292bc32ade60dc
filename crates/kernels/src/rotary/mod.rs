//! Rotary positions (Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021), as pairs of the
//! first and the second half of a head.

pub mod reference;

use crate::gpu::{Gpu, one_each, texts};
use crate::heads::Heads;
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernels};
use crate::params::params;
use crate::simd::Simd;
use thalweg_hal::{Access, HostCall, KernelFailure};

params! {
    /// Parameters of [`ROTARY`].
    pub struct Params {
        /// Number of heads, at least 1.
        pub heads: u32,
        /// Width of a head.
        pub head_dim: u32,
        /// How many columns of a head are turned, an even number from 2 to `head_dim`; the rest is copied.
        pub turned: u32,
        /// Rows of the table.
        pub positions: u32,
        /// Where the operand lies.
        pub x: Heads,
    }
}

kernels! {
    /// Turns each pair of columns i and i + h, where h is half of `turned`, by the angle that the table has for the
    /// row's position: `out[i] = x[i] * cos - x[i + h] * sin` and `out[i + h] = x[i + h] * cos + x[i] * sin`. f32, and
    /// the table f32 whatever the elements are. A position outside of the table fails the kernel.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x: a view of `[n, heads, head_dim]` |
    /// | 1 | read | table `[positions, turned]`, f32: the cosines of a position, then its sines |
    /// | 2 | read | positions `[n]`, u32 |
    /// | 3 | write | out `[n, heads, head_dim]` |
    ///
    /// Extent `[n, 1, 1]`: an item is a row of all heads.
    ROTARY = "rotary", floats(Rotary);
}

struct Rotary;

impl Kernel for Rotary {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    const FIXED: &'static [usize] = &[1, 2];
    type Params = Params;
    // SAFETY: the module goes on only if every element of x, as the view of so many rows says, is inside of its
    // binding, if the table's length is positions * turned, where turned is even and at most head_dim, and if the
    // output's is n
    // * heads * head_dim, only in rows that there are, and only if its own position is less than the table's rows. It
    // uses columns 0 to head_dim - 1 of heads that there are, and 0 to turned - 1 of the table's row.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts!["../wgsl/failure.wgsl", "../wgsl/by_rows.wgsl", "../wgsl/heads.wgsl", "rotary.wgsl"],
            one_each,
            &[
                "heads must be at least 1, and what is turned an even number from 2 to head_dim",
                "the lengths of the operands contradict the parameters",
                "a position is outside of the table",
            ],
        )
    };

    #[inline(always)]
    fn run<S: Simd>(_: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let n = call.extent[0] as usize;
        let heads = expect_positive("heads", params.heads)?;
        let (head_dim, turned) = (params.head_dim as usize, params.turned as usize);
        if turned == 0 || turned % 2 == 1 || turned > head_dim {
            let message = format!("{turned} columns of {head_dim} are to be turned, must be an even number of them");
            return Err(KernelFailure::new(message));
        }
        let x = call.inputs.get::<f32>(0)?;
        let (table, positions) = (call.inputs.get::<f32>(1)?, call.inputs.get::<u32>(2)?);
        let out = call.outputs.get::<f32>(0)?;
        params.x.check("x", [n, heads, head_dim], x.len())?;
        expect_len("the table", table.len(), &[params.positions as usize, turned])?;
        expect_len("the positions", positions.len(), &[n])?;
        expect_len("out", out.len(), &[call.items.len(), heads, head_dim])?;
        for (item, out) in call.items.clone().zip(out.chunks_exact_mut(heads * head_dim)) {
            let (item, position) = (item as usize, positions[item as usize] as usize);
            let Some(angles) = table.chunks_exact(turned).nth(position) else {
                let rows = params.positions;
                let message = format!("position {position} of row {item} is outside of a table of {rows} rows");
                return Err(KernelFailure::new(message));
            };
            let (cosines, sines) = angles.split_at(turned / 2);
            for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
                let x = &params.x.from(x, item, head)[..head_dim];
                let (pairs, rest) = x.split_at(turned);
                let (low, high) = pairs.split_at(turned / 2);
                let (out, out_rest) = out.split_at_mut(turned);
                let (out_low, out_high) = out.split_at_mut(turned / 2);
                out_rest.copy_from_slice(rest);
                let angles = cosines.iter().zip(sines);
                let outs = out_low.iter_mut().zip(out_high);
                for (((low, high), (cosine, sine)), (out_low, out_high)) in low.iter().zip(high).zip(angles).zip(outs) {
                    *out_low = low * cosine - high * sine;
                    *out_high = high * cosine + low * sine;
                }
            }
        }
        Ok(())
    }
}
