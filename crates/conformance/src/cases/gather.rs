//! Entries of an axis, and elements along it, by their numbers.

use super::case;
use crate::array::Array;
use crate::{Case, Context, Outcome, equal, shapes};
use std::fmt::Debug;
use thalweg_tensor::{Element, f16};

pub(super) const CASES: &[Case] = &[
    case("index_select_f32", 40, |cx| index_select(cx, |at| at as f32 + 0.5)),
    case("index_select_i32", 40, |cx| index_select(cx, |at| -1 - at as i32)),
    case("index_select_u32", 40, |cx| index_select(cx, |at| u32::MAX - at as u32)),
    case("index_select_f16", 26, |cx| index_select(cx, |at| f16::from_bits(at as u16))),
    case("gather_f32", 40, |cx| gather(cx, |at| at as f32 + 0.5)),
    case("gather_f16", 26, |cx| gather(cx, |at| f16::from_bits(at as u16))),
];

/// A shape, and an axis of it that is not empty.
fn shape_and_axis(cx: &mut Context<'_>) -> (Vec<usize>, usize) {
    let mut shape = shapes::shape(&mut cx.random, 400);
    if shape.is_empty() {
        shape.push(5);
    }
    let axis = cx.between(0, shape.len() - 1);
    shape[axis] = shape[axis].max(1);
    (shape, axis)
}

fn index_select<T: Element + PartialEq + Debug>(cx: &mut Context<'_>, number: fn(usize) -> T) -> Outcome {
    let (shape, axis) = shape_and_axis(cx);
    let x = Array::new(&shape, number);
    let indices: Vec<u32> = (0..cx.between(0, 9)).map(|_| cx.random.below(shape[axis] as u32)).collect();
    let result = cx.disguised(&x)?.index_select(axis, &cx.list(&indices)?)?;
    let mut selected = shape.clone();
    selected[axis] = indices.len();
    let expected = Array::from_indices(&selected, |index| {
        let mut own = index.to_vec();
        own[axis] = indices[index[axis]] as usize;
        x.at(&own)
    });
    equal((&shape, axis, &indices), &result, &selected, &expected.values)
}

fn gather<T: Element + PartialEq + Debug>(cx: &mut Context<'_>, number: fn(usize) -> T) -> Outcome {
    let (shape, axis) = shape_and_axis(cx);
    let x = Array::new(&shape, number);
    let mut own = shape.clone();
    own[axis] = cx.between(0, 6);
    let indices = Array::new(&own, |_| cx.random.below(shape[axis] as u32));
    let result = cx.disguised(&x)?.gather(axis, &cx.disguised(&indices)?)?;
    let expected = Array::from_indices(&own, |index| {
        let mut from = index.to_vec();
        from[axis] = indices.at(index) as usize;
        x.at(&from)
    });
    equal((&shape, axis), &result, &own, &expected.values)
}
