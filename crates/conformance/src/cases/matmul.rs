//! Matrix products.

use super::case;
use crate::array::Array;
use crate::{Case, Context, Float, Outcome, close, shapes, tolerance};
use thalweg_tensor::f16;

pub(super) const CASES: &[Case] = &[
    case("matmul_f32", 80, small::<f32>),
    case("matmul_of_large_matrices_f32", 4, large::<f32>),
    case("matmul_of_broadcast_operands_f32", 20, broadcast::<f32>),
    case("matmul_of_leading_axes_that_broadcast_f32", 40, leading::<f32>),
    case("matmul_f16", 53, small::<f16>),
    case("matmul_of_large_matrices_f16", 2, large::<f16>),
    case("matmul_of_broadcast_operands_f16", 13, broadcast::<f16>),
    case("matmul_of_leading_axes_that_broadcast_f16", 26, leading::<f16>),
];

/// Any leading axes, odd sizes, none of something now and then.
fn small<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let leading: Vec<_> = (0..cx.between(0, 4))
        .map(|_| match cx.random.below(10) {
            0 => 0,
            _ => cx.between(1, 3),
        })
        .collect();
    let sizes = [(); 3].map(|()| match cx.random.below(5) {
        0 => cx.between(10, 70),
        _ => cx.between(0, 9),
    });
    product::<T>(cx, &leading, sizes)
}

/// Beyond what is summed at once.
fn large<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let sizes = [cx.between(90, 140), cx.between(500, 700), cx.between(60, 130)];
    product::<T>(cx, &[], sizes)
}

fn product<T: Float>(cx: &mut Context<'_>, leading: &[usize], [m, k, n]: [usize; 3]) -> Outcome {
    let a = cx.floats::<T>(&[leading, &[m, k]].concat(), 1.0)?;
    let b = cx.floats::<T>(&[leading, &[k, n]].concat(), 1.0)?;
    let result = a.tensor.matmul(&b.tensor)?;
    let batch = leading.iter().product();
    let (expected, magnitudes) = exact(&a.values, &b.values, batch, [m, k, n]);
    let what = format!("{leading:?} of [{m}, {k}] * [{k}, {n}]");
    let shape = [leading, &[m, n]].concat();
    close::<T>(what, &result, &shape, &expected, |at| tolerance::matmul(k, magnitudes[at]))
}

/// One matrix for the whole batch, seen through a stride of 0.
fn broadcast<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let batch = cx.between(1, 5);
    let sizes @ [m, k, n] = [(); 3].map(|()| cx.between(1, 40));
    let a = cx.floats::<T>(&[m, k], 1.0)?;
    let b = cx.floats::<T>(&[batch, k, n], 1.0)?;
    let result = a.tensor.broadcast_to(&[batch, m, k])?.matmul(&b.tensor)?;
    let (expected, magnitudes) = exact(&a.values.repeat(batch), &b.values, batch, sizes);
    let what = format!("{batch} of one [{m}, {k}] * [{k}, {n}]");
    close::<T>(what, &result, &[batch, m, n], &expected, |at| tolerance::matmul(k, magnitudes[at]))
}

/// Leading axes that are 1, or missing, in one of the two.
fn leading<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let full: Vec<_> = (0..cx.between(1, 4)).map(|_| cx.between(1, 3)).collect();
    let (left, right) = (shapes::narrower(&full, &mut cx.random), shapes::narrower(&full, &mut cx.random));
    let sizes @ [m, k, n] = [(); 3].map(|()| cx.between(1, 12));
    let a = cx.floats::<T>(&[&left[..], &[m, k]].concat(), 1.0)?;
    let b = cx.floats::<T>(&[&right[..], &[k, n]].concat(), 1.0)?;
    let result = a.tensor.matmul(&b.tensor)?;
    // Axes that are repeated in both have length 1.
    let rank = left.len().max(right.len());
    let axis = |shape: &[usize], at: usize| (at + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    let batch: Vec<_> = (0..rank).map(|at| axis(&left, at).max(axis(&right, at))).collect();
    let repeated = |values: Vec<f32>, own: &[usize], rows: usize, columns: usize| {
        let shape = [own, &[rows, columns]].concat();
        Array { shape, values }.broadcast_to(&[&batch[..], &[rows, columns]].concat()).values
    };
    let (x, y) = (repeated(a.values, &left, m, k), repeated(b.values, &right, k, n));
    let (expected, magnitudes) = exact(&x, &y, batch.iter().product(), sizes);
    let what = format!("{left:?} of [{m}, {k}] * {right:?} of [{k}, {n}]");
    let shape = [&batch[..], &[m, n]].concat();
    close::<T>(what, &result, &shape, &expected, |at| tolerance::matmul(k, magnitudes[at]))
}

/// The products, and the sums of the magnitudes of their terms.
fn exact(a: &[f32], b: &[f32], batch: usize, [m, k, n]: [usize; 3]) -> (Vec<f64>, Vec<f64>) {
    let element = |at: usize| {
        let (i, row, column) = (at / n / m, at / n % m, at % n);
        let terms = (0..k).map(|j| f64::from(a[(i * m + row) * k + j]) * f64::from(b[(i * k + j) * n + column]));
        terms.fold((0.0, 0.0), |(sum, magnitudes), term| (sum + term, magnitudes + term.abs()))
    };
    (0..batch * m * n).map(element).unzip()
}
