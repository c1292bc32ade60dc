//! Normalisations, alone and after a residual sum.

use super::case;
use super::rows::random_rows;
use crate::{Case, Context, Float, Outcome, close, tolerance};
use thalweg_kernels::norm::reference;
use thalweg_tensor::f16;

pub(super) const CASES: &[Case] = &[
    // audit: F2 (cpu)
    case("layer_norm_f32", 60, layer_norm::<f32>),
    case("add_layer_norm_f32", 60, add_layer_norm::<f32>),
    case("rms_norm_f32", 60, rms_norm::<f32>),
    case("rms_norm_f16", 40, rms_norm::<f16>),
    case("layer_norm_f16", 40, layer_norm::<f16>),
    case("add_layer_norm_f16", 40, add_layer_norm::<f16>),
];

fn layer_norm<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (x, shape, width) = random_rows::<T>(cx)?;
    let (weight, mut bias) = (cx.floats::<T>(&[width], 1.0)?, cx.floats::<T>(&[width], 1.0)?);
    let epsilon = [1e-12, 1e-5][cx.between(0, 1)];
    let unbiased = cx.between(0, 2) == 0;
    if unbiased {
        bias.values.fill(0.0);
    }
    let result = x.tensor.layer_norm(&weight.tensor, (!unbiased).then_some(&bias.tensor), epsilon)?;
    let expected = reference::layer_norm(&x.values, &weight.values, &bias.values, epsilon);
    let rows: Vec<_> = x.values.iter().map(|value| f64::from(*value)).collect();
    let allowed = allowed(&rows, &rows, epsilon, &weight.values, &bias.values);
    close::<T>((width, epsilon), &result, &shape, &expected, |at| allowed[at])
}

fn rms_norm<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (x, shape, width) = random_rows::<T>(cx)?;
    let weight = cx.floats::<T>(&[width], 1.0)?;
    let epsilon = [1e-12, 1e-5][cx.between(0, 1)];
    let expected = reference::rms_norm(&x.values, &weight.values, epsilon);
    let allowed = |at: usize| tolerance::rms_norm(width, expected[at]);
    close::<T>((width, epsilon), &x.tensor.rms_norm(&weight.tensor, epsilon)?, &shape, &expected, allowed)
}

fn add_layer_norm<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (x, shape, width) = random_rows::<T>(cx)?;
    let scale = [0.01, 1.0, 10.0][cx.between(0, 2)];
    let residual = cx.floats::<T>(&shape, scale)?;
    let (weight, bias) = (cx.floats::<T>(&[width], 1.0)?, cx.floats::<T>(&[width], 1.0)?);
    let epsilon = [1e-12, 1e-5][cx.between(0, 1)];
    let result = x.tensor.add_layer_norm(&residual.tensor, &weight.tensor, &bias.tensor, epsilon)?;
    let expected = reference::add_layer_norm(&x.values, &residual.values, &weight.values, &bias.values, epsilon);
    let terms = || x.values.iter().zip(&residual.values).map(|(x, y)| (f64::from(*x), f64::from(*y)));
    let sums: Vec<_> = terms().map(|(x, y)| x + y).collect();
    let magnitudes: Vec<_> = terms().map(|(x, y)| x.abs() + y.abs()).collect();
    let allowed = allowed(&sums, &magnitudes, epsilon, &weight.values, &bias.values);
    close::<T>((width, epsilon), &result, &shape, &expected, |at| allowed[at])
}

/// For each value of the rows to normalise. Their terms are as great as `magnitudes`.
fn allowed(rows: &[f64], magnitudes: &[f64], epsilon: f32, weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let width = weight.len();
    let rows = rows.chunks_exact(width).zip(magnitudes.chunks_exact(width));
    rows.flat_map(|(row, magnitudes)| {
        let greatest = magnitudes.iter().fold(0.0, |greatest: f64, value| greatest.max(value.abs()));
        let of = move |(weight, bias): (&f32, &f32)| tolerance::layer_norm(row, greatest, epsilon, *weight, *bias);
        weight.iter().zip(bias).map(of)
    })
    .collect()
}
