//! The reductions in f64.

use super::Reduction;

/// The reduction of each row of `width` values.
pub fn reduce(x: &[f32], width: usize, reduction: Reduction) -> Vec<f64> {
    let rows = x.chunks_exact(width);
    rows.map(|row| {
        let values = row.iter().map(|x| f64::from(*x));
        match reduction {
            Reduction::Sum => values.sum(),
            Reduction::Mean => values.sum::<f64>() / width as f64,
            Reduction::Max if row.iter().any(|x| x.is_nan()) => f64::NAN,
            Reduction::Max => values.fold(f64::NEG_INFINITY, f64::max),
        }
    })
    .collect()
}
