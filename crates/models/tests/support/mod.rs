//! What the tests of this crate share.
#![allow(dead_code)] // each test binary uses a part

pub mod cases;
pub mod counting;
pub mod reference;
pub mod refused;

use fastrand::Rng;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use thalweg_models::testing::SmallEncoder;
use thalweg_models::{EmbeddingModel, Embeddings};
use thalweg_runtime::{Config, Device};

/// A fresh device on the processor.
pub fn cpu() -> Device {
    let hal = thalweg_cpu::CpuDevice::open().expect("the processor");
    Device::new(hal, Config::default()).expect("a device")
}

/// Writes the encoder to a directory that goes when the value goes.
pub fn written(encoder: &SmallEncoder) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    encoder.write(directory.path()).expect("a model directory");
    directory
}

/// A copy of the model in `data/tiny`, which `scripts/make-settings-references` made.
pub fn tiny() -> TempDir {
    copied(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny")))
}

/// A copy of a directory, which goes when the value goes.
pub fn copied(from: &Path) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("the folder") {
            let path = entry.expect("an entry").path();
            let to = to.join(path.file_name().expect("a name"));
            if path.is_dir() {
                copy(&path, &to);
            } else {
                fs::copy(&path, to).expect("a copy");
            }
        }
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    copy(from, directory.path());
    directory
}

/// Writes and loads the encoder.
pub fn loaded(encoder: &SmallEncoder) -> EmbeddingModel {
    let directory = written(encoder);
    EmbeddingModel::load(&cpu(), directory.path()).expect("a good model")
}

/// Sets a value of a JSON file; `Null` in a `pointer` (RFC 6901) that does not exist adds the last key.
pub fn set(file: &Path, pointer: &str, value: Value) {
    let mut document: Value = serde_json::from_slice(&fs::read(file).expect("the file")).expect("JSON");
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    match document.pointer_mut(parent).expect("the parent") {
        Value::Object(object) => drop(object.insert(key.to_owned(), value)),
        Value::Array(array) => array[key.parse::<usize>().expect("an index")] = value,
        _ => panic!("{pointer}: not in an object or array"),
    }
    fs::write(file, document.to_string()).expect("the file");
}

/// Removes a key of a JSON file's object.
pub fn unset(file: &Path, key: &str) {
    let mut document: Value = serde_json::from_slice(&fs::read(file).expect("the file")).expect("JSON");
    document.as_object_mut().expect("an object").remove(key).expect("the key");
    fs::write(file, document.to_string()).expect("the file");
}

/// A seed that differs from run to run, printed so that a failure can be repeated with `THALWEG_SEED`.
pub fn seed() -> u64 {
    let fresh = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let seed = std::env::var("THALWEG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(fresh);
    println!("seed {seed} (set THALWEG_SEED to repeat)");
    seed
}

/// A text of this many short words; some letters are unknown to no tokenizer.
pub fn text(random: &mut Rng, words: usize) -> String {
    let mut word = || (0..random.usize(1..=5)).map(|_| random.lowercase()).collect::<String>();
    (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")
}

/// A text's row of [`Embeddings`].
#[derive(Clone, Debug)]
pub struct Embedded {
    pub tokens: usize,
    pub values: Vec<f32>,
}

/// All rows, none of which has failed.
pub fn rows(embeddings: &Embeddings) -> Vec<Embedded> {
    let row = |row| Embedded { tokens: embeddings.tokens(row), values: embeddings.row(row).expect("values").to_vec() };
    (0..embeddings.rows()).map(row).collect()
}

/// The embedding of one text.
pub fn one(model: &EmbeddingModel, text: &str) -> Embedded {
    rows(&model.embed(&[text]).expect("an embedding")).remove(0)
}

/// The bits of an embedding, for comparisons that must be exact.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
