//! Opening the device and the model.

use std::path::{Path, PathBuf};

use thalweg::{Config, Device, LoadOptions, ModelError};

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

/// What is wrong with the model that people know by this name.
pub fn failed(named: &Path, error: ModelError) -> Error {
    Error::Model { directory: named.display().to_string(), source: Box::new(error.into()) }
}

/// Opens the device that the flags name and loads the model in `directory` onto it, to compute in `dtype`; `load` is
/// one of the library's.
///
/// # Errors
///
/// `Device` or `Model`, with the cause.
pub fn load<M>(
    device: &DeviceArgs,
    directory: &Path,
    dtype: Dtype,
    load: impl FnOnce(&Device, &Path, LoadOptions) -> Result<M, ModelError>,
) -> Result<(Device, M), Error> {
    let DeviceArgs { device: selector, cpu_threads } = device;
    let config = cpu_threads.map_or(Config::default(), |threads| Config::default().cpu_threads(threads.into()));
    let device = thalweg::open_with(selector, config)
        .map_err(|error| Error::Device { selector: selector.clone(), source: Box::new(error) })?;
    if device.info().kind == thalweg::DeviceKind::SoftwareGpu {
        crate::say(&format!("note: {} is a software driver, for tests; cpu is faster", device.info().name));
    }
    let options = LoadOptions::new().dtype(dtype.of_tensors());
    let model = load(&device, directory, options).map_err(|error| failed(directory, error))?;
    Ok((device, model))
}
