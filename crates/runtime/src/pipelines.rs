//! Compiled kernels, one compile for each.
//!
//! Each stream remembers those that were asked for on it, so that a look-up, and the reference counts of what it finds, are
//! shared with no other stream.

use crate::device::DeviceCore;
use crate::error::{Error, Result};
use crate::sync::Mutex;
use std::any::Any;
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

    /// The pipeline for a kernel of its name, if that is declared as this is.
    fn fitting(&self, source: &KernelSource) -> Result<Self> {
        let known = self.source();
        if known.name != source.name
            || known.bindings != source.bindings
            || known.params_bytes != source.params_bytes
            || !same_form(known, source)
        {
            let what = "another kernel of this name is in use; kernels need names of their own";
            return Err(Error::Malformed { operation: source.name.clone().into_owned(), what });
        }
        Ok(self.clone())
    }
}

/// Whether two kernels are the same on a GPU. Texts are compared by address first: a look-up has the one that was compiled.
fn same_form(a: &KernelSource, b: &KernelSource) -> bool {
    match (&a.wgsl, &b.wgsl) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            (std::ptr::eq(&*a.source, &*b.source) || a.source == b.source)
                && a.entry == b.entry
                && a.overrides == b.overrides
                && a.bounds == b.bounds
        }
        _ => false,
    }
}

/// How many pipelines a stream remembers.
const REMEMBERED: usize = 64;

/// The pipelines that were asked for on a stream, as far as there is room: each stays where its kernel's address led, and
/// another that is led there is looked up in the device's map each time.
#[derive(Debug)]
pub(crate) struct Remembered([OnceLock<Pipeline>; REMEMBERED]);

impl Default for Remembered {
    fn default() -> Self {
        Self([const { OnceLock::new() }; REMEMBERED])
    }
}

impl Remembered {
    /// The pipeline, from here or from the device's map.
    pub(crate) fn get(&self, core: &DeviceCore, pipelines: &Pipelines, source: &KernelSource) -> Result<Pipeline> {
        // The address only says where to look. What is there is compared whole.
        let slot = &self.0[(std::ptr::from_ref(source).addr() / size_of::<KernelSource>()) % REMEMBERED];
        if let Some(pipeline) = slot.get().filter(|pipeline| pipeline.source().name == source.name) {
            return pipeline.fitting(source);
        }
        let pipeline = pipelines.get(core, source)?;
        let own = Pipeline { hal: Arc::new(Counted(pipeline.hal)), device: core.id };
        // Somebody else may have been faster, with this kernel or with another.
        let _ = slot.set(own.clone());
        Ok(own)
    }
}

/// A pipeline under a reference count of its own.
#[derive(Debug)]
struct Counted(Arc<dyn thalweg_hal::Pipeline>);

impl thalweg_hal::Pipeline for Counted {
    fn source(&self) -> &KernelSource {
        self.0.source()
    }
    fn check(&self, extent: [u32; 3], params: &[u8], operand_bytes: &[u64]) -> std::result::Result<(), &'static str> {
        self.0.check(extent, params, operand_bytes)
    }
    /// The backend's own pipeline.
    fn as_any(&self) -> &dyn Any {
        self.0.as_any()
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
        pipeline.fitting(source)
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
        let span = core.profile.begin();
        let hal = core.hal.create_pipeline(source)?;
        span.compiled(&source.name);
        Ok(self.pipeline.get_or_init(|| Pipeline { hal, device: core.id }))
    }
}
