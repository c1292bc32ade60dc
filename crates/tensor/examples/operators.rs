//! How long each operator of an encoder takes on a Vulkan device, by the device's own clock: chains of the same
//! operator, each in the memory that the one before wrote.
//!
//! Run with `cargo run --release --package thalweg-tensor --example operators [tokens ...]`.

use std::time::Duration;
use thalweg_runtime::{Config, Device, Stream};
use thalweg_tensor::{Activation, AttentionOptions, DType, PackedMatrix, Pooling, Result, Tensor};

/// MiniLM's.
const WIDTH: usize = 384;
const WIDE: usize = 1536;
const HEADS: usize = 12;
/// Operators in a chain.
const CHAIN: u32 = 50;

fn main() -> Result<()> {
    let adapters = thalweg_vulkan::adapters().expect("Vulkan is installed");
    let best = thalweg_vulkan::best(&adapters).expect("a device can be used");
    let hal = thalweg_vulkan::VulkanDevice::open(&adapters[best]).expect("the device opens");
    let device = Device::new(hal, Config::default())?;
    println!("{}", device.info().name);
    let tokens: Vec<usize> = std::env::args().skip(1).map(|n| n.parse().expect("a number of tokens")).collect();
    let tokens = if tokens.is_empty() { vec![32, 128, 1024, 16_384] } else { tokens };
    for tokens in tokens {
        for dtype in [DType::F32, DType::F16] {
            measure(&device, tokens, dtype)?;
        }
    }
    Ok(())
}

fn random(device: &Device, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| fastrand::f32() - 0.5).collect();
    Tensor::from_slice(device, &values, shape)?.to_dtype(dtype)
}

fn measure(device: &Device, tokens: usize, dtype: DType) -> Result<()> {
    let random = |shape: &[usize]| random(device, shape, dtype);
    let matrix = |outputs: usize, inputs: usize| -> Result<(PackedMatrix, Tensor)> {
        let weight: Vec<f32> = (0..outputs * inputs).map(|_| (fastrand::f32() - 0.5) * 0.1).collect();
        Ok((PackedMatrix::with_dtype(device, &weight, outputs, inputs, dtype)?, random(&[outputs])?.freeze()?))
    };
    let (qkv, mixed) = (matrix(3 * WIDTH, WIDTH)?, matrix(WIDTH, WIDTH)?);
    let (up, down) = (matrix(WIDE, WIDTH)?, matrix(WIDTH, WIDE)?);
    let length = tokens.min(32) as u32;
    let offsets: Vec<u32> = (0..=tokens as u32 / length).map(|i| i * length).collect();
    let offsets = Tensor::from_slice(device, &offsets, &[offsets.len()])?;
    let (gain, shift) = (random(&[WIDTH])?, random(&[WIDTH])?);
    let (hidden, wide) = (random(&[tokens, WIDTH])?, random(&[tokens, WIDE])?);
    let all = random(&[tokens, 3 * WIDTH])?;
    let dense = |x: &Tensor, (weight, bias): &(PackedMatrix, Tensor), activation| x.linear(weight, bias, activation);
    let none = Activation::None;
    println!("{tokens} tokens, {dtype}:");
    let mut sum = Duration::ZERO;
    let mut show = |name: &str, times: u32, flops: usize, run: &dyn Fn() -> Result<Tensor>| -> Result<()> {
        let each = chain(device, run)?;
        sum += each * times;
        let rate = (flops * tokens) as f64 / each.as_secs_f64() / 1e12;
        println!("  {name:<26} {:8.2} us  x {times:<2} {rate:8.2} TFLOP/s", each.as_secs_f64() * 1e6);
        Ok(())
    };
    show("linear 384 -> 1152", 6, 6 * WIDTH * WIDTH, &|| dense(&hidden, &qkv, none))?;
    show("attention", 6, 4 * length as usize * WIDTH, &|| {
        let part = |at: usize| all.narrow(1, at * WIDTH, WIDTH)?.reshape(&[tokens, HEADS, WIDTH / HEADS]);
        part(0)?.attention(&part(1)?, &part(2)?, &offsets, &AttentionOptions::new())
    })?;
    show("linear 384 -> 384", 6, 2 * WIDTH * WIDTH, &|| dense(&hidden, &mixed, none))?;
    show("add, layer_norm", 12, 0, &|| hidden.add_layer_norm(&hidden, &gain, &shift, 1e-12))?;
    show("linear 384 -> 1536, gelu", 6, 2 * WIDTH * WIDE, &|| dense(&hidden, &up, Activation::Gelu))?;
    show("linear 1536 -> 384", 6, 2 * WIDE * WIDTH, &|| dense(&wide, &down, none))?;
    show("layer_norm", 1, 0, &|| hidden.layer_norm(&gain, &shift, 1e-12))?;
    show("pool", 1, 0, &|| hidden.pool(&offsets, Pooling::Mean))?;
    println!("  a whole pass of these      {:8.2} us", sum.as_secs_f64() * 1e6);
    Ok(())
}

/// The mean time of an operator in a chain on one stream, with a barrier between any two; the least of six.
fn chain(device: &Device, run: &dyn Fn() -> Result<Tensor>) -> Result<Duration> {
    let stream = Stream::current(device)?;
    let mut least = Duration::MAX;
    for _ in 0..6 {
        let start = stream.record_timed_event()?;
        for _ in 0..CHAIN {
            // Dropped at once: the next has the same memory, and so waits for this one.
            drop(run()?);
        }
        let end = stream.record_timed_event()?;
        least = least.min(end.elapsed_since(&start)? / CHAIN);
    }
    Ok(least)
}
