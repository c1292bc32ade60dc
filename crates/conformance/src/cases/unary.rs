//! Functions of one value.

use super::case;
use crate::{Case, Context, Float, Outcome, close, shapes, tolerance};
use thalweg_kernels::elementwise::reference;
use thalweg_tensor::{Unary, f16};

pub(super) const CASES: &[Case] = &[
    case("unary_f32", 50, unary::<f32>),
    case("unary_of_infinities_and_nan_f32", 1, special::<f32>),
    case("unary_f16", 33, unary::<f16>),
    case("unary_of_infinities_and_nan_f16", 1, special::<f16>),
];

fn unary<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1000);
    for operation in Unary::ALL {
        let x = cx.floats_of::<T>(&shape, |random| if random.below(20) == 0 { 0.0 } else { random.unit() * 12.0 })?;
        let result = x.tensor.unary(operation)?;
        let expected: Vec<_> = x.values.iter().map(|value| reference::unary(operation, *value)).collect();
        let allowed = |at: usize| tolerance::unary(x.values[at].into(), expected[at]);
        close::<T>(operation, &result, &shape, &expected, allowed)?;
    }
    Ok(())
}

fn special<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
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
    ];
    for (operation, expected) in table {
        let mut values = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN].into_iter();
        let x = cx.floats_of::<T>(&[3], |_| values.next().unwrap_or(0.0))?;
        close::<T>(operation, &x.tensor.unary(operation)?, &[3], &expected, |_| 0.0)?;
    }
    Ok(())
}
