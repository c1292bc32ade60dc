//! The operations one element at a time, in f64 where they round.

use super::{Binary, Comparison, Shape, Unary, View};
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
        Binary::Pow => a.powf(b),
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
        Binary::Pow => i64::from(power(a, b) as i32),
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
        Binary::Pow => i128::from(power(a as i64, b as i64) as u32),
    }) as u32
}

/// A power's lowest bits: the product of as many factors, in steps of squares; towards 0 for a negative one.
fn power(a: i64, b: i64) -> i64 {
    match (a, b) {
        (1, _) | (_, 0) => 1,
        (-1, _) => 1 - 2 * (b & 1),
        (_, ..0) => 0,
        _ => {
            let half = power(a, b / 2);
            let square = half.wrapping_mul(half);
            if b % 2 == 0 { square } else { square.wrapping_mul(a) }
        }
    }
}

/// Whether the comparison of two elements holds.
pub fn compare<T: PartialOrd>(comparison: Comparison, a: T, b: T) -> bool {
    match comparison {
        Comparison::Eq => a == b,
        Comparison::Ne => a != b,
        Comparison::Lt => a < b,
        Comparison::Le => a <= b,
        Comparison::Gt => a > b,
        Comparison::Ge => a >= b,
    }
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
        Unary::Sin => v.sin(),
        Unary::Cos => v.cos(),
        Unary::Rsqrt => 1.0 / v.sqrt(),
        Unary::Sigmoid => 1.0 / (1.0 + (-v).exp()),
        Unary::Floor => v.floor(),
        Unary::Ceil => v.ceil(),
        Unary::Round => v.round_ties_even(),
    }
}
