//! A producer on one stream, a consumer on another, and an event.
//!
//! Run with `cargo run --release --example 03_streams`.

use std::sync::mpsc;
use thalweg::{Event, Stream, Tensor};

const TENSORS: usize = 8;
const ELEMENTS: usize = 100_000;

fn main() -> thalweg::Result<()> {
    let device = thalweg::open("cpu")?;
    let (sender, receiver) = mpsc::sync_channel::<(Tensor, Event)>(2);

    std::thread::scope(|scope| -> thalweg::Result<()> {
        let producer = scope.spawn(|| -> thalweg::Result<()> {
            let sender = sender;
            let stream = Stream::new(&device)?;
            // What is recorded inside goes to this stream.
            stream.scope(|| -> thalweg::Result<()> {
                for index in 0..TENSORS {
                    let start = Tensor::from_slice(&device, &vec![index as f32; ELEMENTS], &[ELEMENTS])?;
                    let mut tensor = start.clone();
                    for _ in 0..10 {
                        tensor = tensor.add(&start)?;
                    }
                    // The tensor is handed over before its values exist.
                    if sender.send((tensor, stream.record_event())).is_err() {
                        break; // the consumer failed, and says why
                    }
                }
                Ok(())
            })
        });

        let stream = Stream::new(&device)?;
        stream.scope(|| -> thalweg::Result<()> {
            for (index, (tensor, ready)) in receiver.into_iter().enumerate() {
                // Reading on another stream adds the wait that is needed, on the device: no thread blocks for it.
                let doubled = tensor.add(&tensor)?;
                let was_ready = ready.query();
                let values = doubled.to_vec::<f32>()?;
                assert!(values.iter().all(|&value| value == 22.0 * index as f32), "every value is right");
                // The result depends on everything before the event, so this returns at once.
                ready.synchronize(None)?;
                println!("tensor {index}: values of {}, ready when it came: {was_ready}", values[0]);
            }
            Ok(())
        })?;
        producer.join().expect("the producer does not panic")
    })
}
