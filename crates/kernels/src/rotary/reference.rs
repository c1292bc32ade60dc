//! The turns in f64.

/// Turns the first `turned` columns of each head of contiguous rows; `table` has `turned` values for each position.
pub fn rotary(x: &[f32], table: &[f32], positions: &[u32], head_dim: usize, turned: usize) -> Vec<f64> {
    let width = x.len() / positions.len().max(1);
    let half = turned / 2;
    let mut out: Vec<f64> = x.iter().map(|value| f64::from(*value)).collect();
    for (row, position) in out.chunks_exact_mut(width.max(1)).zip(positions) {
        let angles = &table[*position as usize * turned..][..turned];
        for head in row.chunks_exact_mut(head_dim) {
            for i in 0..half {
                let (cosine, sine) = (f64::from(angles[i]), f64::from(angles[half + i]));
                let (low, high) = (head[i], head[half + i]);
                head[i] = low * cosine - high * sine;
                head[half + i] = high * cosine + low * sine;
            }
        }
    }
    out
}
