//! Dense layers, and the gates between them.

use super::case;
use crate::outcome::ensure;
use crate::{Case, Context, Float, Outcome, close, shapes, tolerance};
use thalweg_kernels::gated;
use thalweg_kernels::linear::reference;
use thalweg_tensor::{Activation, PackedMatrix, f16};

pub(super) const CASES: &[Case] = &[
    // audit: C13 (mock_discrete)
    case("linear_f32", 60, small::<f32>),
    case("linear_of_many_rows_f32", 6, large::<f32>),
    case("gated_f32", 60, gated::<f32>),
    case("gated_f16", 40, gated::<f16>),
    case("linear_f16", 40, small::<f16>),
    case("linear_of_many_rows_f16", 4, large::<f16>),
];

/// Few rows or none, odd sizes.
fn small<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let sizes = [cx.between(0, 40), cx.between(1, 150), cx.between(1, 100)];
    Activation::ALL.into_iter().try_for_each(|activation| layer::<T>(cx, sizes, activation))
}

/// As a batch has them; the sizes are multiples of a tile's or are not.
fn large<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let mut size = |most: usize| match cx.random.below(2) {
        0 => 32 * cx.between(1, most / 32),
        _ => cx.between(1, most),
    };
    let sizes = [size(200), size(400), size(400)];
    let activation = Activation::ALL[cx.between(0, Activation::ALL.len() - 1)];
    layer::<T>(cx, sizes, activation)
}

fn layer<T: Float>(cx: &mut Context<'_>, [n, inputs, outputs]: [usize; 3], activation: Activation) -> Outcome {
    let x = cx.floats::<T>(&[n, inputs], 1.0)?;
    let weight: Vec<_> = (0..outputs * inputs).map(|_| T::nearest(cx.random.unit()).widened()).collect();
    let packed = PackedMatrix::with_dtype(&cx.device, &weight, outputs, inputs, T::DTYPE)?;
    ensure!((packed.outputs(), packed.inputs()) == (outputs, inputs), "{packed:?} of [{outputs}, {inputs}]");
    let bias = cx.floats::<T>(&[outputs], 1.0)?;
    let result = x.tensor.linear(&packed, &bias.tensor, activation)?;
    let expected = reference::linear(&x.values, &weight, &bias.values, inputs, activation);
    let allowed = |at: usize| {
        let (row, column) = (&x.values[at / outputs * inputs..], &weight[at % outputs * inputs..]);
        let products = row.iter().zip(column).take(inputs).map(|(x, w)| f64::from((x * w).abs()));
        let magnitudes = products.sum::<f64>() + f64::from(bias.values[at % outputs].abs());
        tolerance::linear(inputs, magnitudes, expected[at])
    };
    close::<T>(format!("{activation:?} of [{n}, {inputs}] to {outputs}"), &result, &[n, outputs], &expected, allowed)
}

fn gated<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let mut shape = shapes::rows(&mut cx.random);
    let last = shape.len() - 1;
    let width = shape[last];
    shape[last] = 2 * width;
    let x = cx.floats::<T>(&shape, 4.0)?;
    shape[last] = width;
    for activation in Activation::ALL {
        let expected = gated::reference::gated(&x.values, width, activation);
        // The activation's error, times a value of at most 4, and one rounding.
        let allowed = |at: usize| 4.0 * tolerance::unary(1.0, expected[at]) + tolerance::ROUNDING * expected[at].abs();
        close::<T>(activation, &x.tensor.gated(activation)?, &shape, &expected, allowed)?;
    }
    Ok(())
}
