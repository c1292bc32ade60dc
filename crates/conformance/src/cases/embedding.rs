//! Rows of tables by their numbers.

use super::case;
use crate::{Case, Context, Float, Outcome, close, tolerance};
use thalweg_kernels::embedding::{self, EMBEDDING, reference};
use thalweg_runtime::{Operand, Storage, Stream, Work};
use thalweg_tensor::Tensor;

pub(super) const CASES: &[Case] = &[case("embed_f32", 60, embed::<f32>), case("embedding_kernel_f32", 20, kernel)];

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
fn kernel(cx: &mut Context<'_>) -> Outcome {
    let (rows, n, width) = (cx.between(1, 50), cx.between(1, 80), cx.between(1, 100));
    let table = cx.random.units(rows * width);
    let ids: Vec<_> = (0..n).map(|_| cx.random.below(rows as u32)).collect();
    let bytes = |values: &[f32]| bytemuck::cast_slice::<_, u8>(values).to_vec();
    let from = Storage::frozen_from_bytes(&cx.device, &bytes(&table))?;
    let list = Storage::from_bytes(&cx.device, bytemuck::cast_slice(&ids))?;
    let stream = Stream::current(&cx.device)?;
    let mut out = stream.allocate((n * width * 4) as u64)?;
    let pipeline = cx.device.pipeline(&EMBEDDING)?;
    let params = embedding::Params { rows: rows as u32, width: width as u32 };
    let work = Work::Dispatch { pipeline: &pipeline, params: bytemuck::bytes_of(&params), extent: [n as u32, 1, 1] };
    let (from, list) = (Operand::read(&from, 0, from.bytes()), Operand::read(&list, 0, list.bytes()));
    stream.record(&work, &[from, list, Operand::write(&mut out)])?;
    let mut values = vec![0.0f32; n * width];
    out.read(0, bytemuck::cast_slice_mut(&mut values))?;
    let expected: Vec<_> = reference::embedding(&table, width, &ids).iter().map(|value| *value as f32).collect();
    crate::outcome::ensure!(bytes(&values) == bytes(&expected), "rows {ids:?} of [{rows}, {width}] differ");
    Ok(())
}
