//! Operators on memory that nobody else can name.

use super::binary::{divisor_i32, divisor_u32, float, signed, unsigned};
use super::case;
use crate::array::Array;
use crate::{Case, Context, Float, Outcome, close, equal, shapes, tolerance};
use std::fmt::Debug;
use thalweg_doubles::testing::Random;
use thalweg_kernels::elementwise::reference;
use thalweg_tensor::{Binary, Element, Result, Tensor, Unary, f16};

pub(super) const CASES: &[Case] = &[
    case("binary_in_place_f32", 40, floats::<f32>),
    case("binary_in_place_i32", 40, |cx| integers(cx, signed, divisor_i32, reference::binary_i32)),
    case("binary_in_place_u32", 40, |cx| integers(cx, unsigned, divisor_u32, reference::binary_u32)),
    case("unary_in_place_f32", 30, unary::<f32>),
    case("binary_in_place_f16", 26, floats::<f16>),
    case("unary_in_place_f16", 20, unary::<f16>),
];

/// A tensor of its own memory, plain or a view of a part of it; the other handles are gone.
pub(super) fn unique<T: Element>(cx: &mut Context<'_>, array: &Array<T>) -> Result<Tensor> {
    let (before, after) = match cx.random.below(3) {
        0 => (0, 0),
        _ => (cx.between(0, 600), cx.between(0, 600)),
    };
    let around = |count| vec![T::zeroed(); count];
    let values = [around(before), array.values.clone(), around(after)].concat();
    let all = Tensor::from_slice(&cx.device, &values, &[values.len()])?;
    all.narrow(0, before, array.values.len())?.reshape(&array.shape)
}

fn change(operation: Binary, x: &mut Tensor, y: &Tensor, random: &mut Random) -> Result<()> {
    match (operation, random.below(2)) {
        (Binary::Add, 0) => x.add_in_place(y),
        (Binary::Sub, 0) => x.sub_in_place(y),
        (Binary::Mul, 0) => x.mul_in_place(y),
        (Binary::Div, 0) => x.div_in_place(y),
        (Binary::Max, 0) => x.maximum_in_place(y),
        (Binary::Min, 0) => x.minimum_in_place(y),
        (Binary::Pow, 0) => x.pow_in_place(y),
        _ => x.binary_in_place(operation, y),
    }
}

fn floats<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    let other = shapes::narrower(&shape, &mut cx.random);
    for operation in Binary::ALL {
        let a = Array::new(&shape, |_| T::nearest(float(&mut cx.random)));
        let b = cx.floats_of::<T>(&other, float)?;
        let mut x = unique(cx, &a)?;
        change(operation, &mut x, &b.tensor, &mut cx.random)?;
        let b = Array { shape: other.clone(), values: b.values }.broadcast_to(&shape).values;
        let pairs = a.values.iter().zip(&b);
        let expected: Vec<_> = pairs.map(|(a, b)| reference::binary_f32(operation, a.widened(), *b)).collect();
        close::<T>(operation, &x, &shape, &expected, |at| tolerance::binary(operation, expected[at]))?;
    }
    Ok(())
}

fn integers<T: Element + PartialEq + Debug>(
    cx: &mut Context<'_>,
    value: fn(&mut Random) -> T,
    divisor: fn(T) -> T,
    expected: fn(Binary, T, T) -> T,
) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    let other = shapes::narrower(&shape, &mut cx.random);
    for operation in Binary::ALL {
        let a = Array::new(&shape, |_| value(&mut cx.random));
        let b = Array::new(&other, |_| match operation {
            Binary::Div => divisor(value(&mut cx.random)),
            _ => value(&mut cx.random),
        });
        let (mut x, y) = (unique(cx, &a)?, cx.disguised(&b)?);
        change(operation, &mut x, &y, &mut cx.random)?;
        let b = b.broadcast_to(&shape).values;
        let expected: Vec<_> = a.values.iter().zip(&b).map(|(a, b)| expected(operation, *a, *b)).collect();
        equal(operation, &x, &shape, &expected)?;
    }
    Ok(())
}

fn unary<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    for operation in Unary::ALL {
        let a = Array::new(&shape, |_| T::nearest(cx.random.unit() * 12.0));
        let mut x = unique(cx, &a)?;
        x.unary_in_place(operation)?;
        let expected: Vec<_> = a.values.iter().map(|value| reference::unary(operation, value.widened())).collect();
        let allowed = |at: usize| tolerance::unary(a.values[at].widened().into(), expected[at]);
        close::<T>(operation, &x, &shape, &expected, allowed)?;
    }
    Ok(())
}
