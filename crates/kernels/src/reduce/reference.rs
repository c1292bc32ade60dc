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
            Reduction::Product => values.product(),
            _ if row.iter().any(|x| x.is_nan()) => f64::NAN,
            Reduction::Max => values.fold(f64::NEG_INFINITY, f64::max),
            Reduction::Min => values.fold(f64::INFINITY, f64::min),
        }
    })
    .collect()
}

/// Where the greatest of each row of `width` values is, or the least: the first of equals; NaN before all others.
pub fn arg_reduce<T: Copy + PartialOrd>(x: &[T], width: usize, least: bool) -> Vec<u32> {
    let is_nan = |v: T| v.partial_cmp(&v).is_none();
    let rows = x.chunks_exact(width);
    rows.map(|row| {
        let beats = |v: T, best: T| !is_nan(best) && (is_nan(v) || if least { v < best } else { v > best });
        (1..width).fold(0, |best, at| if beats(row[at], row[best]) { at } else { best }) as u32
    })
    .collect()
}
