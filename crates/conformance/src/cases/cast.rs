//! Elements as another type.

use super::case;
use crate::array::Array;
use crate::{Case, Context, Outcome, equal, shapes};
use thalweg_doubles::testing::Random;
use thalweg_tensor::{DType, f16};

pub(super) const CASES: &[Case] = &[
    case("to_dtype_f16", 60, to_f16),
    case("to_dtype_of_f16", 60, to_f32),
    case("to_dtype_of_floats_to_integers", 40, from_f32),
    case("to_dtype_of_integers", 40, from_integers),
    case("to_dtype_of_f16_to_integers_and_back_f16", 40, half),
];

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

/// Towards 0; what is beyond the range, and NaN.
fn from_f32(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    let array = Array::new(&shape, |_| match cx.random.below(6) {
        0 => [f32::NAN, 2_147_483_648.0, -2_147_483_648.0, 4_294_967_296.0, -0.99, 3e9][cx.random.below(6) as usize],
        1 => cx.random.unit() * 1e10,
        _ => number(&mut cx.random),
    });
    let x = cx.disguised(&array)?;
    let unsigned: Vec<_> = array.values.iter().map(|value| *value as u32).collect();
    let signed: Vec<_> = array.values.iter().map(|value| *value as i32).collect();
    equal("f32 to u32", &x.to_dtype(DType::U32)?, &shape, &unsigned)?;
    equal("f32 to i32", &x.to_dtype(DType::I32)?, &shape, &signed)
}

/// The nearest f32; between integers the bits.
fn from_integers(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    let array = Array::new(&shape, |_| cx.random.bits() as u32 >> cx.random.below(32));
    let x = cx.disguised(&array)?;
    let floats: Vec<_> = array.values.iter().map(|value| *value as f32).collect();
    let bits: Vec<_> = array.values.iter().map(|value| *value as i32).collect();
    equal("u32 to f32", &x.to_dtype(DType::F32)?, &shape, &floats)?;
    let signed = x.to_dtype(DType::I32)?;
    equal("u32 to i32", &signed, &shape, &bits)?;
    equal("and back", &signed.to_dtype(DType::U32)?, &shape, &array.values)?;
    let floats: Vec<_> = bits.iter().map(|value| *value as f32).collect();
    equal("i32 to f32", &signed.to_dtype(DType::F32)?, &shape, &floats)
}

fn half(cx: &mut Context<'_>) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    let array = Array::new(&shape, |_| match cx.random.below(8) {
        0 => [f16::NAN, f16::INFINITY, f16::NEG_INFINITY, f16::MAX][cx.random.below(4) as usize],
        _ => f16::from_f32(number(&mut cx.random)),
    });
    let x = cx.disguised(&array)?;
    let integers: Vec<_> = array.values.iter().map(|value| value.to_f32() as i32).collect();
    let unsigned: Vec<_> = array.values.iter().map(|value| value.to_f32() as u32).collect();
    let signed = x.to_dtype(DType::I32)?;
    equal("f16 to i32", &signed, &shape, &integers)?;
    equal("f16 to u32", &x.to_dtype(DType::U32)?, &shape, &unsigned)?;
    let back: Vec<_> = integers.iter().map(|value| f16::from_f32(*value as f32)).collect();
    equal("i32 to f16", &signed.to_dtype(DType::F16)?, &shape, &back)?;
    let back: Vec<_> = unsigned.iter().map(|value| f16::from_f32(*value as f32)).collect();
    equal("u32 to f16", &x.to_dtype(DType::U32)?.to_dtype(DType::F16)?, &shape, &back)
}
