//! Opening the device and the model, and a check of what the model answers.

use std::path::Path;

use thalweg::{Config, Device, Embedding, EmbeddingModel, LoadOptions};

use crate::args::{DeviceArgs, Dtype};
use crate::error::Error;

/// Opens the device that the flags name and loads the model in `directory` onto it, to compute in `dtype`.
///
/// # Errors
///
/// `Device` or `Model`, with the cause.
pub fn load(device: &DeviceArgs, directory: &Path, dtype: Dtype) -> Result<(Device, EmbeddingModel), Error> {
    let DeviceArgs { device: selector, cpu_threads } = device;
    let config = cpu_threads.map_or(Config::default(), |threads| Config::default().cpu_threads(threads.into()));
    let device = thalweg::open_with(selector, config)
        .map_err(|error| Error::Device { selector: selector.clone(), source: Box::new(error) })?;
    if device.info().kind == thalweg::DeviceKind::SoftwareGpu {
        crate::say(&format!("note: {} is a software driver, for tests; cpu is faster", device.info().name));
    }
    let model = EmbeddingModel::load_with(&device, directory, LoadOptions::new().dtype(dtype.of_tensors()))
        .map_err(|error| Error::Model { directory: directory.display().to_string(), source: Box::new(error) })?;
    Ok((device, model))
}

/// Checks that `embeddings` are `count` and that every value is finite: JSON has no way to write another.
///
/// # Errors
///
/// What is wrong, in words.
pub fn check(embeddings: &[Embedding], count: usize) -> Result<(), String> {
    if embeddings.len() != count {
        return Err(format!("{} embeddings for {count} texts", embeddings.len()));
    }
    for (index, embedding) in embeddings.iter().enumerate() {
        if let Some(at) = embedding.values.iter().position(|value| !value.is_finite()) {
            return Err(format!("value {at} of embedding {index} is {}", embedding.values[at]));
        }
    }
    Ok(())
}

/// Whether the text that this is of had more tokens than the model reads, and was cut.
pub fn was_cut(model: &EmbeddingModel, embedding: &Embedding) -> bool {
    embedding.tokens == model.max_tokens()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_embeddings_in_the_right_number_pass() {
        let embeddings = |value| vec![Embedding { tokens: 2, values: vec![0.5, value] }];
        assert_eq!(check(&embeddings(1.0), 1), Ok(()));
        assert_eq!(check(&embeddings(1.0), 2).unwrap_err(), "1 embeddings for 2 texts");
        for value in [f32::NAN, f32::INFINITY] {
            assert!(check(&embeddings(value), 1).unwrap_err().starts_with("value 1 of embedding 0 is"));
        }
    }
}
