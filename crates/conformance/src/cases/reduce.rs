//! Axes to one value, and to where the greatest or least is.

use super::case;
use super::rows::random_rows;
use crate::array::Array;
use crate::{Case, Context, Float, Outcome, close, equal, shapes, tolerance};
use std::fmt::Debug;
use thalweg_doubles::testing::Random;
use thalweg_kernels::reduce::reference;
use thalweg_tensor::{Element, Reduction, Result, Tensor, f16};

pub(super) const CASES: &[Case] = &[
    case("reduce_f32", 60, reduce::<f32>),
    case("reduce_with_nan_f32", 20, with_nan::<f32>),
    case("reduce_axes_f32", 60, axes::<f32>),
    case("reduce_f16", 40, reduce::<f16>),
    case("reduce_with_nan_f16", 13, with_nan::<f16>),
    case("reduce_axes_f16", 40, axes::<f16>),
    case("arg_reduce_f32", 40, |cx| arg(cx, few)),
    case("arg_reduce_i32", 40, |cx| arg(cx, |random| random.below(9) as i32 - 4)),
    case("arg_reduce_u32", 40, |cx| arg(cx, |random| random.below(9).wrapping_sub(4))),
    case("arg_reduce_f16", 26, |cx| arg(cx, |random| f16::from_f32(few(random)))),
];

/// How far a reduction of these values may be off.
fn allowed(reduction: Reduction, values: &[f32], expected: f64) -> f64 {
    let magnitudes = match reduction {
        Reduction::Product => expected.abs(),
        _ => values.iter().map(|value| f64::from(value.abs())).sum(),
    };
    tolerance::reduce(reduction, values.len(), magnitudes)
}

fn reduce<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (x, shape, width) = random_rows::<T>(cx)?;
    // The values of a product are near 1: a part of it may leave the range where the whole does not.
    for reduction in Reduction::ALL.into_iter().filter(|reduction| *reduction != Reduction::Product) {
        let result = x.tensor.reduce(reduction)?;
        let expected = reference::reduce(&x.values, width, reduction);
        let allowed = |at: usize| allowed(reduction, &x.values[at * width..][..width], expected[at]);
        close::<T>((reduction, width), &result, &shape[..shape.len() - 1], &expected, allowed)?;
    }
    Ok(())
}

/// The greatest of values with NaN among them is NaN, wherever it is, and so is the least. The next row does not
/// notice.
fn with_nan<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let width = cx.between(1, 300);
    let at = cx.random.below(width as u32);
    let mut index = 0;
    let x = cx.floats_of::<T>(&[2, width], |random| {
        index += 1;
        if index == at + 1 { f32::NAN } else { random.unit() }
    })?;
    for reduction in [Reduction::Max, Reduction::Min] {
        let expected = reference::reduce(&x.values, width, reduction);
        let what = format!("NaN at {at} of {width}");
        close::<T>(what, &x.tensor.reduce(reduction)?, &[2], &expected, |_| 0.0)?;
    }
    Ok(())
}

/// Each reduction through each of the ways to call it.
fn apply(reduction: Reduction, x: &Tensor, axes: &[usize], keepdim: bool, random: &mut Random) -> Result<Tensor> {
    match (reduction, random.below(2)) {
        (Reduction::Sum, 0) => x.sum(axes, keepdim),
        (Reduction::Mean, 0) => x.mean(axes, keepdim),
        (Reduction::Max, 0) => x.max(axes, keepdim),
        (Reduction::Min, 0) => x.min(axes, keepdim),
        (Reduction::Product, 0) => x.product(axes, keepdim),
        _ => x.reduce_axes(reduction, axes, keepdim),
    }
}

/// Some of the axes, in any order.
fn axes<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let mut shape = shapes::shape(&mut cx.random, 1500);
    let mut axes = shapes::shuffled(shape.len(), &mut cx.random);
    axes.truncate(cx.between(0, shape.len()));
    axes.iter().for_each(|axis| shape[*axis] = shape[*axis].max(1));
    let x = cx.floats_of::<T>(&shape, |random| (1.0 + 0.5 * random.unit()) * [1.0, -1.0][random.below(2) as usize])?;
    let (array, result_shape) = turned(&Array { shape: shape.clone(), values: x.values }, &axes);
    let width = array.shape[array.shape.len() - 1];
    for reduction in Reduction::ALL {
        let keepdim = cx.random.below(2) == 0;
        let result = apply(reduction, &x.tensor, &axes, keepdim, &mut cx.random)?;
        let expected = reference::reduce(&array.values, width, reduction);
        let allowed = |at: usize| allowed(reduction, &array.values[at * width..][..width], expected[at]);
        let result_shape = kept(&shape, &axes, keepdim).unwrap_or_else(|| result_shape.clone());
        close::<T>((reduction, &shape, &axes, keepdim), &result, &result_shape, &expected, allowed)?;
    }
    Ok(())
}

/// With the axes as one, the last, and the shape without it.
fn turned<T: Copy>(array: &Array<T>, axes: &[usize]) -> (Array<T>, Vec<usize>) {
    let (mut gone, kept): (Vec<_>, Vec<_>) = (0..array.shape.len()).partition(|axis| axes.contains(axis));
    gone.sort_unstable();
    let shape: Vec<_> = kept.iter().map(|axis| array.shape[*axis]).collect();
    let width = gone.iter().map(|axis| array.shape[*axis]).product();
    (array.permute(&[kept, gone].concat()).reshape(&[&shape[..], &[width]].concat()), shape)
}

/// The shape with the axes of length 1, if they are kept.
fn kept(shape: &[usize], axes: &[usize], keepdim: bool) -> Option<Vec<usize>> {
    let length = |(axis, length): (usize, &usize)| if axes.contains(&axis) { 1 } else { *length };
    keepdim.then(|| shape.iter().enumerate().map(length).collect())
}

/// Few different values, so that there are equals; NaN among them.
fn few(random: &mut Random) -> f32 {
    match random.below(60) {
        0 => f32::NAN,
        _ => [0.0, -0.0, 1.0, -2.5, f32::INFINITY, f32::NEG_INFINITY][random.below(6) as usize],
    }
}

fn arg<T: Element + PartialOrd + Debug>(cx: &mut Context<'_>, value: fn(&mut Random) -> T) -> Outcome {
    let mut shape = shapes::shape(&mut cx.random, 1500);
    if shape.is_empty() {
        shape.push(70);
    }
    let axis = cx.between(0, shape.len() - 1);
    shape[axis] = shape[axis].max(1);
    let array = Array::new(&shape, |_| value(&mut cx.random));
    let x = cx.disguised(&array)?;
    let (rows, result_shape) = turned(&array, &[axis]);
    for least in [false, true] {
        let keepdim = cx.random.below(2) == 0;
        let result = if least { x.argmin(axis, keepdim) } else { x.argmax(axis, keepdim) }?;
        let expected = reference::arg_reduce(&rows.values, shape[axis], least);
        let result_shape = kept(&shape, &[axis], keepdim).unwrap_or_else(|| result_shape.clone());
        equal((&shape, axis, least), &result, &result_shape, &expected)?;
    }
    Ok(())
}
