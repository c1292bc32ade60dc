//! Where the time of one request goes on a Vulkan device: tokens, recording, waiting, reading.
//!
//! Run with `cargo run --release --package thalweg-models --example phases MODEL [f16] [no-graphs]`.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use thalweg_models::{EmbeddingModel, LoadOptions};
use thalweg_runtime::{Config, Device, Stream};
use thalweg_tensor::DType;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("the model's directory is missing")?;
    let rest: Vec<String> = arguments.collect();
    let has = |what: &str| rest.iter().any(|argument| argument == what);
    let dtype = if has("f16") { DType::F16 } else { DType::F32 };
    let options = LoadOptions::default().dtype(dtype).graphs(if has("no-graphs") { 0 } else { 256 << 20 });
    let adapters = thalweg_vulkan::adapters()?;
    let best = thalweg_vulkan::best(&adapters).ok_or("no Vulkan device can be used")?;
    let device = Device::new(thalweg_vulkan::VulkanDevice::open(&adapters[best])?, Config::default())?;
    let model = EmbeddingModel::load_with(&device, directory, options)?;
    let text =
        "the river runs down to the sea and every stream that enters it joins the line of fastest flow along its bed"
            .to_owned();
    let names = ["tokens", "record", "wait", "read", "device"];
    let mut times = vec![Vec::new(); names.len()];
    let mut lists = 0;
    for round in 0..300 {
        let mut lap = Instant::now();
        let mut next = || std::mem::replace(&mut lap, Instant::now()).elapsed();
        let tokens = model.tokenize(&[&text])?;
        let tokenised = next();
        let stream = Stream::current(&device)?;
        let start = stream.record_timed_event()?;
        let before = device.counters().lists;
        next();
        let mut task = pin!(model.submit(&tokens).into_future());
        let mut context = Context::from_waker(Waker::noop());
        let first = task.as_mut().poll(&mut context);
        let recorded = next();
        let end = stream.record_timed_event()?;
        stream.synchronize()?;
        let waited = next();
        let embeddings = match first {
            Poll::Ready(embeddings) => embeddings?,
            Poll::Pending => loop {
                if let Poll::Ready(embeddings) = task.as_mut().poll(&mut context) {
                    break embeddings?;
                }
            },
        };
        let read = next();
        assert_eq!(embeddings.rows(), 1);
        let on_device = end.elapsed_since(&start)?;
        if round >= 100 {
            lists += device.counters().lists - before;
            for (times, time) in times.iter_mut().zip([tokenised, recorded, waited, read, on_device]) {
                times.push(time);
            }
        }
        if round == 0 {
            let graphs = if has("no-graphs") { "without graphs" } else { "with graphs" };
            println!("{} tokens, {dtype}, {graphs}, {}", tokens[0].len(), device.info().name);
        }
    }
    for (name, times) in names.iter().zip(&mut times) {
        times.sort();
        let at = |share: usize| Duration::as_secs_f64(&times[times.len() * share / 100]) * 1e6;
        println!("{name:<8} {:8.1} us (median), {:8.1} (90 %)", at(50), at(90));
    }
    println!("{:.1} lists a request", lists as f64 / times[0].len() as f64);
    Ok(())
}
