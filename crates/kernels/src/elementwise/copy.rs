//! A strided view made contiguous, as it is or as another type.

use super::view::{Operand, Shape, View, elements};
use crate::gpu::{Gpu, Texts, by_256, texts};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, kernels};
use crate::params::params;
use crate::simd::Simd;
use bytemuck::Pod;
use half::f16;
use std::marker::PhantomData;
use thalweg_hal::{Access, HostCall};

params! {
    /// Parameters of [`COPY`] and the other kernels here.
    pub struct CopyParams {
        /// The output's shape.
        pub shape: Shape,
        /// Where the input's elements lie.
        pub from: View,
    }
}

kernels! {
    /// `out[shape] = from[view]`, elements of 4 bytes of any type, or of 2.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | the input |
    /// | 1 | write | out, contiguous |
    ///
    /// Extent `[elements, 1, 1]`: an item is an element of the output.
    COPY = "copy", each(U32: Copy<u32, u32>, F16: Copy<u16, u16>);

    /// [`COPY`] from f32 to another type: to f16 rounded to the nearest; to an integer towards 0, as Rust's `as`: what
    /// is beyond the type becomes its nearest value, and NaN 0.
    CAST_FROM_F32 = "cast_from_f32_to", each(F16: Copy<f32, f16>, U32: Copy<f32, u32>, I32: Copy<f32, i32>);

    /// [`COPY`] from f16 to another type, as [`CAST_FROM_F32`].
    CAST_FROM_F16 = "cast_from_f16", each(F32: Copy<f16, f32>, U32: Copy<f16, u32>, I32: Copy<f16, i32>);

    /// [`COPY`] from u32 to a float, the nearest.
    CAST_FROM_U32 = "cast_from_u32", each(F32: Copy<u32, f32>, F16: Copy<u32, f16>);

    /// [`COPY`] from i32 to a float, the nearest.
    CAST_FROM_I32 = "cast_from_i32", each(F32: Copy<i32, f32>, F16: Copy<i32, f16>);
}

struct Copy<A, B>(PhantomData<(A, B)>);

/// An element that is copied to another.
trait Element<B>: Pod {
    /// The module for GPUs.
    const TEXTS: Texts;
    fn convert(self) -> B;
}

macro_rules! element {
    ($a:ty => $b:ty, [$($scalar:ident),+]: $result:literal, $value:ident, $convert:expr) => {
        impl Element<$b> for $a {
            const TEXTS: Texts = texts![
                $($scalar),+: "../wgsl/failure.wgsl", "../wgsl/bits.wgsl", $result, "../wgsl/view.wgsl", "copy.wgsl"
            ];
            #[inline(always)]
            fn convert(self) -> $b {
                let $value = self;
                $convert
            }
        }
    };
}
element!(u32 => u32, [u32]: "same.wgsl", v, v);
element!(u16 => u16, [f16]: "same.wgsl", v, v);
element!(f32 => f16, [f32, f16]: "to_f16.wgsl", v, f16::from_f32(v));
element!(f32 => u32, [f32]: "to_u32.wgsl", v, v as u32);
element!(f32 => i32, [f32]: "to_i32.wgsl", v, v as i32);
element!(f16 => f32, [f16]: "to_f32.wgsl", v, v.to_f32());
element!(f16 => u32, [f16]: "to_u32.wgsl", v, v.to_f32() as u32);
element!(f16 => i32, [f16]: "to_i32.wgsl", v, v.to_f32() as i32);
element!(u32 => f32, [u32]: "to_f32.wgsl", v, v as f32);
element!(i32 => f32, [i32]: "to_f32.wgsl", v, v as f32);
// By way of f32: what that rounds is beyond f16.
element!(u32 => f16, [u32, f16]: "to_f16.wgsl", v, f16::from_f32(v as f32));
element!(i32 => f16, [i32, f16]: "to_f16.wgsl", v, f16::from_f32(v as f32));

impl<A: Element<B>, B: Pod> Kernel for Copy<A, B> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Write];
    type Params = CopyParams;
    const GPU: Gpu = Gpu::clamped(
        A::TEXTS,
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
