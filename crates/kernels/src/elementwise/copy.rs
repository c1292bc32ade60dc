//! A strided view made contiguous.

use super::view::{Operand, Shape, View, elements};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, kernel};
use crate::simd::Simd;
use bytemuck::{Pod, Zeroable};
use thalweg_hal::{Access, HostCall};

/// Parameters of [`COPY`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct CopyParams {
    /// The output's shape.
    pub shape: Shape,
    /// Where the input's elements lie.
    pub from: View,
}

kernel! {
    /// `out[shape] = from[view]`, elements of 4 bytes of any type.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | the input |
    /// | 1 | write | out, contiguous |
    ///
    /// Extent `[elements, 1, 1]`: an item is an element of the output.
    COPY, copy_on: Copy
}

struct Copy;

impl Kernel for Copy {
    const NAME: &'static str = "copy";
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Write];
    type Params = CopyParams;

    #[inline(always)]
    fn run<S: Simd>(_: S, params: CopyParams, call: &mut HostCall<'_>) -> Outcome {
        expect_extent("elements of the shape", call, elements(params.shape))?;
        let from = Operand::new("the input", params.from, params.shape, call.inputs.get::<u32>(0)?)?;
        let out = call.outputs.get::<u32>(1)?;
        expect_len("out", out.len(), &[call.items.len()])?;
        let mut start = call.items.start as usize;
        // One block would do, but the gathering loop wants its runs in the first-level cache.
        for out in out.chunks_mut(4096) {
            let mut buffer = [0u32; 4096];
            out.copy_from_slice(from.block(start, &mut buffer[..out.len()]));
            start += out.len();
        }
        Ok(())
    }
}
