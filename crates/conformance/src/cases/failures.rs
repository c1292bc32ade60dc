//! Operations that fail on the device: a reader is told, by the name of the kernel; nobody else notices.

use super::case;
use crate::outcome::ensure;
use crate::{Case, Context, Outcome, equal};
use thalweg_runtime::Stream;
use thalweg_tensor::{AttentionOptions, DType, Error, MutableTensor, Pooling, Result, Tensor};

pub(super) const CASES: &[Case] = &[
    case("failure_of_an_id_outside_of_its_table", 12, ids),
    case("failure_of_an_index_outside_of_its_axis", 12, indices),
    case("failure_of_an_integer_division_by_0", 12, divisions),
    case("failure_of_offsets_that_do_not_rise_to_the_end", 12, offsets),
    case("failure_in_place_until_filled", 4, in_place),
    case("failure_of_a_part_of_a_mutable_tensor", 4, mutable),
];

/// One of three tables is too short for one id, anywhere in the list.
fn ids(cx: &mut Context<'_>) -> Outcome {
    let (rows, n, width) = (cx.between(1, 20), cx.between(1, 3000), cx.between(1, 70));
    let (which, at) = (cx.between(0, 2), cx.between(0, n - 1));
    let beyond = [rows as u32, u32::MAX][cx.between(0, 1)];
    let table = cx.floats::<f32>(&[rows, width], 1.0)?.tensor;
    let mut lists = Vec::new();
    for list in 0..3 {
        let mut ids: Vec<_> = (0..n).map(|_| cx.random.below(rows as u32)).collect();
        if list == which {
            ids[at] = beyond;
        }
        lists.push(cx.list(&ids)?);
    }
    fails_alone(cx, "embed_sum", || Tensor::embed([&table; 3], [&lists[0], &lists[1], &lists[2]]))
}

/// One index is beyond the axis, anywhere in the list.
fn indices(cx: &mut Context<'_>) -> Outcome {
    let (length, n, width) = (cx.between(1, 20), cx.between(1, 300), cx.between(1, 70));
    let at = cx.between(0, n - 1);
    let x = cx.floats::<f32>(&[width, length], 1.0)?.tensor;
    let mut indices: Vec<_> = (0..n).map(|_| cx.random.below(length as u32)).collect();
    indices[at] = [length as u32, u32::MAX][cx.between(0, 1)];
    let list = cx.list(&indices)?;
    fails_alone(cx, "gather", || x.index_select(1, &list))
}

fn divisions(cx: &mut Context<'_>) -> Outcome {
    let n = cx.between(1, 2000);
    let at = cx.between(0, n - 1);
    if cx.random.below(2) == 0 {
        let mut divisors: Vec<_> = (0..n).map(|_| 1 + cx.random.below(1000)).collect();
        divisors[at] = 0;
        let (x, y) = (Tensor::full(&cx.device, 7u32, &[n])?, cx.list(&divisors)?);
        return fails_alone(cx, "binary_u32", || x.div(&y));
    }
    let (x, y) = (Tensor::full(&cx.device, i32::MIN, &[n])?, Tensor::zeros::<i32>(&cx.device, &[])?);
    fails_alone(cx, "binary_i32", || x.div(&y))
}

fn offsets(cx: &mut Context<'_>) -> Outcome {
    let wrong: [&[u32]; 7] =
        [&[0, 3, 2, 4], &[0, 2, 2, 4], &[0, 2, 3], &[1, 4], &[0, u32::MAX], &[0, u32::MAX, 4], &[2, 1, 4]];
    let at = cx.between(0, wrong.len() - 1);
    let wrong = cx.list(wrong[at])?;
    let x = cx.floats::<f32>(&[4, 6], 1.0)?.tensor;
    let heads = x.reshape(&[4, 2, 3])?;
    let attend = |offsets: &Tensor, options: &AttentionOptions| heads.attention(&heads, &heads, offsets, options);
    fails_alone(cx, "attention", || attend(&wrong, &AttentionOptions::new()))?;
    // A sequence of 3 rows, and a bias for at most 2.
    let (bias, offsets) = (cx.floats::<f32>(&[2, 3], 1.0)?.tensor, cx.list(&[0, 1, 4])?);
    fails_alone(cx, "attention", || attend(&offsets, &AttentionOptions::new().relative_bias(&bias)))?;
    let pooling = Pooling::ALL[cx.between(0, Pooling::ALL.len() - 1)];
    fails_alone(cx, "pool", || x.pool(&wrong, pooling))
}

/// What `make` records fails in this kernel. So does what depends on it, on any stream, and nothing else, even if it
/// was recorded beside it.
fn fails_alone(cx: &mut Context<'_>, kernel: &str, make: impl FnOnce() -> Result<Tensor>) -> Outcome {
    let stream = Stream::current(&cx.device)?;
    let elsewhere = Stream::new(&cx.device)?;
    let flushes = cx.random.below(2) == 0;
    let flush = || if flushes { stream.flush() } else { Ok(()) };
    let before = Tensor::full(&cx.device, 2.0f32, &[8])?;
    flush()?;
    let bad = make()?;
    let flat = bad.reshape(&[bad.elements()])?;
    let dependent = flat.add(&flat)?;
    flush()?;
    let view = dependent.narrow(0, dependent.elements() / 2, 1)?;
    let later = elsewhere.scope(|| view.broadcast_to(&[2, 1])?.contiguous())?;
    let after = before.mul(&before)?;
    flush()?;

    equal("recorded after it", &after, &[8], &[4.0f32; 8])?;
    for (what, tensor) in [("on another stream", &later), ("a view", &view), ("dependent", &dependent), ("it", &bad)] {
        failed(what, kernel, read(tensor))?;
    }
    // Each time.
    failed("it, again", kernel, read(&bad))?;
    failed("frozen", kernel, view.freeze().map(drop))?;
    equal("recorded before it", &before, &[8], &[2.0f32; 8])?;
    // Its memory is used again, on its stream, and holds what is put there.
    drop((bad, flat, dependent, view, later));
    equal("afterwards", &after.add(&before)?, &[8], &[6.0f32; 8])
}

fn read(tensor: &Tensor) -> Result<()> {
    match tensor.dtype() {
        DType::U32 => tensor.to_vec::<u32>().map(drop),
        DType::I32 => tensor.to_vec::<i32>().map(drop),
        _ => tensor.to_vec::<f32>().map(drop),
    }
}

/// The answer is that this kernel failed, in any of its forms.
fn failed(what: &str, kernel: &str, result: Result<()>) -> Outcome {
    let Err(error) = result else {
        return Err(format!("{what}: could be read, though `{kernel}` was to fail").into());
    };
    let Error::Runtime(thalweg_runtime::Error::Failed(failure)) = &error else {
        return Err(format!("{what}: \"{error}\" is no failure of an operation").into());
    };
    let named = matches!(&*failure.source, thalweg_hal::Error::Kernel { kernel: name, .. } if name.starts_with(kernel));
    ensure!(named, "{what}: \"{error}\" does not name the kernel `{kernel}`");
    ensure!(!error.is_retryable(), "{what}: \"{error}\" is said to be retryable");
    Ok(())
}

/// The tensor stays failed, and what is computed from it, until it is filled.
fn in_place(cx: &mut Context<'_>) -> Outcome {
    let mut x = Tensor::full(&cx.device, 6u32, &[5])?;
    let before = x.add(&x)?;
    x.div_in_place(&Tensor::zeros::<u32>(&cx.device, &[])?)?;
    x.add_in_place(&before)?;
    let after = x.mul(&before)?;
    failed("in place", "binary_in_place_u32", read(&x))?;
    failed("what depends on it", "binary_in_place_u32", read(&after))?;
    equal("before", &before, &[5], &[12u32; 5])?;
    x.fill(2u32)?;
    x.mul_in_place(&before)?;
    equal("filled", &x, &[5], &[24u32; 5])
}

/// The parts that were written stay failed until they are written again; the others are as they were.
fn mutable(cx: &mut Context<'_>) -> Outcome {
    let cache = MutableTensor::zeros::<u32>(&cx.device, &[12, 64], 2)?;
    let rows = |value: u32, rows: usize| Tensor::full(&cx.device, value, &[rows, 64]);
    cache.write(0, &rows(6, 12)?)?;
    cache.binary(thalweg_tensor::Binary::Div, 4, &rows(0, 2)?)?;
    cache.add(0, &rows(1, 4)?)?;
    for part in [4..6, 5..6, 0..12] {
        failed("a read", "binary_in_place_u32", read(&cache.read(part)?))?;
    }
    equal("earlier rows", &cache.read(0..4)?, &[4, 64], &[7u32; 256])?;
    equal("later rows", &cache.read(6..12)?, &[6, 64], &[6u32; 384])?;
    cache.write(4, &rows(9, 2)?)?;
    equal("written again", &cache.read(3..6)?, &[3, 64], &[[7u32; 64], [9; 64], [9; 64]].concat())
}
