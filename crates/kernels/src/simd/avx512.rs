//! AVX-512F: 16 lanes, 32 registers.

use super::{Simd, Task};
use std::arch::x86_64::*;

/// The token. Made only by [`Avx512::new`], which checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The token, if this machine has AVX-512F (and FMA, which every such machine has).
    #[inline]
    pub(crate) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// Compiles the task with the instructions.
///
/// # Safety
/// - The machine has AVX-512F and FMA.
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn with_features<T: Task>(simd: Avx512, task: T) -> T::Output {
    task.run(simd)
}

/// Defines methods that are one intrinsic each.
macro_rules! intrinsics {
    ($($name:ident($($argument:ident),*) = $intrinsic:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: __m512),*) -> __m512 {
            // SAFETY: the token exists, so the machine has the instruction.
            unsafe { $intrinsic }
        }
    )*};
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    // 14 rows x 2 vectors are 28 accumulators; two vectors of the panel and two broadcasts fill the other 4 registers.
    const TILE_ROWS: usize = 14;

    #[inline(always)]
    fn call<T: Task>(self, task: T) -> T::Output {
        // SAFETY: the token exists, so the machine has the instructions.
        unsafe { with_features(self, task) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: the token exists, so the machine has the instruction.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        assert!(from.len() >= Self::LANES);
        // SAFETY: 16 elements are there; unaligned loads need no alignment; the machine has the instruction.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, value: __m512, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: as for `load`.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }

    intrinsics! {
        add(a, b) = _mm512_add_ps(a, b);
        sub(a, b) = _mm512_sub_ps(a, b);
        mul(a, b) = _mm512_mul_ps(a, b);
        div(a, b) = _mm512_div_ps(a, b);
        mul_add(a, b, c) = _mm512_fmadd_ps(a, b, c);
        max(a, b) = _mm512_max_ps(a, b);
        min(a, b) = _mm512_min_ps(a, b);
        abs(a) = _mm512_abs_ps(a);
        sqrt(a) = _mm512_sqrt_ps(a);
        round(a) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        copysign(a, sign) = _mm512_castsi512_ps(_mm512_or_si512(
            _mm512_andnot_si512(_mm512_set1_epi32(i32::MIN), _mm512_castps_si512(a)),
            _mm512_and_si512(_mm512_set1_epi32(i32::MIN), _mm512_castps_si512(sign)),
        ));
        select_less(a, b, yes, no) = _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes);
        pow2(a) = _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
            _mm512_cvtps_epi32(a),
            _mm512_set1_epi32(127),
        )));
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: a prefetch reads nothing and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
}
