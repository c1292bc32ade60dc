//! Attention in f64.

/// Softmax attention of each sequence within itself: `qkv` is `[n, 3 * heads * head_dim]`, the result
/// `[n, heads * head_dim]`.
pub fn attention(qkv: &[f32], offsets: &[u32], heads: usize, head_dim: usize, scale: f32) -> Vec<f64> {
    let width = heads * head_dim;
    let part = |row: u32, which: usize, head: usize| {
        let start = row as usize * 3 * width + which * width + head * head_dim;
        qkv[start..start + head_dim].iter().map(|value| f64::from(*value)).collect::<Vec<_>>()
    };
    let mut out = Vec::new();
    for sequence in offsets.windows(2) {
        for row in sequence[0]..sequence[1] {
            for head in 0..heads {
                let query = part(row, 0, head);
                let scores: Vec<f64> = (sequence[0]..sequence[1])
                    .map(|key| {
                        part(key, 1, head).iter().zip(&query).map(|(k, q)| k * q).sum::<f64>() * f64::from(scale)
                    })
                    .collect();
                let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> = scores.iter().map(|score| (score - greatest).exp()).collect();
                let sum: f64 = powers.iter().sum();
                let mut result = vec![0.0; head_dim];
                for (key, power) in (sequence[0]..sequence[1]).zip(&powers) {
                    result.iter_mut().zip(part(key, 2, head)).for_each(|(result, v)| *result += power / sum * v);
                }
                out.extend(result);
            }
        }
    }
    out
}
