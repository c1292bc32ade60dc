use super::{on, raw};
use thalweg_doubles::testing::{Random, run};
use thalweg_kernels::Isa;
use thalweg_kernels::elementwise::{UNARY, Unary, UnaryParams, View, reference};

fn apply(isa: Isa, operation: Unary, x: &[f32]) -> Vec<f32> {
    let shape = [1, 1, 1, 1, 1, x.len() as u32];
    let params = UnaryParams { operation: operation as u32, shape, from: View::contiguous(shape) };
    let n = x.len() as u32;
    run(&on(&UNARY, isa), &params, &[raw(x)], x.len(), n, &[0..n]).unwrap()
}

/// Every 9973rd float there is, and dense samples where the functions do something.
fn samples() -> Vec<f32> {
    let all = (0..=u32::MAX).step_by(9973).map(f32::from_bits).filter(|x| !x.is_nan());
    let mut random = Random::new(21);
    let dense: Vec<f32> = (0..200_000).map(|_| random.unit()).collect();
    all.chain([1.0, 10.0, 120.0].into_iter().flat_map(|scale| dense.iter().map(move |x| x * scale))).collect()
}

/// The distance in units of the last place of the exact value rounded to f32; subnormals have the last place of the
/// smallest normal number.
fn ulps(actual: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if actual == rounded || (actual.is_nan() && exact.is_nan()) {
        return 0.0;
    }
    if !rounded.is_finite() || !actual.is_finite() {
        // One may overflow where the other is the greatest float.
        let edge = |v: f64| v.abs() > f64::from(f32::MAX) * (1.0 - 1e-6);
        return if edge(exact) && edge(f64::from(actual)) { 1.0 } else { f64::INFINITY };
    }
    let place = (rounded.abs().max(f32::MIN_POSITIVE).to_bits() >> 23) as i32 - 127 - 23;
    (f64::from(actual) - exact).abs() / 2f64.powi(place)
}

#[test]
fn elementary_functions_stay_within_their_bounds() {
    let x = samples();
    for isa in Isa::supported() {
        for (operation, bound) in [
            (Unary::Exp, 1.5),
            (Unary::Tanh, 2.0),
            (Unary::Erf, 2.0),
            (Unary::Silu, 4.0),
            (Unary::Neg, 0.0),
            (Unary::Abs, 0.0),
            (Unary::Sqrt, 0.5),
            (Unary::Recip, 0.5),
            (Unary::Relu, 0.0),
            (Unary::Ln, 1.0),
            (Unary::Rsqrt, 2.0),
            (Unary::Sigmoid, 4.0),
            (Unary::Floor, 0.0),
            (Unary::Ceil, 0.0),
            (Unary::Round, 0.0),
        ] {
            let mut worst = (0.0, 0.0);
            for (x, y) in x.iter().zip(apply(isa, operation, &x)) {
                let exact = reference::unary(operation, *x);
                // The quotient's infinite divisor makes it 0 a little before it would be.
                if matches!(operation, Unary::Silu | Unary::Sigmoid) && exact.abs() < 1e-36 && y == 0.0 {
                    continue;
                }
                let distance = ulps(y, exact);
                if distance > worst.0 {
                    worst = (distance, *x);
                }
            }
            println!("{isa} {operation:?}: at most {:.2} ulp, at {:e}", worst.0, worst.1);
            assert!(worst.0 <= bound, "{isa} {operation:?}: {} ulp at {:e}, promised {bound}", worst.0, worst.1);
        }
    }
}

#[test]
fn gelu_is_precise_relative_to_its_argument() {
    let x = samples();
    for isa in Isa::supported() {
        for operation in [Unary::Gelu, Unary::GeluTanh] {
            for (x, y) in x.iter().zip(apply(isa, operation, &x)).filter(|(x, _)| x.is_finite()) {
                let exact = reference::unary(operation, *x);
                let bound = 2e-7 * f64::from(x.abs()) + 1e-44;
                assert!((f64::from(y) - exact).abs() <= bound, "{isa} {operation:?}({x:e}) = {y:e}, not {exact:e}");
            }
        }
    }
}

#[test]
fn sine_and_cosine_are_within_a_rounding_of_1() {
    let mut random = Random::new(22);
    let x: Vec<f32> = [1.0, 100.0, 1e4, 65_536.0, 1e6]
        .into_iter()
        .flat_map(|scale| random.units(50_000).into_iter().map(move |x| x * scale))
        .chain(samples())
        .collect();
    for isa in Isa::supported() {
        for operation in [Unary::Sin, Unary::Cos] {
            for (x, y) in x.iter().zip(apply(isa, operation, &x)).filter(|(x, _)| x.is_finite()) {
                let exact = reference::unary(operation, *x);
                assert!((f64::from(y) - exact).abs() <= 1.2e-7, "{isa} {operation:?}({x:e}) = {y:e}, not {exact:e}");
            }
        }
    }
}

#[test]
fn infinities_and_nan() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let table = [
        (Unary::Exp, [inf, 0.0, nan]),
        (Unary::Tanh, [1.0, -1.0, nan]),
        (Unary::Erf, [1.0, -1.0, nan]),
        (Unary::Relu, [inf, 0.0, nan]),
        (Unary::Silu, [inf, nan, nan]), // as PyTorch
        (Unary::Gelu, [inf, nan, nan]), // as PyTorch
        (Unary::Ln, [inf, nan, nan]),
        (Unary::Sqrt, [inf, nan, nan]),
        (Unary::Recip, [0.0, -0.0, nan]),
        (Unary::Neg, [-inf, inf, nan]),
        (Unary::Abs, [inf, inf, nan]),
        (Unary::Sin, [nan, nan, nan]),
        (Unary::Cos, [nan, nan, nan]),
        (Unary::Rsqrt, [0.0, nan, nan]),
        (Unary::Sigmoid, [1.0, 0.0, nan]),
        (Unary::Floor, [inf, -inf, nan]),
        (Unary::Ceil, [inf, -inf, nan]),
        (Unary::Round, [inf, -inf, nan]),
    ];
    for isa in Isa::supported() {
        for (operation, expected) in table {
            for (y, expected) in apply(isa, operation, &[inf, -inf, nan]).iter().zip(expected) {
                assert!(
                    *y == expected || (y.is_nan() && expected.is_nan()),
                    "{isa} {operation:?}: {y}, not {expected}"
                );
            }
        }
        let zeros = apply(isa, Unary::Neg, &[0.0, -0.0]);
        assert!(zeros[0].is_sign_negative() && zeros[1].is_sign_positive(), "{isa}: {zeros:?}");
    }
}
