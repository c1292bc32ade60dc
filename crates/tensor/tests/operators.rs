//! What the host's operators promise beyond the conformance suite, which has the rest: every bit of one operation.
//! Operands are in disguise: views, frozen, or written on another stream.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::array::Array;
use common::{Random, check, disguised, shapes};
use proptest::prelude::*;
use thalweg_kernels::elementwise;
use thalweg_tensor::Binary;

/// A shape, and two that broadcast to it.
type Shapes = (Vec<usize>, Vec<usize>, Vec<usize>);

fn broadcasts() -> impl Strategy<Value = Shapes> {
    (shapes(1500), any::<(u64, u64)>()).prop_map(|(shape, (a, b))| {
        let (mut a, mut b) = (Random::new(a), Random::new(b));
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for axis in &shape {
            // At most one of the two repeats an axis, or the result would have another shape.
            let (one, both) = if a.below(3) == 0 { (true, a.below(2) == 0) } else { (false, false) };
            left.push(if one && both { 1 } else { *axis });
            right.push(if one && !both { 1 } else { *axis });
        }
        let missing = |side: &mut Vec<usize>, random: &mut Random| {
            let leading = side.iter().zip(&shape).take_while(|(own, axis)| **own == 1 && **axis >= 1).count();
            side.drain(..random.below(leading as u32 + 1) as usize);
        };
        // The axes that one operand leaves out are those of the other, also where both are 1.
        if b.below(2) == 0 {
            missing(&mut left, &mut b)
        } else {
            missing(&mut right, &mut b)
        }
        (shape, left, right)
    })
}

#[test]
fn binary_operations_of_f32_are_rounded_once() {
    check(file!(), 60, (broadcasts(), any::<u64>()), |device, ((shape, left, right), seed)| {
        let random = &mut Random::new(*seed);
        let value = |random: &mut Random| match random.below(12) {
            0 => [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN][random.below(5) as usize],
            _ => random.unit() * 100.0,
        };
        // A power is rounded more than once.
        for operation in Binary::ALL.into_iter().filter(|operation| *operation != Binary::Pow) {
            let (a, b) = (Array::new(left, |_| value(random)), Array::new(right, |_| value(random)));
            let (x, y) = (disguised(device, &a, random.bits()), disguised(device, &b, random.bits()));
            let values = x.binary(operation, &y).unwrap().to_vec::<f32>().unwrap();
            let (a, b) = (a.broadcast_to(shape), b.broadcast_to(shape));
            assert_eq!(values.len(), a.values.len());
            for ((value, a), b) in values.iter().zip(&a.values).zip(&b.values) {
                // f64 has more than twice the digits of f32, so rounding twice is rounding once.
                let expected = elementwise::reference::binary_f32(operation, *a, *b) as f32;
                let same = *value == expected || (value.is_nan() && expected.is_nan());
                assert!(same, "{a:?} {operation:?} {b:?} gave {value:?}");
            }
        }
    });
}
