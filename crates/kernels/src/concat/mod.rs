//! Several operands one after the other, along an axis.

pub mod reference;

use crate::gpu::{Gpu, by_256, texts};
use crate::kernel::{Kernel, Outcome, expect_len, kernels};
use crate::params::params;
use crate::simd::Simd;
use bytemuck::Pod;
use std::marker::PhantomData;
use thalweg_hal::{Access, HostCall, KernelFailure};

/// The most operands of one dispatch.
pub const MAX_PIECES: usize = 7;

params! {
    /// Parameters of [`CONCAT`]: row `r` of operand `i` is the `widths[i]` elements from
    /// `offsets[i] + r * row_strides[i]` on. What is before the axis is the rows, and the axis with all behind it the
    /// width.
    pub struct Params {
        /// The first element of each operand.
        pub offsets: [u32; MAX_PIECES],
        /// From one row of an operand to its next.
        pub row_strides: [u32; MAX_PIECES],
        /// The length of a row of each operand; 0 for a binding that is not used.
        pub widths: [u32; MAX_PIECES],
    }
}

kernels! {
    /// Each row of the output is those of the operands one after the other, elements of 4 bytes of any type, or of 2.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 to 6 | read | the operands; any for one of width 0 |
    /// | 7 | write | out `[rows, sum of the widths]` |
    ///
    /// Extent `[elements, 1, 1]`: an item is an element of the output.
    CONCAT = "concat", bits(Concat);
}

struct Concat<T>(PhantomData<T>);

impl<T: Pod> Kernel for Concat<T> {
    const BINDINGS: &'static [Access] = &[
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Write,
    ];
    type Params = Params;
    const GPU: Gpu = Gpu::clamped(
        texts![bits: "../wgsl/failure.wgsl", "concat.wgsl"],
        by_256,
        &["the output's length is no multiple of the widths", "an operand reaches outside of its binding"],
    );

    #[inline(always)]
    fn run<S: Simd>(_: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let widths = params.widths.map(|width| width as usize);
        let (width, extent) = (widths.iter().sum::<usize>(), call.extent[0] as usize);
        if width == 0 || !extent.is_multiple_of(width) {
            return Err(KernelFailure::new(format!("extent of {extent} items, the widths are {widths:?}")));
        }
        let rows = extent / width;
        let mut pieces = [&[][..]; MAX_PIECES];
        for (at, piece) in pieces.iter_mut().enumerate() {
            *piece = call.inputs.get::<T>(at)?;
            // Below 2^64, since each of the numbers is below 2^32.
            let last = u64::from(params.offsets[at])
                + (rows as u64).saturating_sub(1) * u64::from(params.row_strides[at])
                + (widths[at] as u64).saturating_sub(1);
            if widths[at] > 0 && rows > 0 && last >= piece.len() as u64 {
                let len = piece.len();
                return Err(KernelFailure::new(format!("operand {at} reaches element {last}, the binding has {len}")));
            }
        }
        let mut out = call.outputs.get::<T>(0)?;
        expect_len("out", out.len(), &[call.items.len()])?;
        let mut item = call.items.start as usize;
        while !out.is_empty() {
            let (row, mut column) = (item / width, item % width);
            for at in 0..MAX_PIECES {
                let run = widths[at].saturating_sub(column).min(out.len());
                if run > 0 {
                    let first = params.offsets[at] as usize + row * params.row_strides[at] as usize + column;
                    let (now, rest) = out.split_at_mut(run);
                    now.copy_from_slice(&pieces[at][first..first + run]);
                    item += run;
                    out = rest;
                }
                column = column.saturating_sub(widths[at]);
            }
        }
        Ok(())
    }
}
