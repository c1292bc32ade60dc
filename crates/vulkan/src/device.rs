//! The device: what the driver says about it, and the way to everything else.

use crate::adapter::Adapter;
use crate::context::Context;
use crate::memory::{Buffer, VulkanMemory, host_access, memory_type};
use crate::options::Options;
use crate::pipeline::VulkanPipeline;
use crate::prepared::PreparedList;
use crate::queue::VulkanQueue;
use crate::room::{self, Room};
use crate::timeline::{VulkanDoorbell, wait_any};
use crate::{NAME, driver_error};
use ash::vk;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::pieces::SEGMENTS;
use thalweg_hal::{
    Device, DeviceInfo, Doorbell, Error, HostAccess, KernelSource, Limits, List, Listener, Memory, MemoryKind,
    Overhead, Pipeline, Queue, Result, TimelinePoint, Timestamps,
};

/// Drivers that name no limit of their own still have the system's.
const MAX_ALLOCATIONS: u64 = 1 << 16;

/// A device that Vulkan drives.
pub struct VulkanDevice {
    info: DeviceInfo,
    pub(crate) context: Arc<Context>,
    pub(crate) room: Arc<Room>,
    overhead: Arc<Overhead>,
}

impl fmt::Debug for VulkanDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VulkanDevice({})", self.info.name)
    }
}

impl VulkanDevice {
    /// Opens a device, as the environment says ([`Options::from_environment`]). [`adapters`](crate::adapters) lists
    /// them.
    ///
    /// # Errors
    /// As for [`open_with`](Self::open_with); if the environment is wrong.
    pub fn open(adapter: &Adapter) -> Result<Arc<Self>> {
        Self::open_with(adapter, Options::from_environment()?)
    }

    /// Opens a device.
    ///
    /// # Errors
    /// What the device lacks, what the driver says, or [`Error::ForkedChild`].
    pub fn open_with(adapter: &Adapter, options: Options) -> Result<Arc<Self>> {
        if thalweg_hal::process::forked() {
            return Err(Error::ForkedChild); // the driver's threads are the parent's
        }
        let context = Arc::new(Context::new(adapter, options)?);
        let (info, overhead) = (describe(adapter, &context)?, Arc::default());
        let room = room::open(&context, &overhead)?;
        Ok(Arc::new(Self { info, context, room, overhead }))
    }
}

fn describe(adapter: &Adapter, context: &Context) -> Result<DeviceInfo> {
    let memory = &context.memory;
    let index = memory_type(memory, u32::MAX, MemoryKind::Device)
        .ok_or_else(|| driver_error("vkGetPhysicalDeviceMemoryProperties", vk::Result::ERROR_FEATURE_NOT_PRESENT))?;
    let kind = memory.memory_types[index as usize];
    let memory_bytes = memory.memory_heaps[kind.heap_index as usize].size;
    let properties = &adapter.properties;
    let limits = Limits {
        max_binding_bytes: properties.limits.max_storage_buffer_range.into(),
        // What the room may take later is there, whatever else is taken.
        max_allocations: u64::from(context.limits.max_memory_allocation_count)
            .saturating_sub(SEGMENTS as u64 - 1)
            .min(MAX_ALLOCATIONS),
        memory_bytes,
        max_lists_in_flight: u64::MAX,
    };
    let version = properties.api_version;
    let (major, minor) = (vk::api_version_major(version), vk::api_version_minor(version));
    let patch = vk::api_version_patch(version);
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let host_access = host_access(kind.property_flags);
    let subgroups = match context.support.subgroup_size {
        0 => "no".to_owned(),
        size => format!("of {size} invocations"),
    };
    Ok(DeviceInfo {
        name: format!("{NAME} ({})", adapter.name()),
        kind: adapter.kind(),
        driver: format!("{NAME}, {}", adapter.driver.text),
        parallelism: context.queues.len() as u32,
        timestamps: if context.clock.is_some() { Timestamps::ByCommand } else { Timestamps::None },
        waits_are_dear: false,
        host_access,
        zeroed: false,
        limits,
        support: context.support,
        details: vec![
            ("driver", adapter.driver.text.clone()),
            ("Vulkan", format!("{major}.{minor}.{patch}")),
            ("queues", format!("{} of family {}", context.queues.len(), context.family)),
            ("memory", format!("{:.1} GiB", memory_bytes as f64 / f64::from(1 << 30))),
            ("as a discrete GPU", yes(context.discrete.is_some())),
            ("memory seen by the host", yes(host_access != HostAccess::None)),
            ("matrix units", if adapter.matrix_units { "yes, which kernels do not use yet" } else { "no" }.to_owned()),
            ("subgroups", subgroups),
            ("workgroup memory", format!("{} bytes", context.support.workgroup_bytes)),
            ("16-bit floats", yes(context.support.features.f16)),
            ("longest binding", format!("{} bytes", limits.max_binding_bytes)),
            ("allocations", format!("at most {}", limits.max_allocations)),
        ],
    })
}

impl Device for VulkanDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn overhead(&self) -> &Arc<Overhead> {
        &self.overhead
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        Ok(Box::new(VulkanQueue::new(&self.context, &self.room, self.info.limits)?))
    }

    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        Ok(Arc::new(VulkanDoorbell::new(&self.context)?))
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        Ok(Arc::new(VulkanPipeline::new(&self.context, source)?))
    }

    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()> {
        debug_assert_eq!(list.check_inner(&self.info.limits), Ok(()), "a promise of `Device::prepare`");
        // SAFETY: the list passes (P1).
        match unsafe { PreparedList::new(&self.context, &self.room, list) } {
            Ok(prepared) => list.prepared.set(Box::new(prepared)),
            // It is recorded anew each time, which takes longer, and no room for good.
            Err(Error::OutOfMemory { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        Ok(Arc::new(VulkanMemory::new(kind, Buffer::new(&self.context, bytes, kind)?)))
    }

    unsafe fn read(&self, source: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        let memory = VulkanMemory::of(&**source, &self.context)?;
        // SAFETY: the same promises (R1, R2).
        unsafe { memory.read(offset, into) }
    }

    unsafe fn write(&self, target: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        let memory = VulkanMemory::of(&**target, &self.context)?;
        // SAFETY: the same promises (W1, W2).
        unsafe { memory.write(offset, from) }
    }

    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()> {
        wait_any(&self.context, points, bell, timeout)
    }
}
