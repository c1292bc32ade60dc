//! The tokenizer library can start a pool of threads, which would compete with the device's workers. It must not.
//! In a process of its own, because it counts threads.
#![cfg(target_os = "linux")]

mod support;

use fastrand::Rng;
use support::{loaded, seed, text};
use thalweg_models::testing::SmallEncoder;

#[test]
fn tokenizing_starts_no_thread() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let model = loaded(&SmallEncoder::new(1, 1, 16));
    let mut random = Rng::with_seed(seed());
    let texts: Vec<String> = (0..200).map(|_| text(&mut random, 100)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let before = threads();
    model.tokenize(&texts).unwrap();
    assert_eq!(threads(), before);
}
