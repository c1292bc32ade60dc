//! Tensors one after the other, and as the entries of a new axis.

use super::case;
use crate::array::Array;
use crate::{Case, Context, Outcome, equal, shapes};
use std::fmt::Debug;
use thalweg_tensor::{Element, Tensor, f16};

pub(super) const CASES: &[Case] = &[
    case("concat_f32", 40, |cx| concat(cx, |at| at as f32 + 0.5)),
    case("concat_i32", 40, |cx| concat(cx, |at| -1 - at as i32)),
    case("concat_u32", 40, |cx| concat(cx, |at| u32::MAX - at as u32)),
    case("concat_f16", 26, |cx| concat(cx, |at| f16::from_bits(at as u16))),
    case("stack_f32", 40, |cx| stack(cx, |at| at as f32 + 0.5)),
    case("stack_f16", 26, |cx| stack(cx, |at| f16::from_bits(at as u16))),
];

/// Few tensors, or more than a kernel takes at a time.
fn count(cx: &mut Context<'_>) -> usize {
    let most = [4, 7, 60][cx.between(0, 2)];
    cx.between(1, most)
}

/// Numbered over all of the tensors.
fn pieces<T: Element>(
    cx: &mut Context<'_>,
    shapes: &[Vec<usize>],
    number: fn(usize) -> T,
) -> Outcome<(Vec<Array<T>>, Vec<Tensor>)> {
    let (mut arrays, mut tensors, mut before) = (Vec::new(), Vec::new(), 0);
    for shape in shapes {
        let array = Array::new(shape, |at| number((before + at) % 30_000));
        before += array.values.len();
        tensors.push(cx.disguised(&array)?);
        arrays.push(array);
    }
    Ok((arrays, tensors))
}

fn concat<T: Element + PartialEq + Debug>(cx: &mut Context<'_>, number: fn(usize) -> T) -> Outcome {
    let mut shape = shapes::shape(&mut cx.random, 300);
    if shape.is_empty() {
        shape.push(3);
    }
    let axis = cx.between(0, shape.len() - 1);
    shape[axis] = 1;
    let lengths: Vec<usize> = (0..count(cx)).map(|_| cx.between(0, 4)).collect();
    let of_length = |length: &usize| {
        let mut shape = shape.clone();
        shape[axis] = *length;
        shape
    };
    let (arrays, tensors) = pieces(cx, &lengths.iter().map(of_length).collect::<Vec<_>>(), number)?;
    let result = Tensor::concat(&tensors.iter().collect::<Vec<_>>(), axis)?;
    let expected = Array::from_indices(&of_length(&lengths.iter().sum()), |index| {
        let (mut piece, mut own) = (0, index.to_vec());
        while own[axis] >= lengths[piece] {
            own[axis] -= lengths[piece];
            piece += 1;
        }
        arrays[piece].at(&own)
    });
    equal((&shape, axis, &lengths), &result, &expected.shape, &expected.values)
}

fn stack<T: Element + PartialEq + Debug>(cx: &mut Context<'_>, number: fn(usize) -> T) -> Outcome {
    let mut shape = shapes::shape(&mut cx.random, 300);
    shape.truncate(5);
    let (axis, count) = (cx.between(0, shape.len()), count(cx));
    let (arrays, tensors) = pieces(cx, &vec![shape.clone(); count], number)?;
    let result = Tensor::stack(&tensors.iter().collect::<Vec<_>>(), axis)?;
    let mut stacked = shape.clone();
    stacked.insert(axis, count);
    let expected = Array::from_indices(&stacked, |index| {
        let mut own = index.to_vec();
        let piece = own.remove(axis);
        arrays[piece].at(&own)
    });
    equal((&shape, axis, count), &result, &stacked, &expected.values)
}
