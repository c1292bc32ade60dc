//! Rows of tables by their numbers.

use super::case;
use crate::outcome::ensure;
use crate::{Case, Context, Float, Outcome, close, tolerance};
use thalweg_kernels::embedding::{self, reference};
use thalweg_runtime::{Operand, Storage, Stream, Work};
use thalweg_tensor::{Tensor, f16};

pub(super) const CASES: &[Case] = &[
    case("embed_f32", 60, embed::<f32>),
    case("embedding_kernel_f32", 20, kernel::<f32>),
    case("embed_f16", 40, embed::<f16>),
    case("embedding_kernel_f16", 13, kernel::<f16>),
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

/// The look-up in one table, for which tensors have no operator: values are copied, to the bit.
fn kernel<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (rows, n, width) = (cx.between(1, 50), cx.between(1, 80), cx.between(1, 100));
    let table: Vec<_> = (0..rows * width).map(|_| T::nearest(cx.random.unit())).collect();
    let ids: Vec<_> = (0..n).map(|_| cx.random.below(rows as u32)).collect();
    let from = Storage::frozen_from_bytes(&cx.device, bytemuck::cast_slice(&table))?;
    let list = Storage::from_bytes(&cx.device, bytemuck::cast_slice(&ids))?;
    let stream = Stream::current(&cx.device)?;
    let mut out = stream.allocate((n * width * size_of::<T>()) as u64)?;
    let Some(kernel) = embedding::EMBEDDING.get(T::SCALAR) else {
        return Err("there is no such kernel".to_owned().into());
    };
    let pipeline = cx.device.pipeline(kernel)?;
    let params = embedding::Params { rows: rows as u32, width: width as u32 };
    let work = Work::Dispatch { pipeline: &pipeline, params: bytemuck::bytes_of(&params), extent: [n as u32, 1, 1] };
    let (from, list) = (Operand::read(&from, 0, from.bytes()), Operand::read(&list, 0, list.bytes()));
    stream.record(&work, &[from, list, Operand::write(&mut out)])?;
    let mut values = vec![T::zeroed(); n * width];
    out.read(0, bytemuck::cast_slice_mut(&mut values))?;
    let table: Vec<_> = table.iter().map(|value| value.widened()).collect();
    let expected = reference::embedding(&table, width, &ids);
    let same = values.iter().zip(&expected).all(|(value, expected)| f64::from(value.widened()) == *expected);
    ensure!(same && values.len() == expected.len(), "rows {ids:?} of [{rows}, {width}] differ");
    Ok(())
}
