//! The device: what the driver says about it, and the way to everything else.

use crate::adapter::Adapter;
use crate::context::Context;
use crate::memory::{Buffer, Use, VulkanMemory, memory_type};
use crate::pipeline::VulkanPipeline;
use crate::prepared::PreparedList;
use crate::queue::VulkanQueue;
use crate::timeline::{Counter, VulkanTimeline, wait_any};
use crate::transfer::Transfers;
use crate::{NAME, driver_error};
use ash::vk;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{
    Device, DeviceInfo, Error, KernelSource, Limits, List, Memory, Pipeline, Queue, Result, Timeline, Wait,
};

/// A quarter of what the driver allows is kept for staging and for what lists report.
///
/// Drivers that name no limit of their own still have the system's.
const MAX_ALLOCATIONS: u64 = 1 << 16;

/// A device that Vulkan drives.
#[derive(Debug)]
pub struct VulkanDevice {
    info: DeviceInfo,
    transfers: Transfers,
    context: Arc<Context>,
}

impl VulkanDevice {
    /// Opens a device. [`adapters`](crate::adapters) lists them.
    ///
    /// # Errors
    /// What the device lacks, what the driver says, or [`Error::ForkedChild`].
    pub fn open(adapter: &Adapter) -> Result<Arc<Self>> {
        if thalweg_hal::process::forked() {
            return Err(Error::ForkedChild); // the driver's threads are the parent's
        }
        let context = Arc::new(Context::new(adapter)?);
        let info = describe(adapter, &context)?;
        Ok(Arc::new(Self { info, transfers: Transfers::new(&context), context }))
    }
}

fn describe(adapter: &Adapter, context: &Context) -> Result<DeviceInfo> {
    let memory = &context.memory;
    let index = memory_type(memory, u32::MAX, Use::Device)
        .ok_or_else(|| driver_error("vkGetPhysicalDeviceMemoryProperties", vk::Result::ERROR_FEATURE_NOT_PRESENT))?;
    let kind = memory.memory_types[index as usize];
    let memory_bytes = memory.memory_heaps[kind.heap_index as usize].size;
    let properties = &adapter.properties;
    let limits = Limits {
        max_binding_bytes: properties.limits.max_storage_buffer_range.into(),
        max_allocations: (u64::from(properties.limits.max_memory_allocation_count) * 3 / 4).min(MAX_ALLOCATIONS),
        memory_bytes,
        max_lists_in_flight: u64::MAX,
    };
    let version = properties.api_version;
    let (major, minor) = (vk::api_version_major(version), vk::api_version_minor(version));
    let patch = vk::api_version_patch(version);
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let visible = kind.property_flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE);
    Ok(DeviceInfo {
        name: format!("{NAME} ({})", adapter.name()),
        kind: adapter.kind(),
        parallelism: context.queues.len() as u32,
        timestamps: context.timestamps.is_some(),
        limits,
        details: vec![
            ("driver", adapter.driver.text.clone()),
            ("Vulkan", format!("{major}.{minor}.{patch}")),
            ("queues", format!("{} of family {}", context.queues.len(), context.family)),
            ("memory", format!("{:.1} GiB", memory_bytes as f64 / f64::from(1 << 30))),
            ("memory seen by the host", yes(visible)),
            ("16-bit floats", yes(adapter.float16)),
            ("longest binding", format!("{} bytes", limits.max_binding_bytes)),
            ("allocations", format!("at most {}", limits.max_allocations)),
        ],
    })
}

impl Device for VulkanDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        Ok(Box::new(VulkanQueue::new(&self.context, self.info.limits)?))
    }

    fn create_timeline(&self) -> Result<Arc<dyn Timeline>> {
        Ok(Arc::new(VulkanTimeline(Arc::new(Counter::new(&self.context)?))))
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        Ok(Arc::new(VulkanPipeline::new(&self.context, source)?))
    }

    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()> {
        debug_assert_eq!(list.check_inner(&self.info.limits), Ok(()), "a promise of `Device::prepare`");
        // SAFETY: by the caller's promise.
        let prepared = unsafe { PreparedList::new(&self.context, list)? };
        list.prepared.set(Box::new(prepared));
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> Result<Arc<dyn Memory>> {
        let buffer = Buffer::new(&self.context, bytes, Use::Device)?;
        self.transfers.zero(&buffer)?;
        Ok(Arc::new(VulkanMemory::new(buffer)))
    }

    unsafe fn read(&self, source: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        let memory = VulkanMemory::of(&**source, &self.context)?;
        // SAFETY: by the caller's promise.
        unsafe { self.transfers.read(&memory.buffer, offset, into) }
    }

    unsafe fn write(&self, target: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        let memory = VulkanMemory::of(&**target, &self.context)?;
        // SAFETY: by the caller's promise.
        unsafe { self.transfers.write(&memory.buffer, offset, from) }
    }

    unsafe fn discard(&self, _memory: &Arc<dyn Memory>, _offset: u64, _bytes: u64) {}

    fn wait_any(&self, watch: &[Wait], timeout: Option<Duration>) -> Result<()> {
        wait_any(&self.context, watch, timeout)
    }
}
