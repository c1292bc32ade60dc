//! Attention within packed sequences, with each of its options.

use super::case;
use crate::{Case, Context, Float, Floats, Outcome, close, shapes, tolerance};
use thalweg_kernels::attention::{Params, reference};
use thalweg_kernels::rotary;
use thalweg_tensor::{AttentionOptions, Tensor, f16};

pub(super) const CASES: &[Case] = &[
    case("attention_f32", 40, any::<f32>),
    case("attention_of_long_sequences_f32", 4, long::<f32>),
    case("attention_with_a_scale_f32", 10, scaled::<f32>),
    case("attention_with_a_causal_mask_f32", 20, causal::<f32>),
    case("attention_with_a_window_f32", 20, windowed::<f32>),
    case("attention_with_a_causal_window_f32", 20, causal_window::<f32>),
    case("attention_with_a_relative_bias_f32", 20, biased::<f32>),
    case("attention_with_fewer_key_heads_f32", 20, grouped::<f32>),
    case("attention_over_one_product_f32", 20, fused::<f32>),
    case("attention_with_hidden_nan_f32", 30, hidden_nan::<f32>),
    case("rotary_f32", 30, rotary::<f32>),
    case("rotary_f16", 20, rotary::<f16>),
    case("attention_f16", 26, any::<f16>),
    case("attention_of_long_sequences_f16", 2, long::<f16>),
    case("attention_with_a_scale_f16", 7, scaled::<f16>),
    case("attention_with_a_causal_mask_f16", 13, causal::<f16>),
    case("attention_with_a_window_f16", 13, windowed::<f16>),
    case("attention_with_a_causal_window_f16", 13, causal_window::<f16>),
    case("attention_with_a_relative_bias_f16", 13, biased::<f16>),
    case("attention_with_fewer_key_heads_f16", 13, grouped::<f16>),
    case("attention_over_one_product_f16", 13, fused::<f16>),
    case("attention_with_hidden_nan_f16", 20, hidden_nan::<f16>),
];

/// What one call is asked for, and what its operands are.
#[derive(Clone, Debug)]
struct Asked {
    lengths: Vec<usize>,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    scale: Option<f32>,
    causal: bool,
    window: Option<usize>,
    biased: bool,
}

impl Asked {
    /// No options.
    fn plain(cx: &mut Context<'_>) -> Self {
        let lengths = shapes::lengths(&mut cx.random);
        let (heads, dim) = (cx.between(1, 4), cx.between(1, 72));
        Self { lengths, heads, kv_heads: heads, dim, scale: None, causal: false, window: None, biased: false }
    }

    fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    fn window(self, cx: &mut Context<'_>) -> Self {
        let most = [4, self.longest()][cx.between(0, 1)];
        Self { window: Some(cx.between(0, most)), ..self }
    }

    fn grouped(self, cx: &mut Context<'_>) -> Self {
        Self { heads: self.kv_heads * cx.between(1, 3), ..self }
    }
}

/// Any options together.
fn any<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let mut asked = Asked::plain(cx);
    if cx.random.below(2) == 0 {
        asked = asked.window(cx);
    }
    if cx.random.below(2) == 0 {
        asked = asked.grouped(cx);
    }
    asked = Asked { causal: cx.random.below(2) == 0, biased: cx.random.below(2) == 0, ..asked };
    attend::<T>(cx, &asked)
}

/// Longer than any tile, with the widths of real models.
fn long<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let lengths = vec![cx.between(200, 400), 1, cx.between(60, 140)];
    let dim = [32, 64][cx.between(0, 1)];
    let mut asked = Asked { lengths, heads: 2, kv_heads: 2, dim, ..Asked::plain(cx) };
    attend::<T>(cx, &asked)?;
    asked.window = Some(cx.between(0, 100));
    attend::<T>(cx, &asked)?;
    attend::<T>(cx, &Asked { causal: true, biased: true, kv_heads: 1, ..asked })
}

fn scaled<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let scale = Some(cx.random.unit());
    let asked = Asked { scale, ..Asked::plain(cx) };
    attend::<T>(cx, &asked)
}

fn causal<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let asked = Asked { causal: true, ..Asked::plain(cx) };
    attend::<T>(cx, &asked)
}

fn windowed<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let asked = Asked::plain(cx).window(cx);
    attend::<T>(cx, &asked)
}

fn causal_window<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let asked = Asked { causal: true, ..Asked::plain(cx).window(cx) };
    attend::<T>(cx, &asked)
}

fn biased<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let asked = Asked { biased: true, ..Asked::plain(cx) };
    attend::<T>(cx, &asked)
}

fn grouped<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let asked = Asked::plain(cx).grouped(cx);
    attend::<T>(cx, &asked)
}

fn attend<T: Float>(cx: &mut Context<'_>, asked: &Asked) -> Outcome {
    let n = asked.lengths.iter().sum();
    let query = cx.floats::<T>(&[n, asked.heads, asked.dim], 1.0)?;
    let [key, value] = [(); 2].map(|()| cx.floats::<T>(&[n, asked.kv_heads, asked.dim], 1.0));
    agrees::<T>(cx, asked, [&query, &key?, &value?])
}

/// The three side by side in one matrix, as a dense layer makes them.
fn fused<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let asked = Asked::plain(cx).grouped(cx).window(cx);
    let (n, dim) = (asked.lengths.iter().sum(), asked.dim);
    let width = (asked.heads + 2 * asked.kv_heads) * dim;
    let product = cx.floats::<T>(&[n, width], 1.0)?;
    let mut start = 0;
    let mut part = |heads: usize| -> Outcome<Floats> {
        let values = product.values.chunks(width).flat_map(|row| row[start..start + heads * dim].to_vec()).collect();
        let tensor = product.tensor.narrow(1, start, heads * dim)?.reshape(&[n, heads, dim])?;
        start += heads * dim;
        Ok(Floats { values, tensor })
    };
    let parts = [part(asked.heads)?, part(asked.kv_heads)?, part(asked.kv_heads)?];
    agrees::<T>(cx, &asked, parts.each_ref())
}

/// NaN, or an infinite value, in one row is seen by those that see the row.
fn hidden_nan<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let asked = Asked { causal: cx.random.below(2) == 0, ..Asked::plain(cx).window(cx) };
    let (n, which) = (asked.lengths.iter().sum::<usize>(), cx.between(0, 2));
    let len = n * asked.heads * asked.dim;
    let at = cx.between(0, len.max(1) - 1);
    let poison = if which == 2 && cx.random.below(2) == 0 { f32::INFINITY } else { f32::NAN };
    let mut operand = |operand: usize| {
        let mut index = 0;
        cx.floats_of::<T>(&[n, asked.heads, asked.dim], |random| {
            index += 1;
            if operand == which && index == at + 1 { poison } else { random.unit() }
        })
    };
    let operands = [operand(0)?, operand(1)?, operand(2)?];
    agrees::<T>(cx, &asked, operands.each_ref())
}

fn agrees<T: Float>(cx: &mut Context<'_>, asked: &Asked, operands: [&Floats; 3]) -> Outcome {
    let Asked { ref lengths, heads, kv_heads, dim, scale, causal, window, biased } = *asked;
    let starts = shapes::offsets(lengths);
    let offsets = cx.list(&starts)?;
    let [n, longest] = [lengths.iter().sum(), asked.longest()];
    let mut options = AttentionOptions::new().causal(causal);
    let used = scale.unwrap_or((1.0 / (dim as f64).sqrt()) as f32);
    let plain = Params::new(heads as u32, dim as u32, lengths.len() as u32, used);
    let keys = Params::new(kv_heads as u32, dim as u32, lengths.len() as u32, used);
    let mut params = Params { kv_heads: kv_heads as u32, key: keys.key, value: keys.value, ..plain };
    if let Some(scale) = scale {
        options = options.scale(scale);
    }
    if let Some(window) = window {
        options = options.window(window);
        (params.before, params.after) = (window as u32, window as u32);
    }
    if causal {
        params.after = 0;
    }
    let mut bias = Vec::new();
    if biased {
        let reach = longest.max(1) - 1 + cx.between(0, 2);
        params.reach = reach as u32;
        let floats = cx.floats::<T>(&[heads, 2 * reach + 1], 3.0)?;
        options = options.relative_bias(&floats.tensor);
        bias = floats.values;
    }
    let [query, key, value] = operands.map(|operand| &operand.tensor);
    let result = Tensor::attention(query, key, value, &offsets, &options)?;
    let expected = reference::attention(&params, operands.map(|operand| &operand.values[..]), &starts, &bias);
    let greatest = if biased { 3.0 } else { 0.0 };
    let allowed = tolerance::attention(dim, f64::from(used.abs()), greatest, longest);
    close::<T>(asked, &result, &[n, heads * dim], &expected, |_| allowed)
}

/// Turned heads, of parts of a product too.
fn rotary<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (n, heads, half, rows) = (cx.between(0, 40), cx.between(1, 4), cx.between(1, 36), cx.between(1, 50));
    let (turned, head_dim) = (2 * half, 2 * half + cx.between(0, 4));
    let width = heads * head_dim;
    let both = cx.floats::<T>(&[n, 2 * width], 1.0)?;
    let x = both.tensor.narrow(1, width, width)?.reshape(&[n, heads, head_dim])?;
    let values: Vec<f32> = both.values.chunks(2 * width).flat_map(|row| row[width..].to_vec()).collect();
    let table = cx.floats::<f32>(&[rows, turned], 1.0)?;
    let positions: Vec<u32> = (0..n).map(|_| cx.random.below(rows as u32)).collect();
    let result = x.rotary(&table.tensor, &cx.list(&positions)?)?;
    let expected = rotary::reference::rotary(&values, &table.values, &positions, head_dim, turned);
    // Two products of values of at most 1, and their difference.
    close::<T>((heads, head_dim, turned), &result, &[n, heads, head_dim], &expected, |_| 4.0 * tolerance::ROUNDING)
}
