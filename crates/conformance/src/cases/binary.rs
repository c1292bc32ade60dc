//! Two operands, element by element, broadcasting.

use super::case;
use crate::array::Array;
use crate::{Case, Context, Float, Outcome, close, equal, shapes, tolerance};
use std::fmt::Debug;
use thalweg_doubles::testing::Random;
use thalweg_kernels::elementwise::reference;
use thalweg_tensor::{Binary, Element, Result, Scalar, Tensor, f16};

pub(super) const CASES: &[Case] = &[
    case("binary_f32", 60, floats::<f32>),
    case("binary_i32", 60, |cx| integers(cx, signed, divisor_i32, reference::binary_i32)),
    case("binary_u32", 60, |cx| integers(cx, unsigned, divisor_u32, reference::binary_u32)),
    case("binary_f16", 40, floats::<f16>),
    case("binary_with_a_number_f32", 40, float_and_number::<f32>),
    case("binary_with_a_number_i32", 40, |cx| integer_and_number(cx, signed, divisor_i32, reference::binary_i32)),
    case("binary_with_a_number_u32", 40, |cx| integer_and_number(cx, unsigned, divisor_u32, reference::binary_u32)),
    case("binary_with_a_number_f16", 26, float_and_number::<f16>),
];

/// Each operation through each of the ways to call it.
fn apply(operation: Binary, x: &Tensor, y: &Tensor, random: &mut Random) -> Result<Tensor> {
    match (operation, random.below(3)) {
        (Binary::Add, 0) => x + y,
        (Binary::Sub, 0) => x - y,
        (Binary::Mul, 0) => x * y,
        (Binary::Div, 0) => x / y,
        (Binary::Add, 1) => x.add(y),
        (Binary::Sub, 1) => x.sub(y),
        (Binary::Mul, 1) => x.mul(y),
        (Binary::Div, 1) => x.div(y),
        (Binary::Max, 1) => x.maximum(y),
        (Binary::Min, 1) => x.minimum(y),
        (Binary::Pow, 1) => x.pow(y),
        _ => x.binary(operation, y),
    }
}

/// `x op scalar` through each of the ways to call it, or `scalar op x`.
fn apply_scalar<S: Into<Scalar> + Signs>(
    operation: Binary,
    x: &Tensor,
    scalar: S,
    swapped: bool,
    random: &mut Random,
) -> Result<Tensor> {
    match (operation, random.below(3), swapped) {
        (Binary::Add | Binary::Sub | Binary::Mul | Binary::Div, 0, _) => scalar.sign(operation, x, swapped),
        (Binary::Add, 1, false) => x.add_scalar(scalar),
        (Binary::Sub, 1, false) => x.sub_scalar(scalar),
        (Binary::Mul, 1, false) => x.mul_scalar(scalar),
        (Binary::Div, 1, false) => x.div_scalar(scalar),
        (Binary::Max, 1, false) => x.maximum_scalar(scalar),
        (Binary::Min, 1, false) => x.minimum_scalar(scalar),
        (Binary::Pow, 1, false) => x.pow_scalar(scalar),
        (_, _, false) => x.binary_scalar(operation, scalar),
        (_, _, true) => Tensor::scalar_binary(scalar, operation, x),
    }
}

/// Numbers that have signs with tensors.
trait Signs {
    fn sign(self, operation: Binary, x: &Tensor, swapped: bool) -> Result<Tensor>;
}

macro_rules! signs {
    ($($number:ty),*) => {$(
        impl Signs for $number {
            fn sign(self, operation: Binary, x: &Tensor, swapped: bool) -> Result<Tensor> {
                match (operation, swapped) {
                    (Binary::Add, false) => x + self,
                    (Binary::Add, true) => self + x,
                    (Binary::Sub, false) => x - self,
                    (Binary::Sub, true) => self - x,
                    (Binary::Mul, false) => x * self,
                    (Binary::Mul, true) => self * x,
                    (_, false) => x / self,
                    (_, true) => self / x,
                }
            }
        }
    )*};
}
signs!(f32, u32, i32);

/// Any value, the special ones among them.
pub(super) fn float(random: &mut Random) -> f32 {
    match random.below(12) {
        0 => [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN][random.below(5) as usize],
        _ => random.unit() * 100.0,
    }
}

/// The smallest magnitude of an integer is a special value, and so is the greatest.
pub(super) fn signed(random: &mut Random) -> i32 {
    match random.below(8) {
        0 => [i32::MIN, i32::MAX, -1, 0][random.below(4) as usize],
        _ => random.bits() as i32,
    }
}

pub(super) fn unsigned(random: &mut Random) -> u32 {
    random.bits() as u32 >> random.below(32)
}

pub(super) fn divisor_i32(value: i32) -> i32 {
    if value == 0 { -1 } else { value }
}

pub(super) fn divisor_u32(value: u32) -> u32 {
    value.max(1)
}

fn floats<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let [shape, left, right] = shapes::broadcasts(&mut cx.random, 1500);
    for operation in Binary::ALL {
        let (a, b) = (cx.floats_of::<T>(&left, float)?, cx.floats_of::<T>(&right, float)?);
        let result = apply(operation, &a.tensor, &b.tensor, &mut cx.random)?;
        let [a, b] = [(left.clone(), a.values), (right.clone(), b.values)]
            .map(|(own, values)| Array { shape: own, values }.broadcast_to(&shape).values);
        let expected: Vec<_> = a.iter().zip(&b).map(|(a, b)| reference::binary_f32(operation, *a, *b)).collect();
        close::<T>(operation, &result, &shape, &expected, |at| tolerance::binary(operation, expected[at]))?;
    }
    Ok(())
}

fn integers<T: Element + PartialEq + Debug>(
    cx: &mut Context<'_>,
    value: fn(&mut Random) -> T,
    divisor: fn(T) -> T,
    expected: fn(Binary, T, T) -> T,
) -> Outcome {
    let [shape, left, right] = shapes::broadcasts(&mut cx.random, 1500);
    for operation in Binary::ALL {
        let a = Array::new(&left, |_| value(&mut cx.random));
        let b = Array::new(&right, |_| value(&mut cx.random));
        let b = match operation {
            Binary::Div => Array { shape: b.shape, values: b.values.into_iter().map(divisor).collect() },
            _ => b,
        };
        let (x, y) = (cx.disguised(&a)?, cx.disguised(&b)?);
        let result = apply(operation, &x, &y, &mut cx.random)?;
        let (a, b) = (a.broadcast_to(&shape).values, b.broadcast_to(&shape).values);
        let expected: Vec<_> = a.iter().zip(&b).map(|(a, b)| expected(operation, *a, *b)).collect();
        equal(operation, &result, &shape, &expected)?;
    }
    Ok(())
}

/// The number is f32, also beside f16: the result alone is rounded.
fn float_and_number<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    for operation in Binary::ALL {
        let x = cx.floats_of::<T>(&shape, float)?;
        let (scalar, swapped) = (float(&mut cx.random), cx.random.below(2) == 0);
        let result = apply_scalar(operation, &x.tensor, scalar, swapped, &mut cx.random)?;
        let pair = |x: &f32| if swapped { (scalar, *x) } else { (*x, scalar) };
        let expected: Vec<_> = x.values.iter().map(pair).map(|(a, b)| reference::binary_f32(operation, a, b)).collect();
        let what = (operation, scalar, swapped);
        close::<T>(what, &result, &shape, &expected, |at| tolerance::binary(operation, expected[at]))?;
    }
    Ok(())
}

fn integer_and_number<T: Element + PartialEq + Debug + Into<Scalar> + Signs>(
    cx: &mut Context<'_>,
    value: fn(&mut Random) -> T,
    divisor: fn(T) -> T,
    expected: fn(Binary, T, T) -> T,
) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    for operation in Binary::ALL {
        let x = Array::new(&shape, |_| divisor(value(&mut cx.random)));
        let (scalar, swapped) = (divisor(value(&mut cx.random)), cx.random.below(2) == 0);
        let result = apply_scalar(operation, &cx.disguised(&x)?, scalar, swapped, &mut cx.random)?;
        let pair = |x: &T| if swapped { (scalar, *x) } else { (*x, scalar) };
        let expected: Vec<_> = x.values.iter().map(pair).map(|(a, b)| expected(operation, a, b)).collect();
        equal((operation, scalar, swapped), &result, &shape, &expected)?;
    }
    Ok(())
}
