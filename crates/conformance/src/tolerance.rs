//! How far from the exact value a result may be, an operator a function, with the reason.
//!
//! All in units of the rounding of one f32 operation, which every device keeps for sums, differences and products. A
//! division or a root of a GPU is within 3 units in the last place, which is 6 roundings, and its own exponential
//! within `3 + 2 |x|` units (the Vulkan specification, "Precision and Operation of SPIR-V Instructions"). A sum of n
//! terms, in whatever order, is off by at most a rounding for each term, of the sum of the magnitudes (Higham, Accuracy
//! and Stability of Numerical Algorithms, sections 3.1 and 4.2). Inputs are exact: they are rounded to their type
//! before the reference sees them. What rounding the result to its own type adds is no business of this module
//! ([`Float::ROUNDING`](crate::Float::ROUNDING)).

use thalweg_tensor::{Binary, Pooling, Reduction};

/// Half a unit in the last place of 1: the relative error of one rounded f32 operation.
pub const ROUNDING: f64 = 5.960_464_477_539_063e-8;

/// A sum of `terms` terms; their magnitudes add up to `magnitudes`.
pub fn sum(terms: usize, magnitudes: f64) -> f64 {
    terms as f64 * ROUNDING * magnitudes
}

/// One operation, rounded once; a division as above; the greater of two is exact.
pub fn binary(operation: Binary, expected: f64) -> f64 {
    let roundings = match operation {
        Binary::Max | Binary::Min => 0.0,
        Binary::Div => 6.0,
        // Within 2 ulp, which are 4 roundings; its divisions may be a GPU's own.
        Binary::Pow => 8.0,
        _ => 1.0,
    };
    roundings * ROUNDING * expected.abs()
}

/// A function of one value: its steps round at most 16 times, and an exponential may be a device's own. Relative to 1
/// where the result is smaller, since differences of values near 1 are part of some.
pub fn unary(x: f64, expected: f64) -> f64 {
    (16.0 + 4.0 * x.abs()) * ROUNDING * expected.abs().max(1.0)
}

/// Sine and cosine of any number: within 1.2e-7, which are two roundings, and as much where a fused multiplication is
/// not.
pub fn circle() -> f64 {
    4.0 * ROUNDING
}

/// A dense layer: the sum of the products and the bias; no activation is steeper than 1.2, and each rounds as a
/// function of one value near 1 does, since what an exponential's own error does to it fades where the argument is
/// large.
pub fn linear(inputs: usize, magnitudes: f64, expected: f64) -> f64 {
    1.2 * sum(inputs + 2, magnitudes) + unary(1.0, expected)
}

/// A matrix product: sums of `k` products.
pub fn matmul(k: usize, magnitudes: f64) -> f64 {
    sum(k + 1, magnitudes)
}

/// Softmax of values that differ by at most 20: a difference is off by 20 roundings, the exponential of it by a few (a
/// device's own by `|x| e^-|x|`, which is less than 1, of four), the sum by one for each term; no result is above 1.
pub fn softmax(width: usize) -> f64 {
    (64.0 + width as f64) * ROUNDING
}

/// Rows to length 1: the sum of squares is off by a rounding for each term, its root by half of that; no result is
/// above 1.
pub fn normalize(width: usize) -> f64 {
    (16.0 + width as f64) * ROUNDING
}

/// A row of `width` values with these magnitudes in sum to one value; the greatest and the least are exact.
pub fn reduce(reduction: Reduction, width: usize, magnitudes: f64) -> f64 {
    match reduction {
        Reduction::Sum => sum(width, magnitudes),
        Reduction::Mean => sum(width + 6, magnitudes) / width as f64,
        // Relative to the product, which is given for the magnitudes.
        Reduction::Product => sum(width, magnitudes),
        _ => 0.0,
    }
}

/// The column of a sequence of `length` rows with these magnitudes in sum; the first, the last and the greatest are
/// exact. A mean with weights rounds each product too, and no row has more than twice its share of the weights.
pub fn pool(pooling: Pooling, length: usize, magnitudes: f64) -> f64 {
    match pooling {
        Pooling::Mean => sum(length + 6, magnitudes) / length as f64,
        Pooling::Sum => sum(length, magnitudes),
        Pooling::MeanSqrtLength => sum(length + 12, magnitudes) / (length as f64).sqrt(),
        Pooling::WeightedMean => 2.0 * sum(2 * length + 8, magnitudes) / length as f64,
        _ => 0.0,
    }
}

/// The sum of three looked-up values of at most 1: two roundings, of sums of at most 2 and 3.
pub fn embed() -> f64 {
    5.0 * ROUNDING
}

/// Attention over values of at most 1. A score is a sum of `dim` products, off by a rounding for each, and scaled; a
/// bias of at most `bias` adds a rounding of what both are together. The weights are off by twice that, by an
/// exponential's own error, and by a rounding for each term of their sum.
pub fn attention(dim: usize, scale: f64, bias: f64, longest: usize) -> f64 {
    let greatest = dim as f64 * scale;
    let scores = dim as f64 * greatest + if bias > 0.0 { greatest + bias } else { 0.0 };
    (2.0 * scores + 2.0 * longest as f64 + 64.0) * ROUNDING
}

/// Layer normalisation of one row: what is normalised is off by the rounding of the residual sum, its mean by up to one
/// more for each term, all relative to the row's greatest value; the division magnifies that, and the variance's own
/// error, which is of the same size. No normalised value is above the root of the width. The affine step then rounds
/// once for each of its operations.
pub fn layer_norm(row: &[f64], greatest: f64, epsilon: f32, weight: f32, bias: f32) -> f64 {
    let width = row.len() as f64;
    let mean = row.iter().sum::<f64>() / width;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width;
    let magnified = greatest / (variance + f64::from(epsilon)).sqrt();
    let normalised = (width + 16.0) * (1.0 + width.sqrt()) * (1.0 + magnified);
    ROUNDING * (normalised * f64::from(weight.abs()) + f64::from(bias.abs()))
}

/// Normalisation by the root mean square: the mean of the squares is off by a rounding for each term, its root by half
/// of that, all relative to the result.
pub fn rms_norm(width: usize, expected: f64) -> f64 {
    (16.0 + width as f64) * ROUNDING * expected.abs()
}
