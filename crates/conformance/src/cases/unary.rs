//! Functions of one value.

use super::case;
use crate::{Case, Context, Float, Outcome, close, shapes, tolerance};
use thalweg_doubles::testing::Random;
use thalweg_kernels::elementwise::reference;
use thalweg_tensor::{Result, Tensor, Unary, f16};

pub(super) const CASES: &[Case] = &[
    case("unary_f32", 50, unary::<f32>),
    case("unary_of_infinities_and_nan_f32", 1, special::<f32>),
    case("sine_and_cosine_f32", 20, circle::<f32>),
    case("sine_and_cosine_f16", 13, circle::<f16>),
    case("unary_f16", 33, unary::<f16>),
    case("unary_of_infinities_and_nan_f16", 1, special::<f16>),
];

fn unary<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1000);
    for operation in Unary::ALL {
        let x = cx.floats_of::<T>(&shape, |random| if random.below(20) == 0 { 0.0 } else { random.unit() * 12.0 })?;
        let result = apply(operation, &x.tensor, &mut cx.random)?;
        let expected: Vec<_> = x.values.iter().map(|value| reference::unary(operation, *value)).collect();
        let allowed = |at: usize| tolerance::unary(x.values[at].into(), expected[at]);
        close::<T>(operation, &result, &shape, &expected, allowed)?;
    }
    Ok(())
}

/// Each function through each of the ways to call it.
fn apply(operation: Unary, x: &Tensor, random: &mut Random) -> Result<Tensor> {
    match (operation, random.below(2)) {
        (Unary::Neg, 0) => -x,
        (Unary::Neg, _) => x.neg(),
        (Unary::Abs, 0) => x.abs(),
        (Unary::Exp, 0) => x.exp(),
        (Unary::Ln, 0) => x.ln(),
        (Unary::Sqrt, 0) => x.sqrt(),
        (Unary::Recip, 0) => x.recip(),
        (Unary::Tanh, 0) => x.tanh(),
        (Unary::Relu, 0) => x.relu(),
        (Unary::Silu, 0) => x.silu(),
        (Unary::Gelu, 0) => x.gelu(),
        (Unary::GeluTanh, 0) => x.gelu_tanh(),
        (Unary::Erf, 0) => x.erf(),
        (Unary::Sin, 0) => x.sin(),
        (Unary::Cos, 0) => x.cos(),
        (Unary::Rsqrt, 0) => x.rsqrt(),
        (Unary::Sigmoid, 0) => x.sigmoid(),
        (Unary::Floor, 0) => x.floor(),
        (Unary::Ceil, 0) => x.ceil(),
        (Unary::Round, 0) => x.round(),
        _ => x.unary(operation),
    }
}

/// Of any number, however large.
fn circle<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1000);
    for operation in [Unary::Sin, Unary::Cos] {
        let x = cx.floats_of::<T>(&shape, |random| {
            let scale = [1.0, 100.0, 1e4, 6e4, 1e6, 1e30][random.below(6) as usize];
            random.unit() * scale
        })?;
        let expected: Vec<_> = x.values.iter().map(|value| reference::unary(operation, *value)).collect();
        close::<T>(operation, &x.tensor.unary(operation)?, &shape, &expected, |_| tolerance::circle())?;
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
        (Unary::Sin, [nan, nan, nan]),
        (Unary::Cos, [nan, nan, nan]),
        (Unary::Rsqrt, [0.0, nan, nan]),
        (Unary::Sigmoid, [1.0, 0.0, nan]),
        (Unary::Floor, [inf, -inf, nan]),
        (Unary::Ceil, [inf, -inf, nan]),
        (Unary::Round, [inf, -inf, nan]),
    ];
    for (operation, expected) in table {
        let mut values = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN].into_iter();
        let x = cx.floats_of::<T>(&[3], |_| values.next().unwrap_or(0.0))?;
        close::<T>(operation, &x.tensor.unary(operation)?, &[3], &expected, |_| 0.0)?;
    }
    Ok(())
}
