//! What fitted once fits again: calls of an encoder, as its shapes have them allocate and free, under limits that are
//! just enough.

use super::{balanced, with};
use crate::tests::world::{fresh_seed, streams};
use crate::{Config, Device, Error, Operand, Result, Storage, Stream, Work};
use fastrand::Rng;

/// Bytes of one row of a narrow encoder.
const ROW: u64 = 4 * 48;
const LAYERS: usize = 4;
/// What a model's weights take, and stay.
const WEIGHTS: u64 = 3 << 20;

/// One call for so many tokens in all. It is recorded as a whole, and waited for at the end.
fn call(stream: &Stream, tokens: u64) -> Result<()> {
    let make = |bytes: u64| {
        let mut storage = stream.allocate(bytes)?;
        stream.record(&Work::Fill(1), &[Operand::write(&mut storage).first(256)])?;
        Ok::<Storage, Error>(storage)
    };
    let rows = |width: u64| tokens * ROW * width;
    let inputs = [4 * tokens, 4 * tokens, 512].map(make);
    let embedded = make(rows(1))?;
    let mut hidden = make(rows(1))?;
    drop(embedded);
    for _ in 0..LAYERS {
        let qkv = make(rows(3))?;
        let attention = make(rows(1))?;
        drop(qkv);
        let attended = make(rows(1))?;
        drop((attention, hidden));
        let up = make(rows(4))?;
        let down = make(rows(1))?;
        drop(up);
        hidden = make(rows(1))?;
        drop((down, attended));
    }
    let pooled = make(ROW * 32)?;
    drop((hidden, inputs.into_iter().collect::<Result<Vec<_>>>()?));
    stream.synchronize()?;
    drop(pooled);
    Ok(())
}

fn device(limit: u64) -> (Device, Storage) {
    let device = with(Config::default().memory_limit(limit));
    let weights = Storage::frozen_from_bytes(&device, &vec![0; WEIGHTS as usize]).expect("the limit is larger");
    (device, weights)
}

/// The least limit under which one call fits a device that has done nothing else.
fn least(tokens: u64) -> u64 {
    let (mut no, mut yes) = (WEIGHTS, 64 << 20);
    while yes - no > 4 << 10 {
        let limit = (no + yes) / 2;
        let (device, _weights) = device(limit);
        let [stream] = streams(&device);
        match call(&stream, tokens) {
            Ok(()) => yes = limit,
            Err(Error::OutOfMemory(_)) => no = limit,
            Err(error) => panic!("{error}"),
        }
    }
    yes
}

// audit: C30
#[test]
fn what_fitted_once_fits_a_hundred_times_with_other_lengths_between() {
    let seed = fresh_seed();
    let mut random = Rng::with_seed(seed);
    for _ in 0..20 {
        let tokens = random.u64(600..3000);
        // From just enough on.
        let limit = least(tokens) + if random.bool() { 0 } else { random.u64(..4 << 20) };
        let (device, _weights) = device(limit);
        let [stream] = streams(&device);
        call(&stream, tokens).expect("it did on another device");
        for again in 0..100 {
            // What does not fit beside it may be refused, and changes nothing.
            let other = random.u64(1..4000);
            if !matches!(call(&stream, other), Ok(()) | Err(Error::OutOfMemory(_))) {
                panic!("seed {seed}: {other} tokens");
            }
            call(&stream, tokens).unwrap_or_else(|error| panic!("seed {seed}, limit {limit}, {again} times: {error}"));
        }
        balanced(&device);
    }
}

/// So many blocks of a length at once.
fn at_once(device: &Device, count: u64, bytes: u64) -> Result<()> {
    let [stream] = streams(device);
    let make = |_| {
        let mut storage = stream.allocate(bytes)?;
        stream.record(&Work::Fill(1), &[Operand::write(&mut storage).first(256)])?;
        Ok(storage)
    };
    (0..count).map(make).collect::<Result<Vec<_>>>().map(drop)
}

/// The lengths are the worst for each other: half as long again, so that the one's blocks are taken whole for the
/// other, or just too short to be large, so that few fit in a segment.
// audit: C30
#[test]
fn what_is_not_large_fits_again_with_a_quarter_to_spare() {
    let limit = 64 << 20;
    for lengths in [[11_000, 16_000], [90_000, 130_000], [700_000, 1_040_000], [1_310_720, 1_966_080]] {
        let counts = lengths.map(|bytes| {
            let (mut yes, mut no) = (0, limit / bytes + 1);
            while no - yes > 1 {
                let count = (yes + no) / 2;
                match at_once(&with(Config::default().memory_limit(limit)), count, bytes) {
                    Ok(()) => yes = count,
                    Err(_) => no = count,
                }
            }
            yes * 3 / 4
        });
        let device = with(Config::default().memory_limit(limit));
        for _ in 0..10 {
            for (count, bytes) in counts.into_iter().zip(lengths) {
                at_once(&device, count, bytes).unwrap_or_else(|error| panic!("{count} of {bytes}: {error}"));
            }
        }
        balanced(&device);
    }
}
