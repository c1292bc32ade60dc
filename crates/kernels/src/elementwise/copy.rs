//! A strided view made contiguous, as it is or as another type.

use super::view::{Operand, Shape, View, elements};
use crate::gpu::{Text, by_256, clamped, text};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, kernel};
use crate::simd::Simd;
use bytemuck::{Pod, Zeroable};
use half::f16;
use std::marker::PhantomData;
use thalweg_hal::{Access, HostCall, Wgsl};

/// Parameters of [`COPY`] and the other kernels here.
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
    COPY, copy_on: Copy<u32, u32>
}

kernel! {
    /// [`COPY`] for elements of 2 bytes.
    COPY_F16, copy_f16_on: Copy<u16, u16>
}

kernel! {
    /// [`COPY`] from f32 to f16, rounded to the nearest.
    CAST_TO_F16, cast_to_f16_on: Copy<f32, f16>
}

kernel! {
    /// [`COPY`] from f16 to f32.
    CAST_TO_F32, cast_to_f32_on: Copy<f16, f32>
}

struct Copy<A, B>(PhantomData<(A, B)>);

/// An element that is copied to another.
trait Element<B>: Pod {
    const NAME: &'static str;
    /// The module for GPUs.
    const TEXT: Text;
    fn convert(self) -> B;
}

macro_rules! element {
    ($a:ty => $b:ty, $name:literal, [$($scalar:ident),+]: $result:literal, $value:ident, $convert:expr) => {
        impl Element<$b> for $a {
            const NAME: &'static str = $name;
            const TEXT: Text =
                text!($($scalar),+: "../wgsl/failure.wgsl", $result, "../wgsl/view.wgsl", "copy.wgsl");
            #[inline(always)]
            fn convert(self) -> $b {
                let $value = self;
                $convert
            }
        }
    };
}
element!(u32 => u32, "copy", [u32]: "same.wgsl", v, v);
element!(u16 => u16, "copy_f16", [f16]: "same.wgsl", v, v);
element!(f32 => f16, "cast_to_f16", [f32, f16]: "to_f16.wgsl", v, f16::from_f32(v));
element!(f16 => f32, "cast_to_f32", [f16]: "to_f32.wgsl", v, v.to_f32());

impl<A: Element<B>, B: Pod> Kernel for Copy<A, B> {
    const NAME: &'static str = A::NAME;
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Write];
    type Params = CopyParams;
    const WGSL: Wgsl = clamped(
        A::TEXT,
        by_256,
        &["the output's length is not that of the shape", "the input reaches outside of its binding"],
    );

    #[inline(always)]
    fn run<S: Simd>(_: S, params: CopyParams, call: &mut HostCall<'_>) -> Outcome {
        expect_extent("elements of the shape", call, elements(params.shape))?;
        let from = Operand::new("the input", params.from, params.shape, call.inputs.get::<A>(0)?)?;
        let out = call.outputs.get::<B>(0)?;
        expect_len("out", out.len(), &[call.items.len()])?;
        let mut start = call.items.start as usize;
        // One block would do, but the gathering loop wants its runs in the first-level cache.
        for out in out.chunks_mut(4096) {
            let mut buffer = [A::zeroed(); 4096];
            let from = from.block(start, &mut buffer[..out.len()]);
            out.iter_mut().zip(from).for_each(|(out, from)| *out = from.convert());
            start += out.len();
        }
        Ok(())
    }
}
