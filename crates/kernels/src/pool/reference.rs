//! Pooling and normalisation in f64.

use super::Pooling;

/// The pooling of each sequence without its first `skip` rows. Rows have `width` values.
pub fn pool(x: &[f32], offsets: &[u32], width: usize, skip: u32, pooling: Pooling) -> Vec<f64> {
    let mut out = Vec::new();
    for sequence in offsets.windows(2) {
        let rows: Vec<&[f32]> = (sequence[0] + skip..sequence[1]).map(|r| &x[r as usize * width..][..width]).collect();
        for column in 0..width {
            let values = rows.iter().map(|row| f64::from(row[column]));
            out.push(match pooling {
                Pooling::Mean => values.sum::<f64>() / rows.len() as f64,
                Pooling::Sum => values.sum(),
                Pooling::MeanSqrtLength => values.sum::<f64>() / (rows.len() as f64).sqrt(),
                Pooling::WeightedMean => {
                    let weights = || (1..).skip(skip as usize).map(f64::from).take(rows.len());
                    values.zip(weights()).map(|(x, weight)| weight * x).sum::<f64>() / weights().sum::<f64>()
                }
                Pooling::LastToken => f64::from(rows[rows.len() - 1][column]),
                Pooling::Cls => f64::from(rows[0][column]),
                Pooling::Max => values.fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b }),
            });
        }
    }
    out
}

/// `x / max(|x|, 1e-12)` for each row of `width` values.
pub fn normalize(x: &[f32], width: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for row in x.chunks_exact(width) {
        let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        out.extend(row.iter().map(|x| f64::from(*x) / length.max(1e-12)));
    }
    out
}
