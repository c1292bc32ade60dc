//! A row to one value, or to where it is.

pub(crate) mod arg;
pub mod reference;

pub use arg::{ARG_REDUCE, ArgParams};

use crate::gpu::{Gpu, one_each, texts};
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernels};
use crate::numbered::numbered;
use crate::params::params;
use crate::simd::{Simd, rows};
use thalweg_hal::{Access, HostCall};

numbered! {
    /// What becomes of a row.
    pub enum Reduction, "reduction" {
        /// The sum.
        Sum,
        /// The sum divided by the length.
        Mean,
        /// The greatest value; NaN if there is one.
        Max,
        /// The smallest value; NaN if there is one.
        Min,
        /// The product.
        Product,
    }
}

params! {
    /// Parameters of [`REDUCE`].
    pub struct Params {
        /// A [`Reduction`], as `u32`.
        pub reduction: u32,
        /// Length of a row, at least 1.
        pub width: u32,
    }
}

kernels! {
    /// `out[r] = reduction of x[r, ..]`, f32. Sums and products are pairwise over the lanes of a few vectors, so their
    /// error grows with a fraction of the length.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x `[n, width]` |
    /// | 1 | write | out `[n]` |
    ///
    /// Extent `[n, 1, 1]`: an item is a row.
    REDUCE = "reduce", floats(Reduce);
}

struct Reduce;

impl Kernel for Reduce {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Write];
    type Params = Params;
    // SAFETY: the module goes on only if x has as many rows of the width as the output has elements, and only in
    // rows that there are; it uses elements 0 to width - 1 of its row. Its variables of the workgroup have an
    // element for each index that an invocation's number gives, written before it is read.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts![
                "../wgsl/failure.wgsl",
                "../wgsl/by_rows.wgsl",
                "../wgsl/bits.wgsl",
                "../wgsl/rows.wgsl",
                "reduce.wgsl"
            ],
            one_each,
            &[
                "the width is 0, must be at least 1",
                "the reduction is unknown, expected 0 to 4",
                "the lengths of the operands contradict the parameters",
            ],
        )
    };

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let reduction = Reduction::try_from(params.reduction)?;
        let width = expect_positive("width", params.width)?;
        let x = call.inputs.get::<f32>(0)?;
        let out = call.outputs.get::<f32>(0)?;
        expect_len("x", x.len(), &[call.extent[0] as usize, width])?;
        expect_len("out", out.len(), &[call.items.len()])?;
        let x = &x[call.items.start as usize * width..];
        for (x, out) in x.chunks_exact(width).zip(out) {
            *out = match reduction {
                Reduction::Sum => rows::sum(simd, x),
                Reduction::Mean => rows::sum(simd, x) / width as f32,
                Reduction::Product => rows::product(simd, x),
                _ if x.iter().fold(false, |found, x| found | x.is_nan()) => f32::NAN,
                Reduction::Max => rows::greatest(simd, x),
                Reduction::Min => rows::least(simd, x),
            };
        }
        Ok(())
    }
}
