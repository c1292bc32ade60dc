//! One small vector abstraction, with an implementation per instruction set.
//!
//! A value of a type that implements [`Simd`] is a *token*: it exists only on a machine that has the instructions, so
//! its methods are safe. Code that is generic over the token is written once, inlined whole into
//! [`Simd::call`], and thereby compiled once per instruction set.
//!
//! Two rules keep that true: everything between `call` and the instructions is `#[inline(always)]`, and none of it is
//! a closure, because a closure that is not inlined is compiled without the instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
pub(crate) mod rows;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

/// The most lanes of any set: the size of a buffer that holds one vector.
pub(crate) const MAX_LANES: usize = 16;

/// Work that is compiled once per instruction set.
pub(crate) trait Task {
    /// What it returns.
    type Output;
    /// The work. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The operations on vectors of f32 that the kernels use. Lane for lane; IEEE 754 except where said.
pub(crate) trait Simd: Copy {
    /// A vector.
    type V: Copy;
    /// Its lanes.
    const LANES: usize;
    /// Rows of the matrix-product tile that fit the registers, two vectors wide. At most [`crate::gemm::MAX_ROWS`].
    const TILE_ROWS: usize;

    /// Runs a task with the instructions enabled.
    fn call<T: Task>(self, task: T) -> T::Output;

    /// The same value in all lanes.
    fn splat(self, value: f32) -> Self::V;
    /// The first `LANES` elements. Panics if there are fewer.
    fn load(self, from: &[f32]) -> Self::V;
    /// Writes the first `LANES` elements. Panics if there are fewer.
    fn store(self, value: Self::V, to: &mut [f32]);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the set has it, twice where not.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`: `b` if either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { a } else { b }`: `b` if either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn abs(self, a: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// To the nearest whole number, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// The magnitude of `a` with the sign of `sign`.
    fn copysign(self, a: Self::V, sign: Self::V) -> Self::V;
    /// `if a < b { yes } else { no }`.
    fn select_less(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// 2 to the power of a whole number in -126..=127; anything for other values.
    fn pow2(self, a: Self::V) -> Self::V;

    /// Asks for the cache line at `from` to be brought near. Reads nothing; any address will do.
    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        let _ = from;
    }

    /// The elements of a slice shorter than a vector, then `fill`.
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::V {
        let mut lanes = [fill; MAX_LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Writes as many lanes as the slice has elements.
    #[inline(always)]
    fn store_partial(self, value: Self::V, to: &mut [f32]) {
        let mut lanes = [0.0; MAX_LANES];
        self.store(value, &mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }

    /// The sum of the lanes, pairwise in a fixed order.
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        let mut lanes = [0.0; MAX_LANES];
        self.store(a, &mut lanes);
        let mut width = Self::LANES;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        lanes[0]
    }

    /// With the other sign, 0 and NaN too.
    #[inline(always)]
    fn neg(self, a: Self::V) -> Self::V {
        self.sub(self.splat(-0.0), a)
    }

    /// The greatest lane; unspecified if one is NaN.
    #[inline(always)]
    fn greatest(self, a: Self::V) -> f32 {
        let mut lanes = [0.0; MAX_LANES];
        self.store(a, &mut lanes);
        let mut width = Self::LANES;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                let other = lanes[i + width];
                lanes[i] = if lanes[i] > other { lanes[i] } else { other };
            }
        }
        lanes[0]
    }
}
