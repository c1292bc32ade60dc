//! Compiled kernels, one compile for each.

use crate::device::DeviceCore;
use crate::error::{Error, Result};
use crate::sync::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use thalweg_hal::{KernelSource, MAX_BINDINGS, MAX_PARAMETER_BYTES};

/// A kernel compiled for one device, by [`Device::pipeline`](crate::Device::pipeline).
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(crate) hal: Arc<dyn thalweg_hal::Pipeline>,
    /// The [`DeviceCore::id`] of its device.
    pub(crate) device: u64,
}

impl Pipeline {
    /// The kernel's declaration.
    pub fn source(&self) -> &KernelSource {
        self.hal.source()
    }
}

/// The pipelines of a device by kernel name, one for each kernel that the program contains.
#[derive(Debug, Default)]
pub(crate) struct Pipelines {
    /// Held for a look-up or an insertion, never while a kernel is compiled.
    entries: RwLock<HashMap<Cow<'static, str>, Arc<Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    pipeline: OnceLock<Pipeline>,
    /// Held by whoever compiles this kernel. Others who want the same one wait here, and nobody else does.
    compiling: Mutex<()>,
}

impl Pipelines {
    pub(crate) fn get(&self, core: &DeviceCore, source: &KernelSource) -> Result<Pipeline> {
        let entry = self.entry(source);
        let pipeline = match entry.pipeline.get() {
            Some(pipeline) => pipeline,
            None => entry.compile(core, source)?,
        };
        let known = pipeline.source();
        if known.bindings != source.bindings || known.params_bytes != source.params_bytes {
            let what = "another kernel of this name is in use; kernels need names of their own";
            return Err(Error::Malformed { operation: source.name.clone().into_owned(), what });
        }
        Ok(pipeline.clone())
    }

    fn entry(&self, source: &KernelSource) -> Arc<Entry> {
        let known = self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&source.name).cloned();
        known.unwrap_or_else(|| {
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(entries.entry(source.name.clone()).or_default())
        })
    }
}

impl Entry {
    fn compile(&self, core: &DeviceCore, source: &KernelSource) -> Result<&Pipeline> {
        if source.bindings.len() > MAX_BINDINGS || source.params_bytes > MAX_PARAMETER_BYTES {
            let what = "more than 8 bindings or 128 parameter bytes";
            return Err(Error::Malformed { operation: source.name.clone().into_owned(), what });
        }
        let _compiling = self.compiling.lock();
        if let Some(pipeline) = self.pipeline.get() {
            return Ok(pipeline);
        }
        // A failure is told to the caller and not kept.
        let hal = core.hal.create_pipeline(source)?;
        Ok(self.pipeline.get_or_init(|| Pipeline { hal, device: core.id }))
    }
}
