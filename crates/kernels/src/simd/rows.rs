//! Sums and maxima over a row, in an order that the row's length alone decides.

use super::{MAX_LANES, Simd};

/// Accumulators in flight: enough to hide the latency of an addition.
const WAYS: usize = 4;

/// What [`fold`] does to each vector.
trait Fold<S: Simd>: Copy {
    /// The accumulators' first value.
    const START: f32;
    /// The accumulator after a vector.
    fn step(self, simd: S, acc: S::V, value: S::V) -> S::V;
    /// Two accumulators as one.
    fn join(self, simd: S, a: S::V, b: S::V) -> S::V;
}

/// `fill` stands in the lanes of the last vector that have no element, and must change no accumulator.
#[inline(always)]
fn fold<S: Simd, F: Fold<S>>(simd: S, row: &[f32], function: F, fill: f32) -> S::V {
    let mut acc = [simd.splat(F::START); WAYS];
    let mut wide = row.chunks_exact(WAYS * S::LANES);
    for chunk in &mut wide {
        for (way, acc) in acc.iter_mut().enumerate() {
            *acc = function.step(simd, *acc, simd.load(&chunk[way * S::LANES..]));
        }
    }
    for (chunk, acc) in wide.remainder().chunks(S::LANES).zip(&mut acc) {
        let value = if chunk.len() == S::LANES { simd.load(chunk) } else { simd.load_partial(chunk, fill) };
        *acc = function.step(simd, *acc, value);
    }
    function.join(simd, function.join(simd, acc[0], acc[1]), function.join(simd, acc[2], acc[3]))
}

#[derive(Clone, Copy)]
struct Sum;
impl<S: Simd> Fold<S> for Sum {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step(self, simd: S, acc: S::V, value: S::V) -> S::V {
        simd.add(acc, value)
    }
    #[inline(always)]
    fn join(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.add(a, b)
    }
}

/// Sum of squares of the distance to a centre.
#[derive(Clone, Copy)]
struct Squares(f32);
impl<S: Simd> Fold<S> for Squares {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step(self, simd: S, acc: S::V, value: S::V) -> S::V {
        let distance = simd.sub(value, simd.splat(self.0));
        simd.mul_add(distance, distance, acc)
    }
    #[inline(always)]
    fn join(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.add(a, b)
    }
}

#[derive(Clone, Copy)]
struct Greatest;
impl<S: Simd> Fold<S> for Greatest {
    const START: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn step(self, simd: S, acc: S::V, value: S::V) -> S::V {
        simd.max(acc, value)
    }
    #[inline(always)]
    fn join(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.max(a, b)
    }
}

#[derive(Clone, Copy)]
struct Least;
impl<S: Simd> Fold<S> for Least {
    const START: f32 = f32::INFINITY;
    #[inline(always)]
    fn step(self, simd: S, acc: S::V, value: S::V) -> S::V {
        simd.min(acc, value)
    }
    #[inline(always)]
    fn join(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.min(a, b)
    }
}

#[derive(Clone, Copy)]
struct Product;
impl<S: Simd> Fold<S> for Product {
    const START: f32 = 1.0;
    #[inline(always)]
    fn step(self, simd: S, acc: S::V, value: S::V) -> S::V {
        simd.mul(acc, value)
    }
    #[inline(always)]
    fn join(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.mul(a, b)
    }
}

/// The sum of the values.
#[inline(always)]
pub(crate) fn sum<S: Simd>(simd: S, row: &[f32]) -> f32 {
    simd.sum(fold(simd, row, Sum, 0.0))
}

/// The sum of the squares of `value - centre`.
#[inline(always)]
pub(crate) fn squares<S: Simd>(simd: S, row: &[f32], centre: f32) -> f32 {
    simd.sum(fold(simd, row, Squares(centre), centre))
}

/// The greatest value, -inf for an empty row. Unspecified if one is NaN.
#[inline(always)]
pub(crate) fn greatest<S: Simd>(simd: S, row: &[f32]) -> f32 {
    simd.greatest(fold(simd, row, Greatest, f32::NEG_INFINITY))
}

/// The least value, inf for an empty row. Unspecified if one is NaN.
#[inline(always)]
pub(crate) fn least<S: Simd>(simd: S, row: &[f32]) -> f32 {
    -simd.greatest(simd.neg(fold(simd, row, Least, f32::INFINITY)))
}

/// The product of the values.
#[inline(always)]
pub(crate) fn product<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let mut lanes = [1.0; MAX_LANES];
    simd.store(fold(simd, row, Product, 1.0), &mut lanes);
    lanes.iter().product()
}
