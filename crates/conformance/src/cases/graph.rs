//! Graphs: a run gives the bits of the operations themselves, with any inputs, from any thread.

use super::case;
use crate::outcome::ensure;
use crate::{Case, Context, Float, Outcome};
use thalweg_tensor::{Activation, Error, Graph, PackedMatrix, Result, Tensor, f16};

pub(super) const CASES: &[Case] = &[
    // audit: C27 (cpu)
    case("graph_has_the_bits_of_its_operations_f32", 6, bits::<f32>),
    case("graph_has_the_bits_of_its_operations_f16", 6, bits::<f16>),
    // audit: C24 (cpu)
    case("graph_fails_as_a_run_and_recovers", 6, fails),
];

/// A small network, run by several threads at once on inputs of their own.
fn bits<T: Float>(cx: &mut Context<'_>) -> Outcome {
    let (rows, width, out) = (cx.between(1, 40), cx.between(1, 70), cx.between(1, 90));
    let matrix: Vec<f32> = (0..out * width).map(|_| cx.random.unit()).collect();
    let weight = PackedMatrix::with_dtype(&cx.device, &matrix, out, width, T::DTYPE)?;
    let vector = |cx: &mut Context<'_>| -> Outcome<Tensor> { Ok(cx.floats::<T>(&[out], 1.0)?.tensor.freeze()?) };
    let (bias, scale, shift) = (vector(cx)?, vector(cx)?, vector(cx)?);
    let network = |x: &Tensor, y: &Tensor| -> Result<Vec<Tensor>> {
        let wide = x.add(y)?.linear(&weight, &bias, Activation::Gelu)?;
        let normal = wide.layer_norm(&scale, &shift, 1e-5)?;
        // The second output is a view of something larger.
        Ok(vec![normal.add(&wide)?, wide.narrow(0, rows - 1, 1)?])
    };
    let mut pairs = Vec::new();
    for _ in 0..4 {
        pairs.push((cx.floats::<T>(&[rows, width], 2.0)?.tensor, cx.floats::<T>(&[rows, width], 2.0)?.tensor));
    }
    let (x, y) = &pairs[0];
    let graph = Graph::capture(&cx.device, &[x, y], |inputs| network(&inputs[0], &inputs[1]))?;
    let different = std::thread::scope(|scope| {
        let threads = pairs.iter().map(|(x, y)| {
            let (graph, network) = (&graph, &network);
            scope.spawn(move || -> Result<usize> {
                let expected = network(x, y)?;
                let mut different = 0;
                for _ in 0..5 {
                    for (output, expected) in graph.replay(&[x, y])?.iter().zip(&expected) {
                        let same =
                            output.shape() == expected.shape() && output.to_vec::<T>()? == expected.to_vec::<T>()?;
                        different += usize::from(!same);
                    }
                }
                Ok(different)
            })
        });
        threads
            .collect::<Vec<_>>()
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Ok(usize::MAX)))
            .collect::<Result<Vec<_>>>()
    })?;
    ensure!(different.iter().all(|count| *count == 0), "runs that differ, by thread: {different:?}");
    ensure!(graph.replay(&[x]).is_err(), "an input is missing");
    let narrow = x.narrow(0, 0, rows)?.reshape(&[rows * width])?;
    let refused = graph.replay(&[x, &narrow]);
    ensure!(matches!(refused, Err(Error::Shape { .. })), "an input of another shape: {refused:?}");
    Ok(())
}

/// One run's ids are outside of the table; the runs before and after it are right.
fn fails(cx: &mut Context<'_>) -> Outcome {
    let (rows, n, width) = (cx.between(1, 20), cx.between(1, 300), cx.between(1, 70));
    let table = cx.floats::<f32>(&[rows, width], 1.0)?.tensor.freeze()?;
    let ids: Vec<_> = (0..n).map(|_| cx.random.below(rows as u32)).collect();
    let mut wrong = ids.clone();
    wrong[cx.between(0, n - 1)] = rows as u32;
    let (right, wrong) = (cx.list(&ids)?, cx.list(&wrong)?);
    let look_up = |ids: &Tensor| Tensor::embed([&table; 3], [ids; 3]);
    let graph = Graph::capture(&cx.device, &[&right], |inputs| Ok(vec![look_up(&inputs[0])?]))?;
    let expected = look_up(&right)?.to_vec::<f32>()?;
    let outputs = [&right, &wrong, &right, &wrong, &right].map(|ids| graph.replay(&[ids]));
    for (index, output) in outputs.into_iter().enumerate() {
        let values = output?[0].to_vec::<f32>();
        match values {
            Ok(values) => ensure!(index % 2 == 0 && values == expected, "run {index} has other values"),
            Err(error) => {
                let text = error.to_string();
                ensure!(index % 2 == 1 && text.contains("embed_sum"), "run {index} failed with {text}");
            }
        }
    }
    Ok(())
}
