//! Models that must not load, and what the error must say.

use super::{cpu, set, written};
use serde_json::Value;
use std::path::Path;
use thalweg_models::EmbeddingModel;
use thalweg_models::testing::SmallEncoder;

/// The model that each test spoils.
pub fn encoder() -> SmallEncoder {
    SmallEncoder::new(3, 2, 16)
}

/// Loads a model that cannot be loaded; the message has every one of these parts.
#[track_caller]
pub fn refused(directory: impl AsRef<Path>, parts: &[&str]) {
    let error = match EmbeddingModel::load(&cpu(), directory) {
        Ok(_) => panic!("loaded, but expected an error with {parts:?}"),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

/// A good model with one file changed.
#[track_caller]
pub fn refused_with(change: impl FnOnce(&Path), parts: &[&str]) {
    let directory = written(&encoder());
    change(directory.path());
    refused(directory.path(), parts);
}

/// A good model with one setting of a file changed.
#[track_caller]
pub fn refused_setting(file: &str, pointer: &str, value: Value, expected: &str) {
    let (_, key) = pointer.rsplit_once('/').expect("a pointer");
    let given = value.to_string();
    refused_with(|directory| set(&directory.join(file), pointer, value), &[file, key, &given, expected]);
}
