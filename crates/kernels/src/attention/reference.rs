//! Attention in f64.

use super::{NO_BIAS, Params};
use crate::heads::Heads;

/// Softmax attention of each sequence within itself, as [`ATTENTION`](super::ATTENTION) has its operands: the result is
/// `[n, heads * head_dim]`. Without a bias, `bias` is not looked at.
pub fn attention(params: &Params, operands: [&[f32]; 3], offsets: &[u32], bias: &[f32]) -> Vec<f64> {
    let [query, key, value] = operands;
    let part = |view: Heads, data: &[f32], row: u32, head: u32| {
        let start = view.offset + row * view.row_stride + head * view.head_stride;
        data[start as usize..][..params.head_dim as usize].iter().map(|value| f64::from(*value)).collect::<Vec<_>>()
    };
    let mut out = Vec::new();
    for sequence in offsets.windows(2) {
        for row in sequence[0]..sequence[1] {
            let sees_from = row.saturating_sub(params.before).max(sequence[0]);
            let sees_to = row.saturating_add(params.after).min(sequence[1] - 1);
            for head in 0..params.heads {
                let kv_head = head / (params.heads / params.kv_heads);
                let query = part(params.query, query, row, head);
                let score = |at: u32| {
                    let key = part(params.key, key, at, kv_head);
                    let score = key.iter().zip(&query).map(|(k, q)| k * q).sum::<f64>() * f64::from(params.scale);
                    if params.reach == NO_BIAS {
                        return score;
                    }
                    let own = &bias[(head * (2 * params.reach + 1)) as usize..];
                    score + f64::from(own[(params.reach + at - row) as usize])
                };
                let scores: Vec<f64> = (sees_from..=sees_to).map(score).collect();
                let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> = scores.iter().map(|score| (score - greatest).exp()).collect();
                let sum: f64 = powers.iter().sum();
                let mut result = vec![0.0; params.head_dim as usize];
                for (at, power) in (sees_from..=sees_to).zip(&powers) {
                    let value = part(params.value, value, at, kv_head);
                    result.iter_mut().zip(value).for_each(|(result, v)| *result += power / sum * v);
                }
                out.extend(result);
            }
        }
    }
    out
}
