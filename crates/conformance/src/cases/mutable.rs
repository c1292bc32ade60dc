//! Memory that changes while others can name it.

use super::case;
use crate::array::Array;
use crate::outcome::ensure;
use crate::{Case, Context, Outcome, equal};
use thalweg_runtime::Stream;
use thalweg_tensor::{Binary, DType, MutableTensor, Tensor, f16};

pub(super) const CASES: &[Case] = &[
    case("mutable_i32", 20, changes),
    case("mutable_f16", 20, halves),
    case("mutable_additions_on_several_streams_u32", 10, additions),
];

/// Writes, additions and maxima of whole parts, and snapshots of any rows: as of a plain array.
fn changes(cx: &mut Context<'_>) -> Outcome {
    // Rows of 12 and of 256 bytes, and parts of 768, 256, 512.
    let kinds: [(&[usize], usize); 3] = [(&[3], 64), (&[16, 4], 1), (&[64], 2)];
    let (inner, part) = kinds[cx.between(0, 2)];
    let (rows, width) = (part * 6, inner.iter().product::<usize>());
    let shape = |rows: usize| [&[rows], inner].concat();
    let cache = MutableTensor::zeros::<i32>(&cx.device, &shape(rows), part)?;
    ensure!((cache.shape(), cache.parts()) == (&shape(rows)[..], 6), "{cache:?}: 6 parts of {part} rows expected");
    ensure!((cache.dtype(), cache.rows_per_part()) == (DType::I32, part), "{cache:?}: i32, {part} rows expected");
    let mut known = vec![0i32; rows * width];
    let mut snapshots = Vec::new();
    for _ in 0..30 {
        let start = cx.between(0, 5) * part;
        let count = cx.between(0, (rows - start) / part) * part;
        let own = Array::new(&shape(count), |_| cx.random.bits() as i32);
        let tensor = cx.disguised(&own)?;
        let pairs = known[start * width..(start + count) * width].iter_mut().zip(&own.values);
        match cx.random.below(3) {
            0 => {
                cache.write(start, &tensor)?;
                pairs.for_each(|(a, b)| *a = *b);
            }
            1 => {
                cache.add(start, &tensor)?;
                pairs.for_each(|(a, b)| *a = a.wrapping_add(*b));
            }
            _ => {
                cache.binary(Binary::Max, start, &tensor)?;
                pairs.for_each(|(a, b)| *a = (*a).max(*b));
            }
        }
        // Any rows, not whole parts alone.
        let from = cx.between(0, rows);
        let to = cx.between(from, rows);
        snapshots.push((cache.read(from..to)?, shape(to - from), known[from * width..to * width].to_vec()));
    }
    snapshots.iter().try_for_each(|(snapshot, shape, known)| equal("a snapshot", snapshot, shape, known))
}

/// Elements of 2 bytes, also where the last of them is half of a word.
fn halves(cx: &mut Context<'_>) -> Outcome {
    let (rows, width) = (cx.between(1, 9), cx.between(1, 9));
    let cache = MutableTensor::zeros::<f16>(&cx.device, &[rows, width], rows)?;
    equal("zeros", &cache.read(0..rows)?, &[rows, width], &vec![f16::ZERO; rows * width])?;
    // Small integers: their sums are exact.
    let mut small = || Array::new(&[rows, width], |_| f16::from_f32(cx.random.below(1000) as f32));
    let (first, second) = (small(), small());
    let (x, y) = (cx.disguised(&first)?, cx.disguised(&second)?);
    cache.write(0, &x)?;
    cache.add(0, &y)?;
    let expected: Vec<_> = first.values.iter().zip(&second.values).map(|(a, b)| a + b).collect();
    let from = cx.between(0, rows);
    equal("the sums", &cache.read(from..rows)?, &[rows - from, width], &expected[from * width..])
}

/// Additions from four streams lose nothing.
fn additions(cx: &mut Context<'_>) -> Outcome {
    let cache = MutableTensor::zeros::<u32>(&cx.device, &[20, 96], 4)?;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(Stream::new(&cx.device)?);
    }
    let mut sums = [0u32; 5];
    for _ in 0..60 {
        let (stream, part) = (&streams[cx.between(0, 3)], cx.between(0, 4));
        let (count, own) = (cx.between(1, 5 - part), cx.random.bits() as u32);
        stream.scope(|| {
            let row = Tensor::full(&cx.device, own, &[1, 1])?;
            cache.add(part * 4, &row.broadcast_to(&[count * 4, 96])?)
        })?;
        sums[part..part + count].iter_mut().for_each(|sum| *sum = sum.wrapping_add(own));
    }
    let expected: Vec<_> = sums.iter().flat_map(|sum| [*sum; 4 * 96]).collect();
    equal("the sums", &cache.read(0..20)?, &[20, 96], &expected)
}
