//! A tensor through a few operations.
//!
//! Run with `cargo run --release --example 01_tensor`.

use thalweg::Tensor;

fn main() -> thalweg::Result<()> {
    let device = thalweg::open("cpu")?;
    println!("on {}", device.info().name);

    let scores = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 3.0, 2.0, 1.0], &[2, 3])?;
    let shift = Tensor::from_slice(&device, &[0.5f32, 0.0, -0.5], &[3])?;

    // Nothing here waits: each line records an operation. The shift is repeated for both rows.
    let shifted = scores.add(&shift)?;
    let weights = shifted.softmax()?;
    // A view: no data moves.
    let turned = weights.transpose(0, 1)?;
    let product = weights.matmul(&turned)?;
    // Numbers beside tensors, where something is so, and one of two by that.
    let rest = (1.0 - &weights)?;
    let likely = weights.gt_scalar(0.3)?;
    let chosen = Tensor::select(&likely, &weights, &rest)?;
    let best = weights.argmax(1, false)?;
    let both = Tensor::concat(&[&weights, &chosen], 0)?;

    // Here the work is handed over and waited for.
    for (name, tensor) in [("weights", &weights), ("turned", &turned), ("product", &product), ("both", &both)] {
        println!("{name} {:?} = {:.4?}", tensor.shape(), tensor.to_vec::<f32>()?);
    }

    println!("best {:?}", best.to_vec::<u32>()?);

    let rows = weights.to_vec::<f32>()?;
    for row in rows.chunks(3) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "a softmax sums to one");
    }
    Ok(())
}
