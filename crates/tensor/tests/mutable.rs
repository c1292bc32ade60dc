//! Mutable tensors: additions from many threads, snapshots that are never torn, failures that stay where they are,
//! and what happens to the bytes afterwards.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::{Random, benches, cpu, mock, pools};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use thalweg_runtime::{Device, Stream};
use thalweg_tensor::{Binary, Element, Error, MutableTensor, Tensor};

const _: () = {
    const fn shared<T: Send + Sync + Clone>() {}
    shared::<MutableTensor>();
};

fn fresh_seed() -> u64 {
    let seed = Random::new(std::process::id().into()).bits();
    println!("seed {seed}");
    seed
}

const PARTS: usize = 5;
const ROWS: usize = 4;
const WIDTH: usize = 96;

/// Eight threads on four streams add the same number to every element of some parts. Readers find every part whole.
fn additions<T: Element + PartialEq + std::fmt::Debug>(
    device: &Device,
    seed: u64,
    number: impl Fn(&mut Random) -> T + Sync,
    add: impl Fn(T, T) -> T + Sync,
    later: impl Fn(T, T) -> bool + Sync,
) {
    const ADDERS: usize = 8;
    let cache = &MutableTensor::zeros::<T>(device, &[PARTS * ROWS, WIDTH], ROWS).unwrap();
    let running = &AtomicUsize::new(ADDERS);
    let (number, add, later) = (&number, &add, &later);
    let whole = |rows: &Tensor| -> Vec<T> {
        let values = rows.to_vec::<T>().unwrap();
        let parts = values.chunks_exact(ROWS * WIDTH);
        let part = |part: &[T]| {
            assert!(part.iter().all(|value| *value == part[0]), "a torn part: {part:?}");
            part[0]
        };
        parts.map(part).collect()
    };
    let sums = std::thread::scope(|scope| {
        let adders = (0..ADDERS as u64).map(|thread| {
            scope.spawn(move || {
                let random = &mut Random::new(seed ^ thread << 40);
                let mut sums = [T::zeroed(); PARTS];
                for _ in 0..60 {
                    let parts = some_parts(random);
                    let own = number(random);
                    let rows = Tensor::full(device, own, &[1, 1]).unwrap();
                    let rows = rows.broadcast_to(&[parts.len() * ROWS, WIDTH]).unwrap();
                    cache.add(parts.start * ROWS, &rows).unwrap();
                    sums[parts].iter_mut().for_each(|sum| *sum = add(*sum, own));
                }
                running.fetch_sub(1, Ordering::Relaxed);
                sums
            })
        });
        let adders: Vec<_> = adders.collect();
        for reader in 0..2u64 {
            scope.spawn(move || {
                let random = &mut Random::new(!seed ^ reader);
                let mut seen = [T::zeroed(); PARTS];
                while running.load(Ordering::Relaxed) > 0 {
                    let parts = some_parts(random);
                    let rows = cache.read(parts.start * ROWS..parts.end * ROWS).unwrap();
                    for (seen, value) in seen[parts].iter_mut().zip(whole(&rows)) {
                        assert!(later(*seen, value), "{value:?} was read after {seen:?}");
                        *seen = value;
                    }
                }
            });
        }
        let sums = adders.into_iter().map(|adder| {
            adder.join().unwrap_or_else(|panic| {
                running.store(0, Ordering::Relaxed); // the readers must not go on for ever
                std::panic::resume_unwind(panic)
            })
        });
        sums.reduce(|a, b| std::array::from_fn(|part| add(a[part], b[part]))).unwrap()
    });
    assert_eq!(whole(&cache.read(0..PARTS * ROWS).unwrap()), sums);
}

fn some_parts(random: &mut Random) -> Range<usize> {
    let start = random.below(PARTS as u32) as usize;
    // Mostly one.
    let count = if random.below(3) > 0 { 1 } else { 1 + random.below((PARTS - start) as u32) as usize };
    start..start + count
}

// audit: C14
#[test]
fn stress_additions_from_many_threads_lose_nothing_and_no_read_is_torn() {
    let seed = fresh_seed();
    for bench in pools(seed, 4) {
        let device = &bench.device;
        // No sum wraps, so a later read has no smaller value.
        additions(device, seed, |random| random.below(1000), |a, b| a + b, |seen, value| seen <= value);
        additions(device, seed, |random| random.bits() as i32, i32::wrapping_add, |_, _| true);
        bench.finish();
    }
}

#[test]
fn a_failure_stays_with_the_parts_that_it_wrote_until_they_are_written_again() {
    for bench in benches(fresh_seed()) {
        let device = &bench.device;
        let cache = MutableTensor::zeros::<u32>(device, &[12, 64], 2).unwrap();
        let rows = |value: u32, rows: usize| Tensor::full(device, value, &[rows, 64]).unwrap();
        cache.write(0, &rows(6, 12)).unwrap();
        let before = cache.read(0..12).unwrap();
        // Parts 1 and 2; and part 4, from data that failed elsewhere.
        cache.binary(Binary::Div, 2, &rows(0, 4)).unwrap();
        cache.write(8, &rows(1, 2).div(&rows(0, 2)).unwrap()).unwrap();
        cache.add(0, &rows(1, 12)).unwrap();
        let failed = |rows: Range<usize>| {
            let error = cache.read(rows.clone()).unwrap().to_vec::<u32>().unwrap_err();
            assert!(error.to_string().contains("integer division by 0"), "{rows:?}: {error}");
        };
        // One addition over all parts read those that had failed, and is one operation.
        (0..12).for_each(|row| failed(row..row + 1));
        assert_eq!(before.to_vec::<u32>().unwrap(), [6; 768]);
        cache.write(0, &rows(7, 12)).unwrap();
        assert_eq!(cache.read(0..12).unwrap().to_vec::<u32>().unwrap(), [7; 768]);

        cache.binary(Binary::Div, 2, &rows(0, 4)).unwrap();
        [0..2, 6..12].into_iter().for_each(|rows| {
            let count = rows.len() * 64;
            assert_eq!(cache.read(rows).unwrap().to_vec::<u32>().unwrap(), vec![7; count]);
        });
        [2..4, 5..6, 0..12, 1..3].into_iter().for_each(failed);
        cache.add(2, &rows(1, 4)).unwrap();
        failed(2..4);
        cache.write(2, &rows(8, 2)).unwrap();
        assert_eq!(cache.read(0..4).unwrap().to_vec::<u32>().unwrap(), [[7; 128], [8; 128]].concat());
        failed(3..5);
        cache.write(4, &rows(9, 2)).unwrap();
        assert_eq!(cache.read(3..5).unwrap().to_vec::<u32>().unwrap(), [[8; 64], [9; 64]].concat());
        bench.finish();
    }
}

/// A megabyte: memory of its own in the allocator, so that the next tensor of the size has the bytes of the last.
const LARGE: [usize; 2] = [1 << 12, 64];

// audit: C15
#[test]
fn bytes_of_a_dropped_mutable_tensor_are_used_again_only_after_its_last_uses() {
    let seed = fresh_seed();
    for seed in (0..20).map(|round| seed ^ round) {
        let bench = mock(seed);
        let device = &bench.device;
        let random = &mut Random::new(seed);
        let streams = [(); 4].map(|()| Stream::new(device).unwrap());
        let home = &streams[0];
        let part = LARGE[0] / 4;
        let mut known = Vec::new();
        let mut reserved = 0;
        for round in 0..4 {
            let cache = home.scope(|| MutableTensor::zeros::<u32>(device, &LARGE, part)).unwrap();
            let mut values = [0; 4];
            for step in 0..12u32 {
                let (at, stream) = (random.below(4) as usize, &streams[random.below(4) as usize]);
                stream.scope(|| {
                    let row = Tensor::full(device, step + 1, &[1, 64]).unwrap();
                    cache.add(at * part, &row.broadcast_to(&[part, 64]).unwrap()).unwrap();
                    values[at] += step + 1;
                    if step % 4 == 0 {
                        // A small copy of what is there now, still to be made when the bytes are used again.
                        let row = cache.read(at * part..at * part + 1).unwrap();
                        known.push((row, vec![values[at]; 64]));
                    }
                });
            }
            drop(cache);
            // Recorded at once, where the cache came from, in its bytes.
            let next = home.scope(|| Tensor::full(device, 1000 + round, &LARGE)).unwrap();
            let row = next.narrow(0, random.below(LARGE[0] as u32) as usize, 1).unwrap();
            known.push((row.add(&Tensor::zeros::<u32>(device, &[64]).unwrap()).unwrap(), vec![1000 + round; 64]));
            if round == 0 {
                reserved = device.memory().reserved;
            }
            assert!(device.memory().reserved < reserved + (1 << 20), "the bytes were not used again");
        }
        for (tensor, values) in known {
            assert_eq!(tensor.to_vec::<u32>().unwrap(), values);
        }
        bench.finish();
    }
}

#[test]
fn no_rows_change_nothing() {
    for bench in benches(3) {
        let cache = MutableTensor::zeros::<f32>(&bench.device, &[8, 64], 2).unwrap();
        let none = Tensor::zeros::<f32>(&bench.device, &[0, 64]).unwrap();
        for row in [0, 4, 8] {
            cache.write(row, &none).unwrap();
            cache.add(row, &none).unwrap();
            let read = cache.read(row..row).unwrap();
            assert_eq!((read.shape(), read.to_vec::<f32>().unwrap()), (&[0, 64][..], Vec::new()));
        }
        assert_eq!(cache.read(0..8).unwrap().to_vec::<f32>().unwrap(), [0.0; 512]);
        bench.finish();
    }
}

#[test]
fn refusals_name_what_was_given_and_what_would_do() {
    let device = &cpu();
    let says = |error: Error, parts: &[&str]| {
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "\"{message}\" does not say \"{part}\"");
        }
        assert!(!error.is_retryable(), "{message}");
        error
    };
    let zeros = |shape: &[usize], rows_per_part| MutableTensor::zeros::<f32>(device, shape, rows_per_part);
    // Rows of 96 bytes: 8 of them are the fewest that are whole 256s.
    for part in [0, 1, 3, 4, 12, 32, 48] {
        let error = zeros(&[24, 24], part).unwrap_err();
        let error =
            says(error, &["24 rows of 96 bytes", &format!("parts of {part}:"), "multiple of 8 rows", "or is all"]);
        assert!(matches!(error, Error::Parts { multiple: 8, .. }));
    }
    for part in [8, 24] {
        assert_eq!(zeros(&[24, 24], part).unwrap().parts(), 24 / part);
    }
    for (shape, multiple) in [(&[256, 1][..], 64), (&[256], 64), (&[256, 48], 4), (&[256, 64], 1), (&[256, 65], 64)] {
        assert!(zeros(shape, multiple).is_ok());
        assert!(multiple == 1 || matches!(zeros(shape, multiple / 2), Err(Error::Parts { .. })), "{shape:?}");
    }
    for shape in [&[][..], &[0, 64], &[4, 0]] {
        let error = says(zeros(shape, 1).unwrap_err(), &["MutableTensor::zeros", &format!("{shape:?}"), "one element"]);
        assert!(matches!(error, Error::Shape { .. }));
    }
    assert!(matches!(zeros(&[1 << 20, 1 << 20], 1), Err(Error::TooLarge { .. })));

    let cache = zeros(&[8, 64], 2).unwrap();
    let rows = |shape: &[usize]| Tensor::zeros::<f32>(device, shape).unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn(usize, &Tensor) -> thalweg_tensor::Result<()>);
    let changes: [Change<'_>; 2] =
        [("write", &|row, rows| cache.write(row, rows)), ("add", &|row, rows| cache.add(row, rows))];
    for (name, change) in changes {
        for (row, count) in [(0, 1), (1, 2), (1, 1), (6, 4), (8, 2), (10, 2), (9, 0), (usize::MAX, 2)] {
            let error = change(row, &rows(&[count, 64])).unwrap_err();
            let asked = format!("{name}: rows {row}..{} of 8", row.saturating_add(count));
            let error = says(error, &[&asked, "whole parts of 2 rows, within 0..8"]);
            assert!(matches!(error, Error::Rows { .. }));
        }
        for shape in [&[][..], &[64], &[2, 63], &[2, 64, 1], &[1, 2, 64]] {
            let error = says(change(0, &rows(shape)).unwrap_err(), &[name, "[rows] followed by [64]"]);
            assert!(matches!(error, Error::Shape { .. }));
        }
        let typed = Tensor::zeros::<u32>(device, &[2, 64]).unwrap();
        says(change(0, &typed).unwrap_err(), &[name, "the rows is u32", "expected f32"]);
        let other = mock(3);
        let foreign = Tensor::zeros::<f32>(&other.device, &[2, 64]).unwrap();
        says(change(0, &foreign).unwrap_err(), &["another device"]);
    }
    #[allow(clippy::reversed_empty_ranges)] // that is what is refused
    for range in [0..9, 9..9, 5..4, 0..usize::MAX] {
        let asked = format!("rows {}..{} of 8", range.start, range.end);
        says(cache.read(range).unwrap_err(), &["read", &asked, "a range within 0..8"]);
    }
    assert_eq!(cache.read(0..8).unwrap().to_vec::<f32>().unwrap(), [0.0; 512]);
}
