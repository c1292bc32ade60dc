//! Tasks on streams of their own, on any executor: the device keeps no thread waiting.
//!
//! Run with `cargo run --release --example 05_async`.

use pollster::block_on;
use std::pin::pin;
use std::task::Poll;
use thalweg::{Device, Stream, Tensor};

fn main() -> thalweg::Result<()> {
    let device = thalweg::open("cpu")?;
    // Wherever a task is polled, what it records goes to its own stream.
    let (first, second) = (Stream::new(&device)?, Stream::new(&device)?);
    let mut first = pin!(first.attach(powers(&device, 1.5)));
    let mut second = pin!(second.attach(powers(&device, 0.5)));

    // Both tasks in one thread: while one waits for the device, the other is polled.
    let (mut grown, mut shrunk) = (None, None);
    block_on(std::future::poll_fn(|context| {
        for (task, result) in [(&mut first, &mut grown), (&mut second, &mut shrunk)] {
            // A task that is done is not polled again.
            if result.is_none()
                && let Poll::Ready(value) = task.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if grown.is_some() && shrunk.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }));
    for (base, result) in [(1.5f32, grown), (0.5, shrunk)] {
        let value = result.expect("both are done")?;
        println!("{base} to the power of 16 is {value}");
        assert_eq!(value, base.powi(16));
    }
    block_on(device.finished())?;
    Ok(())
}

/// The sixteenth power, by squaring.
async fn powers(device: &Device, base: f32) -> thalweg::Result<f32> {
    let mut tensor = Tensor::full(device, base, &[1000])?;
    for _ in 0..4 {
        tensor = tensor.mul(&tensor)?;
    }
    // To wait without reading anything; the current stream is that of the task.
    Stream::current(device)?.finished().await?;
    Ok(tensor.to_vec_async::<f32>().await?[0])
}
