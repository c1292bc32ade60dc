//! Comparisons, and the choice by a mask.

use super::binary::{signed, unsigned};
use super::case;
use crate::array::Array;
use crate::{Case, Context, Outcome, equal, shapes};
use std::fmt::Debug;
use thalweg_doubles::testing::Random;
use thalweg_kernels::elementwise::reference;
use thalweg_tensor::{Comparison, Element, Result, Scalar, Tensor, f16};

pub(super) const CASES: &[Case] = &[
    case("compare_f32", 40, |cx| compare(cx, few)),
    case("compare_i32", 40, |cx| {
        compare(cx, |random| [signed(random), random.below(3) as i32][random.below(2) as usize])
    }),
    case("compare_u32", 40, |cx| compare(cx, |random| [unsigned(random), random.below(3)][random.below(2) as usize])),
    case("compare_f16", 26, |cx| compare(cx, |random| f16::from_f32(few(random)))),
    case("select_f32", 40, |cx| select(cx, |random| random.unit())),
    case("select_i32", 40, |cx| select(cx, signed)),
    case("select_u32", 40, |cx| select(cx, unsigned)),
    case("select_f16", 26, |cx| select(cx, |random| f16::from_f32(random.unit()))),
];

/// Few different values, so that many are equal.
fn few(random: &mut Random) -> f32 {
    [0.0, -0.0, 1.0, -1.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY][random.below(7) as usize]
}

/// Each comparison through each of the ways to call it.
fn apply(comparison: Comparison, x: &Tensor, y: &Tensor, random: &mut Random) -> Result<Tensor> {
    match (comparison, random.below(2)) {
        (Comparison::Eq, 0) => x.eq(y),
        (Comparison::Ne, 0) => x.ne(y),
        (Comparison::Lt, 0) => x.lt(y),
        (Comparison::Le, 0) => x.le(y),
        (Comparison::Gt, 0) => x.gt(y),
        (Comparison::Ge, 0) => x.ge(y),
        _ => x.compare(comparison, y),
    }
}

fn apply_scalar(comparison: Comparison, x: &Tensor, scalar: Scalar, random: &mut Random) -> Result<Tensor> {
    match (comparison, random.below(2)) {
        (Comparison::Eq, 0) => x.eq_scalar(scalar),
        (Comparison::Ne, 0) => x.ne_scalar(scalar),
        (Comparison::Lt, 0) => x.lt_scalar(scalar),
        (Comparison::Le, 0) => x.le_scalar(scalar),
        (Comparison::Gt, 0) => x.gt_scalar(scalar),
        (Comparison::Ge, 0) => x.ge_scalar(scalar),
        _ => x.compare_scalar(comparison, scalar),
    }
}

fn compare<T: Element + PartialOrd + Debug + Into<Scalar>>(
    cx: &mut Context<'_>,
    value: fn(&mut Random) -> T,
) -> Outcome {
    let [shape, left, right] = shapes::broadcasts(&mut cx.random, 1500);
    for comparison in Comparison::ALL {
        let (a, b) = (Array::new(&left, |_| value(&mut cx.random)), Array::new(&right, |_| value(&mut cx.random)));
        let (x, y) = (cx.disguised(&a)?, cx.disguised(&b)?);
        let result = apply(comparison, &x, &y, &mut cx.random)?;
        let pairs = a.broadcast_to(&shape).values.into_iter().zip(b.broadcast_to(&shape).values);
        let expected: Vec<_> = pairs.map(|(a, b)| u32::from(reference::compare(comparison, a, b))).collect();
        equal(comparison, &result, &shape, &expected)?;
        let number = value(&mut cx.random);
        let result = apply_scalar(comparison, &x, number.into(), &mut cx.random)?;
        let expected: Vec<_> = a.values.iter().map(|a| u32::from(reference::compare(comparison, *a, number))).collect();
        equal((comparison, number), &result, &left, &expected)?;
    }
    Ok(())
}

fn select<T: Element + PartialEq + Debug>(cx: &mut Context<'_>, value: fn(&mut Random) -> T) -> Outcome {
    let [shape, left, right] = shapes::broadcasts(&mut cx.random, 1500);
    let (a, b) = (Array::new(&left, |_| value(&mut cx.random)), Array::new(&right, |_| value(&mut cx.random)));
    let own = shapes::narrower(&shape, &mut cx.random);
    let mask = Array::new(&own, |_| [0, 1, 0, u32::MAX][cx.random.below(4) as usize]);
    let result = Tensor::select(&cx.disguised(&mask)?, &cx.disguised(&a)?, &cx.disguised(&b)?)?;
    let mask = mask.broadcast_to(&shape).values;
    let pairs = a.broadcast_to(&shape).values.into_iter().zip(b.broadcast_to(&shape).values);
    let expected: Vec<_> = mask.into_iter().zip(pairs).map(|(mask, (a, b))| if mask == 0 { b } else { a }).collect();
    equal((own, left, right), &result, &shape, &expected)
}
