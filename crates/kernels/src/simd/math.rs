//! Elementary functions on vectors, branch-free, defined for every argument.
//!
//! Bounds are against the exact value, over all arguments, with fused multiply-add; the tests hold every instruction
//! set to them. The polynomials are minimax fits by Remez's exchange algorithm, rounded to f32.

use super::{MAX_LANES, Simd};

/// `c[0] + c[1] t + c[2] t^2 ..`, by Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, t: S::V, c: [f32; N]) -> S::V {
    let mut sum = simd.splat(c[N - 1]);
    for c in c[..N - 1].iter().rev() {
        sum = simd.mul_add(sum, t, simd.splat(*c));
    }
    sum
}

/// `e^x`, within 1.5 ulp; subnormal results within one step. 0 below -104, infinity above 88.73.
///
/// Cody and Waite's reduction (Software Manual for the Elementary Functions, 1980): `x = n ln 2 + r` with ln 2 in two
/// parts, the first short enough that its product with n is exact; then the Taylor polynomial of degree 7 on
/// |r| <= ln 2 / 2. Its truncation is below 0.1 ulp.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::V) -> S::V {
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Results leave the range of f32 inside these bounds, and NaN passes.
    let x = simd.min(simd.splat(89.0), simd.max(simd.splat(-105.0), x));
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    let r = simd.mul_add(n, simd.splat(-LN_2_HIGH), x);
    let r = simd.mul_add(n, simd.splat(-LN_2_LOW), r);
    let taylor = [1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0];
    let p = simd.mul_add(polynomial(simd, r, taylor), simd.mul(r, r), r);
    let p = simd.add(p, simd.splat(1.0));
    // In two steps: 2^n alone would leave the range for results that are subnormal, or close to the greatest.
    let half = simd.round(simd.mul(n, simd.splat(0.5)));
    simd.mul(simd.mul(p, simd.pow2(half)), simd.pow2(simd.sub(n, half)))
}

/// `tanh x`, within 2 ulp: an odd polynomial below 5/8, `1 - 2 / (e^2|x| + 1)` above (Cody and Waite's split).
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    let a = simd.abs(x);
    let one = simd.splat(1.0);
    let e = exp(simd, simd.add(a, a));
    let large = simd.sub(one, simd.div(simd.splat(2.0), simd.add(e, one)));
    let t = simd.mul(a, a);
    let p = polynomial(simd, t, [-0.333_332_84, 0.133_314_91, -0.053_743_497, 0.020_650_584, -0.005_717_042]);
    let small = simd.mul_add(simd.mul(a, t), p, a);
    simd.copysign(simd.select_less(a, simd.splat(0.625), small, large), x)
}

/// `erf x`, within 2 ulp: an odd polynomial below 1; above, `1 - e^p(|x|)` where p approximates the logarithm of the
/// complement, so that its error shrinks with the complement. From 4 on the result is 1.
#[inline(always)]
pub(crate) fn erf<S: Simd>(simd: S, x: S::V) -> S::V {
    let a = simd.abs(x);
    let t = simd.mul(a, a);
    let p = polynomial(
        simd,
        t,
        [0.128_379_17, -0.376_126_26, 0.112_835_85, -0.026_853_812, 0.005_188_327_5, -0.000_801_019_2, 7.853_856_5e-5],
    );
    let small = simd.mul_add(a, p, a);
    let p = polynomial(
        simd,
        simd.min(simd.splat(4.0), a),
        [-0.000_353_730_7, -1.127_04, -0.638_225_76, -0.103_037_3, 0.021_805_284, -0.002_939_598_4, 0.000_185_573_07],
    );
    let large = simd.sub(simd.splat(1.0), exp(simd, p));
    simd.copysign(simd.select_less(a, simd.splat(1.0), small, large), x)
}

/// `x / 2 * (1 + erf(x / sqrt 2))`. The error is relative to |x|, not to the result: for negative x the sum cancels, as
/// it does in PyTorch.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(simd: S, x: S::V) -> S::V {
    let erf = erf(simd, simd.mul(x, simd.splat(std::f32::consts::FRAC_1_SQRT_2)));
    let half = simd.mul(x, simd.splat(0.5));
    simd.mul(half, simd.add(simd.splat(1.0), erf))
}

/// `x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, as precise as [`gelu`].
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let cubed = simd.mul(simd.mul(x, x), x);
    let inner = simd.mul_add(cubed, simd.splat(0.044715), x);
    let tanh = tanh(simd, simd.mul(inner, simd.splat(SQRT_2_OVER_PI)));
    let half = simd.mul(x, simd.splat(0.5));
    simd.mul(half, simd.add(simd.splat(1.0), tanh))
}

/// `1 / (1 + e^-x)`, within 4 ulp; 0 once `e^-x` is infinite, at -88.73.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::V) -> S::V {
    let e = exp(simd, simd.sub(simd.splat(0.0), x));
    simd.div(simd.splat(1.0), simd.add(simd.splat(1.0), e))
}

/// `x / (1 + e^-x)`, within 4 ulp; 0 once `e^-x` is infinite, at -88.73.
#[inline(always)]
pub(crate) fn silu<S: Simd>(simd: S, x: S::V) -> S::V {
    let e = exp(simd, simd.sub(simd.splat(0.0), x));
    simd.div(x, simd.add(simd.splat(1.0), e))
}

/// `sin x`, within 1.2e-7 of it up to 2^16.
///
/// Cody and Waite's reduction with pi / 2 in four parts, of which the first three have 8 bits, so that their products
/// with a multiple's number of 16 bits are exact; then polynomials for sine and cosine on |r| <= pi / 4 (Moshier,
/// Cephes). Beyond 2^16 the host's library computes it, one element at a time.
#[inline(always)]
pub(crate) fn sin<S: Simd>(simd: S, x: S::V) -> S::V {
    circle(simd, x, 0.0, f32::sin)
}

/// `cos x`, as [`sin`].
#[inline(always)]
pub(crate) fn cos<S: Simd>(simd: S, x: S::V) -> S::V {
    circle(simd, x, 1.0, f32::cos)
}

/// The sine of `quarters` pi / 2 more; `far` is what computes it where x is large.
#[inline(always)]
fn circle<S: Simd>(simd: S, x: S::V, quarters: f32, far: fn(f32) -> f32) -> S::V {
    const HALF_PI: [f32; 4] = [1.570_312_5, 4.825_592e-4, 1.266_598_7e-6, 9.920_936e-10];
    const FAR: f32 = 65_536.0;
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::FRAC_2_PI)));
    let mut r = x;
    for part in HALF_PI {
        r = simd.mul_add(n, simd.splat(-part), r);
    }
    let z = simd.mul(r, r);
    let p = polynomial(simd, z, [-0.166_666_55, 0.008_332_161, -0.000_195_152_96]);
    let sine = simd.mul_add(simd.mul(p, z), r, r);
    let p = polynomial(simd, z, [0.041_666_646, -0.001_388_731_6, 2.443_315_7e-5]);
    let cosine = simd.mul_add(simd.mul(p, z), z, simd.mul_add(z, simd.splat(-0.5), simd.splat(1.0)));
    // What is left of a division by 4: -2, -1, 0, 1 or 2.
    let n = simd.add(n, simd.splat(quarters));
    let m = simd.mul_add(simd.round(simd.mul(n, simd.splat(0.25))), simd.splat(-4.0), n);
    let size = simd.abs(m);
    let odd = simd.select_less(simd.splat(1.5), size, simd.neg(sine), simd.mul(cosine, m));
    let near = simd.select_less(simd.splat(0.5), size, odd, sine);

    let (mut from, mut to) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
    simd.store(simd.abs(x), &mut from);
    if from[..S::LANES].iter().fold(true, |near, x| near & (*x <= FAR)) {
        return near;
    }
    simd.store(x, &mut from);
    simd.store(near, &mut to);
    for (from, to) in from[..S::LANES].iter().zip(&mut to).filter(|(from, _)| from.abs() > FAR) {
        *to = far(*from);
    }
    simd.load(&to)
}

/// The greatest whole number that is not above x.
#[inline(always)]
pub(crate) fn floor<S: Simd>(simd: S, x: S::V) -> S::V {
    let near = simd.round(x);
    simd.select_less(x, near, simd.sub(near, simd.splat(1.0)), near)
}

/// The least whole number that is not below x.
#[inline(always)]
pub(crate) fn ceil<S: Simd>(simd: S, x: S::V) -> S::V {
    simd.neg(floor(simd, simd.neg(x)))
}
