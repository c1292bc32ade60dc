//! The operations one element at a time, in f64 where they round.

use super::{Binary, Shape, Unary, View};
use crate::linear::{Activation, reference as dense};

/// The elements of a view in row-major order. Panics if it reaches outside of `data`.
pub fn copy<T: Copy>(data: &[T], view: View, shape: Shape) -> Vec<T> {
    let elements: u32 = shape.iter().product();
    let element = |index: u32| {
        let (mut at, mut rest) = (view.offset, index);
        for axis in (0..shape.len()).rev() {
            at += rest % shape[axis] * view.strides[axis];
            rest /= shape[axis];
        }
        data[at as usize]
    };
    (0..elements).map(element).collect()
}

/// The operation on two f32.
pub fn binary_f32(operation: Binary, a: f32, b: f32) -> f64 {
    let (a, b) = (f64::from(a), f64::from(b));
    match operation {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
    }
}

/// The operation on two i32. Panics for a division by 0.
pub fn binary_i32(operation: Binary, a: i32, b: i32) -> i32 {
    let (a, b) = (i64::from(a), i64::from(b));
    (match operation {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
    }) as i32
}

/// The operation on two u32. Panics for a division by 0.
pub fn binary_u32(operation: Binary, a: u32, b: u32) -> u32 {
    let (a, b) = (i128::from(a), i128::from(b));
    (match operation {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
    }) as u32
}

/// The operation on one f32.
pub fn unary(operation: Unary, v: f32) -> f64 {
    let v = f64::from(v);
    match operation {
        Unary::Neg => -v,
        Unary::Abs => v.abs(),
        Unary::Exp => v.exp(),
        Unary::Ln => v.ln(),
        Unary::Sqrt => v.sqrt(),
        Unary::Recip => 1.0 / v,
        Unary::Tanh => v.tanh(),
        Unary::Relu => dense::activate(Activation::Relu, v),
        Unary::Silu => dense::activate(Activation::Silu, v),
        Unary::Gelu => dense::activate(Activation::Gelu, v),
        Unary::GeluTanh => dense::activate(Activation::GeluTanh, v),
        Unary::Erf => dense::erf(v),
    }
}
