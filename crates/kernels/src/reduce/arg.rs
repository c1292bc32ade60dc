//! Where the greatest or the least value of a row is.

use super::{Gpu, HostCall, Kernel, Outcome, Simd};
use crate::gpu::{Texts, one_each, texts};
use crate::kernel::{expect_len, expect_positive, kernels};
use crate::params::params;
use bytemuck::Pod;
use std::marker::PhantomData;
use thalweg_hal::Access;

params! {
    /// Parameters of [`ARG_REDUCE`].
    pub struct ArgParams {
        /// 0 for the greatest value, 1 for the least.
        pub least: u32,
        /// Length of a row, at least 1.
        pub width: u32,
    }
}

kernels! {
    /// `out[r]` is where the greatest, or the least, of `x[r, ..]` is: the first of equals; of the first NaN if there
    /// is one.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x `[n, width]` |
    /// | 1 | write | out `[n]`, u32 |
    ///
    /// Extent `[n, 1, 1]`: an item is a row.
    ARG_REDUCE = "arg_reduce", numbers(Arg);
}

struct Arg<T>(PhantomData<T>);

/// An element that is less or greater than others.
trait Ordered: Pod + PartialOrd {
    /// The module for GPUs.
    const TEXTS: Texts;
    fn is_nan(self) -> bool;
}

macro_rules! ordered {
    ($type:ty, [$($scalar:ident:)? $key:literal], $is_nan:expr) => {
        impl Ordered for $type {
            const TEXTS: Texts = texts![
                $($scalar:)? "../wgsl/failure.wgsl", "../wgsl/by_rows.wgsl", "../wgsl/bits.wgsl", "../wgsl/rows.wgsl", $key, "arg.wgsl"
            ];
            #[inline(always)]
            fn is_nan(self) -> bool {
                $is_nan(self)
            }
        }
    };
}
ordered!(f32, ["key_float.wgsl"], f32::is_nan);
ordered!(u32, [u32: "key_u32.wgsl"], |_| false);
ordered!(i32, [i32: "key_i32.wgsl"], |_| false);

impl<T: Ordered> Kernel for Arg<T> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Write];
    const FIXED_OUTPUT: bool = true;
    type Params = ArgParams;
    const GPU: Gpu = Gpu::clamped(
        T::TEXTS,
        one_each,
        &["the width is 0, must be at least 1", "the lengths of the operands contradict the parameters"],
    );

    #[inline(always)]
    fn run<S: Simd>(_: S, params: ArgParams, call: &mut HostCall<'_>) -> Outcome {
        let width = expect_positive("width", params.width)?;
        let x = call.inputs.get::<T>(0)?;
        let out = call.outputs.get::<u32>(0)?;
        expect_len("x", x.len(), &[call.extent[0] as usize, width])?;
        expect_len("out", out.len(), &[call.items.len()])?;
        let x = &x[call.items.start as usize * width..];
        for (x, out) in x.chunks_exact(width).zip(out) {
            let mut best = 0;
            for (at, value) in x.iter().enumerate() {
                if x[best].is_nan() {
                    break;
                }
                let beats = if params.least == 0 { *value > x[best] } else { *value < x[best] };
                if beats || value.is_nan() {
                    best = at;
                }
            }
            *out = best as u32; // within u32, as the width
        }
        Ok(())
    }
}
