//! Packed sequences to one row each.

use super::case;
use crate::{Case, Context, Float, Outcome, close, shapes, tolerance};
use thalweg_kernels::pool::reference;
use thalweg_tensor::{Pooling, f16};

pub(super) const CASES: &[Case] = &[
    case("pool_f32", 60, pool::<f32>),
    case("pool_with_nan_f32", 20, with_nan::<f32>),
    case("pool_f16", 40, pool::<f16>),
    case("pool_with_nan_f16", 13, with_nan::<f16>),
];

fn pool<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let lengths = shapes::lengths(&mut cx.random);
    let starts = shapes::offsets(&lengths);
    let (n, width) = (lengths.iter().sum(), cx.between(1, 100));
    let x = cx.floats::<T>(&[n, width], 1.0)?;
    let offsets = cx.list(&starts)?;
    let shortest = lengths.iter().min().copied().unwrap_or(1);
    for pooling in Pooling::ALL {
        let skip = cx.between(0, shortest - 1) as u32;
        let result = x.tensor.pool_after(skip, &offsets, pooling)?;
        let expected = reference::pool(&x.values, &starts, width, skip, pooling);
        let allowed = |at: usize| {
            let (sequence, column) = (at / width, at % width);
            let rows = (starts[sequence] + skip) as usize..starts[sequence + 1] as usize;
            let magnitudes = rows.map(|row| f64::from(x.values[row * width + column].abs())).sum();
            tolerance::pool(pooling, lengths[sequence] - skip as usize, magnitudes)
        };
        close::<T>((pooling, skip, &lengths), &result, &[lengths.len(), width], &expected, allowed)?;
    }
    Ok(())
}

/// The greatest of values with NaN among them is NaN; a column without it does not notice.
fn with_nan<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (rows, width) = (cx.between(1, 40), cx.between(2, 40));
    let at = cx.random.below((rows * width) as u32);
    let mut index = 0;
    let x = cx.floats_of::<T>(&[rows, width], |random| {
        index += 1;
        if index == at + 1 { f32::NAN } else { random.unit() }
    })?;
    let offsets = cx.list(&[0, rows as u32])?;
    let result = x.tensor.pool(&offsets, Pooling::Max)?;
    let expected = reference::pool(&x.values, &[0, rows as u32], width, 0, Pooling::Max);
    close::<T>(format!("NaN at {at} of {rows} rows"), &result, &[1, width], &expected, |_| 0.0)
}
