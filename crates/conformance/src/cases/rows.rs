//! Along the last axis: softmax, unit length.

use super::case;
use crate::{Case, Context, Float, Floats, Outcome, close, shapes, tolerance};
use thalweg_kernels::{pool, softmax};
use thalweg_tensor::{Tensor, Unary, f16};

pub(super) const CASES: &[Case] = &[
    case("softmax_f32", 60, softmax::<f32>),
    case("softmax_of_infinities_and_nan_f32", 20, special::<f32>),
    case("normalize_f32", 60, normalize::<f32>),
    case("rows_of_nothing_f32", 1, nothing::<f32>),
    case("softmax_f16", 40, softmax::<f16>),
    case("softmax_of_infinities_and_nan_f16", 13, special::<f16>),
    case("normalize_f16", 40, normalize::<f16>),
    case("rows_of_nothing_f16", 1, nothing::<f16>),
];

/// Rows of small, middling or large values, their shape, and their width.
pub(super) fn random_rows<T: Float>(cx: &mut Context<'_>) -> Outcome<(Floats, Vec<usize>, usize)> {
    let shape = shapes::rows(&mut cx.random);
    let scale = [0.01, 1.0, 10.0][cx.between(0, 2)];
    let width = shape[shape.len() - 1];
    Ok((cx.floats::<T>(&shape, scale)?, shape, width))
}

fn softmax<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (x, shape, width) = random_rows::<T>(cx)?;
    let expected = softmax::reference::softmax(&x.values, width);
    close::<T>("softmax", &x.tensor.softmax()?, &shape, &expected, |_| tolerance::softmax(width))
}

/// -inf has no weight; a row of nothing else is NaN, and so is one with NaN or +inf in it. Its neighbours are not.
fn special<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (rows, width) = (cx.between(2, 8), cx.between(1, 100));
    let kinds: Vec<_> = (0..rows).map(|_| cx.random.below(5)).collect();
    let special = cx.random.below(width as u32) as usize;
    let mut index = 0;
    let x = cx.floats_of::<T>(&[rows, width], |random| {
        let (row, column) = (index / width, index % width);
        index += 1;
        match kinds[row] {
            0 => f32::NEG_INFINITY,
            1 if column == special => f32::NAN,
            2 if column == special => f32::INFINITY,
            3 if column != special && random.below(2) == 0 => f32::NEG_INFINITY,
            _ => random.unit(),
        }
    })?;
    let result = x.tensor.softmax()?;
    let mut expected = softmax::reference::softmax(&x.values, width);
    for (row, kind) in expected.chunks_exact_mut(width).zip(&kinds) {
        if *kind < 3 {
            row.fill(f64::NAN);
        }
    }
    close::<T>(kinds, &result, &[rows, width], &expected, |_| tolerance::softmax(width))
}

fn normalize<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (x, shape, width) = random_rows::<T>(cx)?;
    let expected = pool::reference::normalize(&x.values, width);
    close::<T>("normalize", &x.tensor.normalize()?, &shape, &expected, |_| tolerance::normalize(width))?;
    // A row of zeros stays one.
    let zeros = Tensor::full(&cx.device, T::zeroed(), &[3, width])?;
    close::<T>("normalize zeros", &zeros.normalize()?, &[3, width], &vec![0.0; 3 * width], |_| 0.0)
}

/// Empty rows have empty results; the sum of nothing is 0.
fn nothing<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let zeros = |shape: &[usize]| Tensor::full(&cx.device, T::zeroed(), shape);
    let (x, none) = (zeros(&[3, 0])?, zeros(&[0])?);
    for (name, result) in [
        ("softmax", x.softmax()),
        ("normalize", x.normalize()),
        ("layer_norm", x.layer_norm(&none, &none, 1e-5)),
        ("add_layer_norm", x.add_layer_norm(&x, &none, &none, 1e-5)),
        ("unary", x.unary(Unary::Exp)),
        ("binary", x.add(&zeros(&[1])?)),
    ] {
        close::<T>(name, &result?, &[3, 0], &[], |_| 0.0)?;
    }
    close::<T>("matmul", &x.matmul(&zeros(&[0, 2])?)?, &[3, 2], &[0.0; 6], |_| 0.0)
}
