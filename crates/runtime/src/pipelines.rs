//! Compiled kernels, one compile for each.

use crate::error::Result;
use crate::sync::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use thalweg_hal::{Device, KernelSource, Pipeline};

/// The pipelines of a device by kernel name, one for each kernel that the program contains.
#[derive(Debug, Default)]
pub(crate) struct Pipelines {
    /// Held for a look-up or an insertion, never while a kernel is compiled.
    entries: RwLock<HashMap<Cow<'static, str>, Arc<Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    pipeline: OnceLock<Arc<dyn Pipeline>>,
    /// Held by whoever compiles this kernel. Others who want the same one wait here, and nobody else does.
    compiling: Mutex<()>,
}

impl Pipelines {
    pub(crate) fn get(&self, device: &dyn Device, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        let entry = self.entry(source);
        if let Some(pipeline) = entry.pipeline.get() {
            return Ok(Arc::clone(pipeline));
        }
        let _compiling = entry.compiling.lock();
        if let Some(pipeline) = entry.pipeline.get() {
            return Ok(Arc::clone(pipeline));
        }
        // A failure is told to the caller and not kept.
        let pipeline = device.create_pipeline(source)?;
        Ok(Arc::clone(entry.pipeline.get_or_init(|| pipeline)))
    }

    fn entry(&self, source: &KernelSource) -> Arc<Entry> {
        let known = self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&source.name).cloned();
        known.unwrap_or_else(|| {
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(entries.entry(source.name.clone()).or_default())
        })
    }
}
