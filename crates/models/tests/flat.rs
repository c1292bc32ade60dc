//! Requests of every length from threads that come and go: memory stays what it was after the first of them.
//!
//! The only test of its program: what it measures is the process's.

mod support;

use fastrand::Rng;
use support::{bits, one, seed, text, written};
use thalweg_models::EmbeddingModel;
use thalweg_models::testing::SmallEncoder;
use thalweg_runtime::{Config, Device};

const WAVES: usize = 20;
/// Waves before the first measurement.
const WARM_UP: usize = WAVES / 4;
/// Threads of a wave. They all end before the next one's begin.
const THREADS: usize = 64;
/// Requests of a thread: 10,240 in all.
const REQUESTS: usize = 8;
/// By how much the process may have grown at the end: about a kilobyte for each request after the warm-up. (Half of
/// that is seen: the system's allocator keeps memory by thread.)
const GROWTH: i64 = 8 << 20;

/// Memory of the process that is in the machine's, in bytes; where the system does not say, 0.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")?.trim().parse().ok());
    1024 * kilobytes.unwrap_or(0)
}

// audit: F5, C25, C30
#[test]
fn stress_short_lived_threads_leave_resident_memory_flat() {
    let seed = seed();
    let hal = thalweg_cpu::CpuDevice::open().expect("the processor");
    let device = Device::new(hal, Config::default()).expect("a device");
    let directory = written(&SmallEncoder::new(seed, 2, 64));
    let model = EmbeddingModel::load(&device, directory.path()).expect("a good model");
    let mut random = Rng::with_seed(seed);
    // Of every length there can be, and longer.
    let texts: Vec<String> = (0..80).map(|words| text(&mut random, words)).collect();
    let expected: Vec<Vec<u32>> = texts.iter().map(|text| bits(&one(&model, text).values)).collect();
    device.synchronize().expect("the device answers");
    let before = device.memory();
    let mut after_warm_up = 0;
    for wave in 0..WAVES {
        if wave == WARM_UP {
            after_warm_up = resident();
        }
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (model, texts, expected) = (&model, &texts, &expected);
                let mut random = Rng::with_seed(seed.wrapping_add((wave * THREADS + thread) as u64));
                scope.spawn(move || {
                    for _ in 0..REQUESTS {
                        let which = random.usize(..texts.len());
                        let embedding = one(model, &texts[which]);
                        assert_eq!(bits(&embedding.values), expected[which], "text {which}, seed {seed}");
                    }
                });
            }
        });
    }
    device.synchronize().expect("the device answers");
    let grown = resident() - after_warm_up;
    eprintln!("resident memory after the warm-up {after_warm_up}, grown by {grown} bytes; seed {seed}");
    assert!(grown <= GROWTH, "grown by {grown} bytes from {after_warm_up}, allowed {GROWTH}; seed {seed}");
    let after = device.memory();
    assert_eq!((after.live, after.frozen), (before.live, before.frozen), "{after:?}, seed {seed}");
}
