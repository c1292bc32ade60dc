//! Rows of tables by their numbers.

use super::case;
use crate::{Case, Context, Float, Outcome, close, tolerance};
use thalweg_kernels::embedding::reference;
use thalweg_tensor::{Tensor, f16};

pub(super) const CASES: &[Case] = &[
    case("embed_f32", 60, embed::<f32>),
    case("embedding_f32", 20, embedding::<f32>),
    case("embed_f16", 40, embed::<f16>),
    case("embedding_f16", 13, embedding::<f16>),
];

fn embed<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let rows = [cx.between(1, 50), cx.between(1, 50), cx.between(1, 5)];
    let (n, width) = (cx.between(0, 80), cx.between(1, 100));
    let mut tables = Vec::new();
    for rows in rows {
        let table = cx.floats::<T>(&[rows, width], 1.0)?;
        let ids: Vec<_> = (0..n).map(|_| cx.random.below(rows as u32)).collect();
        let list = cx.list(&ids)?;
        tables.push((table, ids, list));
    }
    let [words, positions, types] = [&tables[0], &tables[1], &tables[2]];
    let result =
        Tensor::embed([&words.0.tensor, &positions.0.tensor, &types.0.tensor], [&words.2, &positions.2, &types.2])?;
    let pairs: Vec<_> = tables.iter().map(|(table, ids, _)| (&table.values[..], &ids[..])).collect();
    let expected = reference::embed_sum(&pairs, width);
    close::<T>(rows, &result, &[n, width], &expected, |_| tolerance::embed())
}

/// Rows of one table, in one part or several: values are copied, to the bit.
fn embedding<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (rows, n, width) = (cx.between(1, 50), cx.between(0, 80), cx.between(1, 100));
    let table = cx.floats::<T>(&[rows, width], 1.0)?;
    let ids: Vec<_> = (0..n).map(|_| cx.random.below(rows as u32)).collect();
    let list = cx.list(&ids)?;
    let border = cx.between(0, rows);
    let parts = [table.tensor.narrow(0, 0, border)?, table.tensor.narrow(0, border, rows - border)?];
    let expected = reference::embedding(&table.values, width, &ids);
    for result in [Tensor::embedding(&[&table.tensor], &list)?, Tensor::embedding(&[&parts[0], &parts[1]], &list)?] {
        close::<T>((rows, border), &result, &[n, width], &expected, |_| 0.0)?;
    }
    Ok(())
}
