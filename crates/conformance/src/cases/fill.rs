//! Tensors of one value.

use super::case;
use super::in_place::unique;
use crate::array::Array;
use crate::{Case, Context, Outcome, equal, shapes};
use std::fmt::Debug;
use thalweg_doubles::testing::Random;
use thalweg_tensor::{Element, Tensor, f16};

pub(super) const CASES: &[Case] = &[
    case("fill_f32", 40, |cx| fill(cx, |random| random.unit() * 1e3)),
    case("fill_f16", 60, |cx| fill(cx, |random| f16::from_f32(random.unit() * 1e3))),
    case("fill_u32", 40, |cx| fill(cx, |random| random.bits() as u32)),
    case("fill_i32", 40, |cx| fill(cx, |random| random.bits() as i32)),
];

fn fill<T: Element + PartialEq + Debug>(cx: &mut Context<'_>, value: fn(&mut Random) -> T) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    let elements = shape.iter().product();
    let own = value(&mut cx.random);
    equal("full", &Tensor::full(&cx.device, own, &shape)?, &shape, &vec![own; elements])?;
    equal("zeros", &Tensor::zeros::<T>(&cx.device, &shape)?, &shape, &vec![T::zeroed(); elements])?;
    // A view of it is copied from the middle.
    let list = Tensor::full(&cx.device, own, &[elements + 3])?.narrow(0, 1, elements)?;
    equal("a view", &list.add(&Tensor::zeros::<T>(&cx.device, &[])?)?, &[elements], &vec![own; elements])?;

    let array = Array::new(&shape, |_| value(&mut cx.random));
    let mut x = unique(cx, &array)?;
    let mut shape = shape;
    if shape.len() > 1 && cx.random.below(2) == 0 {
        // Also where the elements do not lie one after the other.
        let last = shape.len() - 1;
        x = x.transpose(0, last)?;
        shape.swap(0, last);
    }
    x.fill(own)?;
    equal("fill", &x, &shape, &vec![own; elements])
}
