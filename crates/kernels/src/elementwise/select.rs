//! One of two operands, element by element.

use super::binary::BLOCK;
use super::view::{Operand, Shape, View, elements};
use crate::gpu::{Gpu, by_256, texts};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, kernels};
use crate::params::params;
use crate::simd::Simd;
use bytemuck::Pod;
use std::marker::PhantomData;
use thalweg_hal::{Access, HostCall};

params! {
    /// Parameters of [`SELECT`].
    pub struct SelectParams {
        /// The output's shape.
        pub shape: Shape,
        /// Where the mask's elements lie.
        pub mask: View,
        /// Where the first operand's elements lie.
        pub a: View,
        /// Where the second operand's elements lie.
        pub b: View,
    }
}

kernels! {
    /// `out[shape] = mask[view] != 0 ? a[view] : b[view]`, operands and output of one type.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | the mask, u32 |
    /// | 1 | read | a |
    /// | 2 | read | b |
    /// | 3 | write | out, contiguous |
    ///
    /// Extent `[elements, 1, 1]`: an item is an element of the output.
    SELECT = "select", bits(Select);
}

struct Select<T>(PhantomData<T>);

impl<T: Pod> Kernel for Select<T> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    type Params = SelectParams;
    const GPU: Gpu = Gpu::clamped(
        texts![bits: "../wgsl/failure.wgsl", "../wgsl/view.wgsl", "select.wgsl"],
        by_256,
        &[
            "the output's length is not that of the shape",
            "the mask reaches outside of its binding",
            "the first operand reaches outside of its binding",
            "the second operand reaches outside of its binding",
        ],
    );

    #[inline(always)]
    fn run<S: Simd>(_: S, params: SelectParams, call: &mut HostCall<'_>) -> Outcome {
        let shape = params.shape;
        expect_extent("elements of the shape", call, elements(shape))?;
        let mask = Operand::new("the mask", params.mask, shape, call.inputs.get::<u32>(0)?)?;
        let a = Operand::new("the first operand", params.a, shape, call.inputs.get::<T>(1)?)?;
        let b = Operand::new("the second operand", params.b, shape, call.inputs.get::<T>(2)?)?;
        let out = call.outputs.get::<T>(0)?;
        expect_len("out", out.len(), &[call.items.len()])?;
        let mut start = call.items.start as usize;
        let mut mask_buffer = [0; BLOCK];
        let (mut a_buffer, mut b_buffer) = ([T::zeroed(); BLOCK], [T::zeroed(); BLOCK]);
        for out in out.chunks_mut(BLOCK) {
            let len = out.len();
            let mask = mask.block(start, &mut mask_buffer[..len]);
            let (a, b) = (a.block(start, &mut a_buffer[..len]), b.block(start, &mut b_buffer[..len]));
            for (((out, mask), a), b) in out.iter_mut().zip(mask).zip(a).zip(b) {
                *out = if *mask == 0 { *b } else { *a };
            }
            start += len;
        }
        Ok(())
    }
}
