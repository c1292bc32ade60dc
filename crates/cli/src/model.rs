//! Opening the device and the model.

use std::path::{Path, PathBuf};

use thalweg::{Config, Device, EmbeddingModel, LoadOptions};

use crate::args::{DeviceArgs, Dtype};
use crate::error::Error;

/// The directory of the model that `--model` names.
///
/// # Errors
///
/// `Model`, with what was looked at.
pub fn directory(named: &Path) -> Result<PathBuf, Error> {
    thalweg::hub::resolve(named).map_err(|error| failed(named, error))
}

fn failed(named: &Path, error: thalweg::ModelError) -> Error {
    Error::Model { directory: named.display().to_string(), source: Box::new(error.into()) }
}

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
        .map_err(|error| failed(directory, error))?;
    Ok((device, model))
}
