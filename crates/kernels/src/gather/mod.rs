//! Elements of an axis by their numbers.

pub mod reference;

use crate::elementwise::view::{Operand, Shape, View, elements};
use crate::gpu::{Gpu, by_256, texts};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, kernels};
use crate::params::params;
use crate::simd::Simd;
use bytemuck::Pod;
use std::marker::PhantomData;
use thalweg_hal::{Access, HostCall, KernelFailure};

params! {
    /// Parameters of [`GATHER`].
    pub struct Params {
        /// The length of the axis that the indices are of.
        pub length: u32,
        /// From one element of that axis to the next.
        pub stride: u32,
        /// The output's shape.
        pub shape: Shape,
        /// Where the elements with index 0 lie: the stride of the axis is 0 here.
        pub from: View,
        /// Where the indices lie.
        pub index: View,
    }
}

kernels! {
    /// `out[shape] = x[from + index[view] * stride]`, elements of 4 bytes of any type, or of 2. An index outside of the
    /// axis fails the kernel.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x |
    /// | 1 | read | the indices, u32 |
    /// | 2 | write | out, contiguous |
    ///
    /// Extent `[elements, 1, 1]`: an item is an element of the output.
    GATHER = "gather", bits(Gather);
}

struct Gather<T>(PhantomData<T>);

impl<T: Pod> Kernel for Gather<T> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    type Params = Params;
    const GPU: Gpu = Gpu::clamped(
        texts![bits: "../wgsl/failure.wgsl", "../wgsl/view.wgsl", "gather.wgsl"],
        by_256,
        &[
            "the output's length is not that of the shape",
            "the operand reaches outside of its binding",
            "the indices reach outside of their binding",
            "an index is outside of the axis",
        ],
    );

    #[inline(always)]
    fn run<S: Simd>(_: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let Params { length, stride, shape, from, index } = params;
        expect_extent("elements of the shape", call, elements(shape))?;
        let x = call.inputs.get::<T>(0)?;
        // The rest of the axis is no part of what a walk sees.
        let beyond = u128::from(length.saturating_sub(1)) * u128::from(stride);
        let within = (x.len() as u128).saturating_sub(beyond) as usize; // no more than the length
        Operand::new("the operand's first along the axis", from, shape, &x[..within])?;
        let x = Operand::new("the operand", from, shape, x)?;
        let index = Operand::new("the indices", index, shape, call.inputs.get::<u32>(1)?)?;
        let mut start = call.items.start as usize;
        let mut out = call.outputs.get::<T>(0)?;
        expect_len("out", out.len(), &[call.items.len()])?;
        if out.is_empty() {
            return Ok(());
        }
        let (mut from, mut places) = (x.walk(start), index.walk(start));
        let at = |place: usize, item: usize| {
            let index = index.data[place];
            if index < length {
                return Ok(index as usize * stride as usize);
            }
            let message = format!("index {index} for element {item} of the output is outside of an axis of {length}");
            Err(KernelFailure::new(message))
        };
        while !out.is_empty() {
            let run = x.left(&from).min(index.left(&places)).min(out.len());
            let (now, rest) = out.split_at_mut(run);
            if index.stride() == 0 {
                x.take(from.at + at(places.at, start)?, now);
            } else {
                for (i, to) in now.iter_mut().enumerate() {
                    *to = x.data[from.at + i * x.stride() + at(places.at + i * index.stride(), start + i)?];
                }
            }
            x.advance(&mut from, run);
            index.advance(&mut places, run);
            start += run;
            out = rest;
        }
        Ok(())
    }
}
