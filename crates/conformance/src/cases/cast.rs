//! Elements as another type.

use super::case;
use crate::array::Array;
use crate::{Case, Context, Outcome, equal, shapes};
use thalweg_doubles::testing::Random;
use thalweg_tensor::{DType, f16};

pub(super) const CASES: &[Case] = &[case("to_dtype_f16", 60, to_f16), case("to_dtype_of_f16", 60, to_f32)];

/// Any number, those among them that f16 does not have.
fn number(random: &mut Random) -> f32 {
    match random.below(8) {
        0 => [0.0, f32::INFINITY, f32::NEG_INFINITY, 65_504.0, 65_519.0, 65_521.0, 1e30][random.below(7) as usize],
        1 => random.unit() * 1e-4,
        _ => random.unit() * 1000.0,
    }
}

/// The nearest value, of two the even one.
fn to_f16(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    let array = Array::new(&shape, |_| number(&mut cx.random));
    let x = cx.disguised(&array)?;
    let expected: Vec<_> = array.values.iter().map(|value| f16::from_f32(*value)).collect();
    equal("f32 to f16", &x.to_dtype(DType::F16)?, &shape, &expected)?;
    equal("f32 to f32", &x.to_dtype(DType::F32)?, &shape, &array.values)
}

/// The same value, whichever of all it is.
fn to_f32(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    let array = Array::new(&shape, |_| {
        Some(f16::from_bits(cx.random.bits() as u16)).filter(|v| !v.is_nan()).unwrap_or(f16::ONE)
    });
    let x = cx.disguised(&array)?;
    let expected: Vec<_> = array.values.iter().map(|value| value.to_f32()).collect();
    equal("f16 to f32", &x.to_dtype(DType::F32)?, &shape, &expected)
}
