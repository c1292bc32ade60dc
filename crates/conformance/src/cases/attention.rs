//! Attention within packed sequences.

use super::case;
use crate::{Case, Context, Float, Outcome, close, shapes, tolerance};
use thalweg_kernels::attention::reference;
use thalweg_tensor::f16;

pub(super) const CASES: &[Case] = &[
    case("attention_f32", 60, attention::<f32>),
    case("attention_of_long_sequences_f32", 4, long::<f32>),
    case("attention_f16", 40, attention::<f16>),
    case("attention_of_long_sequences_f16", 2, long::<f16>),
];

fn attention<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let lengths = shapes::lengths(&mut cx.random);
    let (heads, dim) = (cx.between(1, 4), cx.between(1, 72));
    attend::<T>(cx, &lengths, heads, dim)
}

/// Longer than any tile, with the widths of real models.
fn long<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let lengths = [cx.between(200, 400), 1, cx.between(60, 140)];
    let dim = [32, 64][cx.between(0, 1)];
    attend::<T>(cx, &lengths, 2, dim)
}

fn attend<T: Float>(cx: &mut Context<'_>, lengths: &[usize], heads: usize, dim: usize) -> Outcome {
    let starts = shapes::offsets(lengths);
    let (n, width) = (lengths.iter().sum::<usize>(), heads * dim);
    let qkv = cx.floats::<T>(&[n, 3 * width], 1.0)?;
    let offsets = cx.list(&starts)?;
    let result = qkv.tensor.attention(&offsets, heads)?;
    let scale = 1.0 / (dim as f64).sqrt();
    let expected = reference::attention(&qkv.values, &starts, heads, dim, scale as f32);
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let allowed = tolerance::attention(dim, scale, longest);
    close::<T>(format!("{heads} heads of {dim}, {lengths:?}"), &result, &[n, width], &expected, |_| allowed)
}
