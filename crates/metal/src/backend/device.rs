//! The device: what Metal says about it, and the way to everything else.

use super::NAME;
use super::adapter::Adapter;
use super::command_queue;
use super::context::Context;
use super::memory::{Buffer, MetalMemory};
use super::options::Options;
use super::pipeline::MetalPipeline;
use super::queue::MetalQueue;
use super::room::{self, Room};
use super::timeline::{MetalDoorbell, wait_any};
use objc2_metal::MTLDevice;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{
    BINDING_ALIGNMENT, Device, DeviceInfo, Doorbell, HostAccess, KernelSource, Limits, List, Listener, Memory,
    MemoryKind, Overhead, Pipeline, Queue, Result, TimelinePoint, Timestamps,
};

/// Heaps. The system names no limit; this many segments are far more than a budget is made of.
const MAX_ALLOCATIONS: u64 = 10_000;
/// Lists that run at once, as far as is known: the system does not say.
const PARALLELISM: u32 = 8;

/// A device that Metal drives.
pub struct MetalDevice {
    info: DeviceInfo,
    context: Arc<Context>,
    room: Arc<Room>,
    overhead: Arc<Overhead>,
}

impl fmt::Debug for MetalDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetalDevice({})", self.info.name)
    }
}

impl MetalDevice {
    /// Opens a device, as the environment says ([`Options::from_environment`]). [`adapters`](crate::adapters) lists
    /// them.
    ///
    /// # Errors
    /// As for [`open_with`](Self::open_with); if the environment is wrong.
    pub fn open(adapter: &Adapter) -> Result<Arc<Self>> {
        Self::open_with(adapter, &Options::from_environment()?)
    }

    /// Opens a device. Waits until it has run an empty command buffer.
    ///
    /// # Errors
    /// What the device lacks, what Metal says, or [`Error::ForkedChild`](thalweg_hal::Error::ForkedChild).
    pub fn open_with(adapter: &Adapter, options: &Options) -> Result<Arc<Self>> {
        if thalweg_hal::process::forked() {
            return Err(thalweg_hal::Error::ForkedChild); // the system's threads are the parent's
        }
        let context = Arc::new(Context::new(adapter, options)?);
        let overhead = Arc::default();
        let room = room::open(&context, &overhead)?;
        Ok(Arc::new(Self { info: describe(adapter, &context), context, room, overhead }))
    }
}

fn describe(adapter: &Adapter, context: &Context) -> DeviceInfo {
    let device = &context.device;
    let longest = device.maxBufferLength() as u64;
    let limits = Limits {
        // Kernels are told lengths as 32-bit numbers.
        max_binding_bytes: longest.min(u64::from(u32::MAX) / BINDING_ALIGNMENT * BINDING_ALIGNMENT),
        max_allocations: MAX_ALLOCATIONS,
        memory_bytes: device.recommendedMaxWorkingSetSize(),
        max_lists_in_flight: command_queue::LISTS as u64,
    };
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let support = context.support;
    DeviceInfo {
        name: format!("{NAME} ({})", adapter.name()),
        kind: adapter.kind(),
        driver: NAME.to_owned(),
        parallelism: PARALLELISM,
        timestamps: Timestamps::ByList,
        waits_are_dear: true,
        host_access: HostAccess::Cached,
        zeroed: false,
        limits,
        support,
        details: vec![
            ("family", adapter.family()),
            ("memory", format!("{:.1} GiB", limits.memory_bytes as f64 / f64::from(1 << 30))),
            ("residency set", yes(!context.residency.is_by_encoder())),
            ("matrix units", yes(support.features.matrices)),
            ("workgroup memory", format!("{} bytes", support.workgroup_bytes)),
            ("longest binding", format!("{} bytes", limits.max_binding_bytes)),
        ],
    }
}

impl Device for MetalDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn overhead(&self) -> &Arc<Overhead> {
        &self.overhead
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        Ok(Box::new(MetalQueue::new(&self.context, &self.room, self.info.limits)?))
    }

    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        Ok(Arc::new(MetalDoorbell::new(&self.context)?))
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        Ok(Arc::new(MetalPipeline::new(&self.context, source)?))
    }

    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()> {
        debug_assert_eq!(list.check_inner(&self.info.limits), Ok(()), "a promise of `Device::prepare`");
        // A command buffer runs once: there is nothing to keep.
        self.context.check()
    }

    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        Ok(Arc::new(MetalMemory::new(kind, Buffer::new(&self.context, bytes)?)))
    }

    unsafe fn read(&self, source: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        let memory = MetalMemory::of(&**source, &self.context)?;
        // SAFETY: the same promises (R1, R2).
        unsafe { memory.read(offset, into) }
    }

    unsafe fn write(&self, target: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        let memory = MetalMemory::of(&**target, &self.context)?;
        // SAFETY: the same promises (W1, W2).
        unsafe { memory.write(offset, from) }
    }

    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()> {
        wait_any(&self.context, points, bell, timeout)
    }
}
