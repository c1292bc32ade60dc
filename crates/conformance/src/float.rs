//! The element types that operators round to.

use thalweg_tensor::{Element, f16};

/// A floating-point element. Operators compute in f32 or better, and round their results to the type once.
pub trait Float: Element + PartialEq {
    /// The relative error of rounding a result of f32 to the type: half a unit in the last place of 1.
    const ROUNDING: f64;
    /// The absolute error that rounding a result adds where the type's numbers are no closer to each other; also what a
    /// device may flush to 0.
    const SMALLEST: f64;

    /// The nearest value.
    fn nearest(value: f32) -> Self;

    /// The same value.
    fn widened(self) -> f32;
}

impl Float for f32 {
    // The tolerances of the operators have it.
    const ROUNDING: f64 = 0.0;
    const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

    fn nearest(value: f32) -> Self {
        value
    }

    fn widened(self) -> f32 {
        self
    }
}

impl Float for f16 {
    const ROUNDING: f64 = 1.0 / 2048.0;
    /// Half of the smallest number: those below 2^-14 are as far apart as it is large.
    const SMALLEST: f64 = 1.0 / (1 << 25) as f64;

    fn nearest(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn widened(self) -> f32 {
        self.to_f32()
    }
}
