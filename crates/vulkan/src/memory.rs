//! Memory: a driver allocation with one buffer over all of it.

use crate::NAME;
use crate::context::Context;
use ash::vk;
use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use thalweg_hal::{Error, Memory, Result, Violation, unique_id};

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Kernels' operands.
    Device,
    /// What the device copies to and from for the host, and what it reports.
    Host,
}

/// A buffer, and where the host sees it, if it does.
#[derive(Debug)]
pub struct Buffer {
    pub raw: vk::Buffer,
    memory: vk::DeviceMemory,
    mapped: Option<NonNull<u8>>,
    /// Whether the host reads it at the speed of memory, and not over the bus.
    pub is_cached: bool,
    bytes: u64,
    context: Arc<Context>,
}

// SAFETY: the handles may be used from any thread, and every access to the mapped bytes is in an `unsafe fn` whose caller
// promises that conflicting accesses are ordered.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

/// The memory type for a use, of those that `allowed` has a bit for.
///
/// For kernels: memory of the device's own, and of that a type that the host sees too, if that is all of it (a device that
/// shares the host's memory, or whose memory is mapped whole); writing to it then needs no copy by the device.
pub fn memory_type(memory: &vk::PhysicalDeviceMemoryProperties, allowed: u32, purpose: Use) -> Option<u32> {
    use vk::MemoryPropertyFlags as Flags;
    // What takes a feature that is not turned on, or is no place for data.
    let never = Flags::PROTECTED
        | Flags::LAZILY_ALLOCATED
        | Flags::DEVICE_COHERENT_AMD
        | Flags::DEVICE_UNCACHED_AMD
        | Flags::RDMA_CAPABLE_NV;
    let takes = move |index: &u32| {
        allowed & (1 << index) != 0 && !memory.memory_types[*index as usize].property_flags.intersects(never)
    };
    let types = || (0..memory.memory_type_count).filter(takes);
    let flags = |index: &u32| memory.memory_types[*index as usize].property_flags;
    let heap = |index: &u32| memory.memory_heaps[memory.memory_types[*index as usize].heap_index as usize].size;
    let visible = Flags::HOST_VISIBLE | Flags::HOST_COHERENT;
    match purpose {
        Use::Device => {
            let own = || types().filter(|index| flags(index).contains(Flags::DEVICE_LOCAL));
            let largest = own().map(|index| heap(&index)).max()?;
            let mapped = |index: &u32| flags(index).contains(visible) && heap(index) == largest;
            let cached = |index: &u32| flags(index).contains(Flags::HOST_CACHED);
            own()
                .filter(mapped)
                .min_by_key(|index| !cached(index))
                .or_else(|| own().find(|index| heap(index) == largest))
        }
        Use::Host => {
            let cached = types().find(|index| flags(index).contains(visible | Flags::HOST_CACHED));
            cached.or_else(|| types().find(|index| flags(index).contains(visible)))
        }
    }
}

impl Buffer {
    /// Allocates. What it holds is not defined.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or what else the driver says.
    pub fn new(context: &Arc<Context>, bytes: u64, purpose: Use) -> Result<Self> {
        context.check()?;
        context.bury();
        let out_of_memory = || Error::OutOfMemory { device: NAME.to_owned(), bytes };
        let refused = |call, error| match error {
            vk::Result::ERROR_OUT_OF_DEVICE_MEMORY
            | vk::Result::ERROR_OUT_OF_HOST_MEMORY
            | vk::Result::ERROR_TOO_MANY_OBJECTS => out_of_memory(),
            error => context.error(call, error),
        };
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER
            | vk::BufferUsageFlags::TRANSFER_SRC
            | vk::BufferUsageFlags::TRANSFER_DST;
        let device = &context.device;
        let heap = |index: u32| {
            context.memory.memory_heaps[context.memory.memory_types[index as usize].heap_index as usize].size
        };
        // Some drivers take any size here and fail later.
        if memory_type(&context.memory, u32::MAX, purpose).is_none_or(|index| bytes > heap(index)) {
            return Err(out_of_memory());
        }
        let info = vk::BufferCreateInfo::default().size(bytes.max(4).next_multiple_of(4)).usage(usage);
        // SAFETY: a valid description of a buffer of the device.
        let raw = unsafe { device.create_buffer(&info, None) }.map_err(|e| refused("vkCreateBuffer", e))?;
        // From here on `drop` cleans up.
        let memory = vk::DeviceMemory::null();
        let mut buffer = Self { raw, memory, mapped: None, is_cached: false, bytes, context: Arc::clone(context) };
        // SAFETY: the buffer is the device's.
        let needs = unsafe { device.get_buffer_memory_requirements(raw) };
        let index = memory_type(&context.memory, needs.memory_type_bits, purpose).ok_or_else(out_of_memory)?;
        let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(index);
        // SAFETY: the index is one of the device's.
        buffer.memory = unsafe { device.allocate_memory(&info, None) }.map_err(|e| refused("vkAllocateMemory", e))?;
        // SAFETY: the memory is new, large enough and of a type that the buffer takes.
        unsafe { device.bind_buffer_memory(raw, buffer.memory, 0) }.map_err(|e| refused("vkBindBufferMemory", e))?;
        let flags = context.memory.memory_types[index as usize].property_flags;
        if flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT) {
            let (all, none) = (vk::WHOLE_SIZE, vk::MemoryMapFlags::empty());
            // SAFETY: the type is visible to the host, and the memory is not mapped yet.
            let mapped = unsafe { device.map_memory(buffer.memory, 0, all, none) };
            buffer.mapped = NonNull::new(mapped.map_err(|e| refused("vkMapMemory", e))?.cast());
            buffer.is_cached = flags.contains(vk::MemoryPropertyFlags::HOST_CACHED);
        }
        Ok(buffer)
    }

    /// Where the host sees the bytes.
    pub fn mapped(&self) -> Option<NonNull<u8>> {
        self.mapped
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first byte of a range, for the host.
    ///
    /// # Errors
    /// If the range is not inside the buffer.
    pub fn check_range(&self, offset: u64, bytes: u64) -> Result<(), Violation> {
        if offset.checked_add(bytes).is_some_and(|end| end <= self.bytes) {
            return Ok(());
        }
        Err(Violation::OutOfBounds { offset, bytes, memory_bytes: self.bytes })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: whoever gives the device work keeps the buffer until it is done, so nothing uses it. Null is allowed.
        unsafe {
            self.context.device.destroy_buffer(self.raw, None);
            self.context.device.free_memory(self.memory, None);
        }
    }
}

/// A buffer as the HAL's memory.
#[derive(Debug)]
pub struct VulkanMemory {
    id: u64,
    pub buffer: Buffer,
}

impl VulkanMemory {
    pub fn new(buffer: Buffer) -> Self {
        Self { id: unique_id(), buffer }
    }

    /// The memory behind a handle.
    ///
    /// # Errors
    /// [`Error::ForeignObject`] if it is of another backend or device.
    pub fn of<'a>(memory: &'a dyn Memory, context: &Context) -> Result<&'a Self> {
        let memory = memory.as_any().downcast_ref::<Self>();
        let memory = memory.filter(|memory| memory.buffer.context.id == context.id);
        memory.ok_or_else(|| Error::ForeignObject { device: NAME.to_owned(), what: "memory" })
    }
}

impl Memory for VulkanMemory {
    fn id(&self) -> u64 {
        self.id
    }

    fn bytes(&self) -> u64 {
        self.buffer.bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
