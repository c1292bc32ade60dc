//! NEON: pairs of 4-lane registers used as 8 lanes, 32 registers.

use super::{Simd, Task};
use std::arch::aarch64::*;

/// The token. Every AArch64 machine that Rust's standard library runs on has NEON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

impl Neon {
    /// The token.
    #[inline]
    pub(crate) fn new() -> Self {
        Self(())
    }
}

/// Compiles the task as a function of its own, so that a tile has all registers to itself and exists once.
#[inline(never)]
fn apart<T: Task>(simd: Neon, task: T) -> T::Output {
    task.run(simd)
}

/// Defines methods that are one intrinsic for each half.
macro_rules! intrinsics {
    ($($name:ident($($argument:ident),*) = $intrinsic:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: Self::V),*) -> Self::V {
            #[inline(always)]
            fn half($($argument: float32x4_t),*) -> float32x4_t {
                // SAFETY: NEON is part of the target's baseline.
                #[allow(unused_unsafe, reason = "whether these intrinsics are safe depends on the compiler's version")]
                unsafe { $intrinsic }
            }
            [half($($argument[0]),*), half($($argument[1]),*)]
        }
    )*};
}

impl Simd for Neon {
    type V = [float32x4_t; 2];
    const LANES: usize = 8;
    // 6 rows x 2 x 2 registers are 24 accumulators; the panel takes 4 more, the broadcasts the rest.
    const TILE_ROWS: usize = 6;

    #[inline(always)]
    fn call<T: Task>(self, task: T) -> T::Output {
        apart(self, task)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        // SAFETY: NEON is part of the target's baseline.
        #[allow(unused_unsafe, reason = "whether these intrinsics are safe depends on the compiler's version")]
        let half = unsafe { vdupq_n_f32(value) };
        [half; 2]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        assert!(from.len() >= Self::LANES);
        // SAFETY: 8 elements are there, and NEON is part of the target's baseline.
        unsafe { [vld1q_f32(from.as_ptr()), vld1q_f32(from.as_ptr().add(4))] }
    }
    #[inline(always)]
    fn store(self, value: Self::V, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: as for `load`.
        unsafe {
            vst1q_f32(to.as_mut_ptr(), value[0]);
            vst1q_f32(to.as_mut_ptr().add(4), value[1]);
        }
    }

    intrinsics! {
        add(a, b) = vaddq_f32(a, b);
        sub(a, b) = vsubq_f32(a, b);
        mul(a, b) = vmulq_f32(a, b);
        div(a, b) = vdivq_f32(a, b);
        mul_add(a, b, c) = vfmaq_f32(c, a, b);
        // Not `vmaxq_f32`, which answers NaN if either is.
        max(a, b) = vbslq_f32(vcgtq_f32(a, b), a, b);
        min(a, b) = vbslq_f32(vcltq_f32(a, b), a, b);
        abs(a) = vabsq_f32(a);
        sqrt(a) = vsqrtq_f32(a);
        round(a) = vrndnq_f32(a);
        copysign(a, sign) = vbslq_f32(vdupq_n_u32(1 << 31), sign, a);
        select_less(a, b, yes, no) = vbslq_f32(vcltq_f32(a, b), yes, no);
        pow2(a) = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtnq_s32_f32(a), vdupq_n_s32(127))));
    }
}
