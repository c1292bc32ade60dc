//! Which devices there are, and whether they have what is needed.

use super::Object;
use super::pool::pooled;
use objc2_metal::{MTLCreateSystemDefaultDevice, MTLDevice, MTLGPUFamily};
use std::fmt;
use thalweg_hal::{DeviceKind, Features, KernelSupport};

/// Threads of a simdgroup, on every GPU of Apple's.
const SIMDGROUP: u32 = 32;

/// A device that may be opened.
#[derive(Clone)]
pub struct Adapter {
    pub(crate) raw: Object<dyn MTLDevice>,
    name: String,
    pub(crate) support: KernelSupport,
}

/// The system's devices: its preferred one, which on Apple's processors is the only one; none where there is no Metal.
pub fn adapters() -> Vec<Adapter> {
    pooled(|| MTLCreateSystemDefaultDevice().map(Adapter::new)).into_iter().collect()
}

impl Adapter {
    fn new(raw: Object<dyn MTLDevice>) -> Self {
        let name = raw.name().to_string();
        // From this family on (the A14 and the M1) simdgroups add up and multiply matrices.
        let simdgroups = raw.supportsFamily(MTLGPUFamily::Apple7);
        let support = KernelSupport {
            features: Features { f16: true, subgroups: simdgroups, matrices: simdgroups },
            subgroup_size: if simdgroups { SIMDGROUP } else { 0 },
            workgroup_bytes: u32::try_from(raw.maxThreadgroupMemoryLength()).unwrap_or(u32::MAX),
        };
        Self { raw, name, support }
    }

    /// The device's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What sort of device it is.
    pub fn kind(&self) -> DeviceKind {
        if self.raw.hasUnifiedMemory() { DeviceKind::IntegratedGpu } else { DeviceKind::Gpu }
    }

    /// Why the device cannot be opened, if it lacks something that is needed.
    pub fn missing(&self) -> Option<&str> {
        if !self.raw.hasUnifiedMemory() {
            // AMD's, in Macs with Intel's processors; they also give wrong values where dispatches run at once.
            return Some("it has memory of its own; only Apple's GPUs are supported, which share the host's");
        }
        // Intel's share it too, and have neither heaps that the host sees nor arguments at any multiple of 16. This
        // family is what a virtual Mac has.
        (!self.raw.supportsFamily(MTLGPUFamily::Apple5)).then_some("it is none of Apple's GPUs, or older than the A12")
    }

    /// The newest of Apple's families that it belongs to, for people.
    pub(crate) fn family(&self) -> String {
        let is = |family: &isize| self.raw.supportsFamily(MTLGPUFamily(*family as _));
        // Apple1 is 1001. What is newer than any family known here belongs to the older ones too.
        (1001..1020).rev().find(is).map_or_else(|| "none of Apple's".to_owned(), |at| format!("Apple{}", at - 1000))
    }
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter").field("name", &self.name).field("missing", &self.missing()).finish_non_exhaustive()
    }
}
