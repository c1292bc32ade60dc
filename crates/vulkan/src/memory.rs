//! Memory: a driver allocation with one buffer over all of it.

use crate::NAME;
use crate::bus::copy_from_device;
use crate::context::Context;
use ash::vk;
use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use thalweg_hal::{Error, HostAccess, Memory, MemoryKind, Result, Violation, own, unique_id};

/// A buffer, and where the host sees it, if it does.
#[derive(Debug)]
pub struct Buffer {
    pub raw: vk::Buffer,
    memory: vk::DeviceMemory,
    mapped: Option<NonNull<u8>>,
    host_access: HostAccess,
    bytes: u64,
    context: Arc<Context>,
}

// SAFETY: the handles may be used from any thread, and every access to the mapped bytes is in an `unsafe fn` that takes
// a promise that conflicting accesses are ordered (R1, R2, W1, W2).
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

/// How the host sees memory of a type with these properties.
pub fn host_access(flags: vk::MemoryPropertyFlags) -> HostAccess {
    use vk::MemoryPropertyFlags as Flags;
    if !flags.contains(Flags::HOST_VISIBLE | Flags::HOST_COHERENT) {
        HostAccess::None
    } else if flags.contains(Flags::HOST_CACHED) {
        HostAccess::Cached
    } else {
        HostAccess::Uncached
    }
}

/// The memory type for a kind, of those that `allowed` has a bit for.
///
/// For kernels: memory of the device's own, and of that a type that the host sees too, if that is all of it (a device
/// that shares the host's memory, or that maps all of its own); writing to it then needs no copy by the device.
pub fn memory_type(memory: &vk::PhysicalDeviceMemoryProperties, allowed: u32, kind: MemoryKind) -> Option<u32> {
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
    match kind {
        MemoryKind::Device => {
            let own = || types().filter(|index| flags(index).contains(Flags::DEVICE_LOCAL));
            let largest = own().map(|index| heap(&index)).max()?;
            let mapped = |index: &u32| flags(index).contains(visible) && heap(index) == largest;
            let cached = |index: &u32| flags(index).contains(Flags::HOST_CACHED);
            own()
                .filter(mapped)
                .min_by_key(|index| !cached(index))
                .or_else(|| own().find(|index| heap(index) == largest))
        }
        MemoryKind::Host => {
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
    pub fn new(context: &Arc<Context>, bytes: u64, kind: MemoryKind) -> Result<Self> {
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
        if memory_type(&context.memory, u32::MAX, kind).is_none_or(|index| bytes > heap(index)) {
            return Err(out_of_memory());
        }
        let info = vk::BufferCreateInfo::default().size(bytes.max(4).next_multiple_of(4)).usage(usage);
        // SAFETY: a valid description of a buffer of the device.
        let raw = unsafe { device.create_buffer(&info, None) }.map_err(|e| refused("vkCreateBuffer", e))?;
        // From here on `drop` cleans up.
        let memory = vk::DeviceMemory::null();
        let mut buffer =
            Self { raw, memory, mapped: None, host_access: HostAccess::None, bytes, context: Arc::clone(context) };
        // SAFETY: the buffer is the device's.
        let needs = unsafe { device.get_buffer_memory_requirements(raw) };
        let allowed = context.memory_types(needs.memory_type_bits);
        let index = memory_type(&context.memory, allowed, kind).ok_or_else(out_of_memory)?;
        buffer.memory = context.allocate_memory(needs.size, index).map_err(|e| refused("vkAllocateMemory", e))?;
        // SAFETY: the memory is new, large enough and of a type that the buffer takes.
        unsafe { device.bind_buffer_memory(raw, buffer.memory, 0) }.map_err(|e| refused("vkBindBufferMemory", e))?;
        let flags = context.memory.memory_types[index as usize].property_flags;
        buffer.host_access = host_access(flags);
        if buffer.host_access != HostAccess::None {
            let (all, none) = (vk::WHOLE_SIZE, vk::MemoryMapFlags::empty());
            // SAFETY: the type is visible to the host, and the memory is not mapped yet.
            let mapped = unsafe { device.map_memory(buffer.memory, 0, all, none) };
            buffer.mapped = NonNull::new(mapped.map_err(|e| refused("vkMapMemory", e))?.cast());
        }
        Ok(buffer)
    }

    /// Where the host sees the bytes, if it does.
    pub fn mapped(&self) -> Option<NonNull<u8>> {
        self.mapped
    }

    /// The first byte of a range, for the host; `None` if the host does not see the buffer.
    ///
    /// # Errors
    /// If the range is not inside the buffer.
    fn range(&self, offset: u64, bytes: usize) -> Result<Option<NonNull<u8>>, Violation> {
        let bytes = bytes as u64;
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return Err(Violation::OutOfBounds { offset, bytes, memory_bytes: self.bytes });
        }
        // SAFETY: the mapping has as many bytes as the buffer.
        Ok(self.mapped.map(|mapped| unsafe { mapped.add(offset as usize) }))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: a list keeps the buffers that it uses until it has run, so nothing uses this one. Null is allowed.
        unsafe {
            self.context.device.destroy_buffer(self.raw, None);
            self.context.free_memory(self.memory);
        }
    }
}

/// A buffer as the HAL's memory.
#[derive(Debug)]
pub struct VulkanMemory {
    id: u64,
    kind: MemoryKind,
    pub buffer: Buffer,
}

impl VulkanMemory {
    pub fn new(kind: MemoryKind, buffer: Buffer) -> Self {
        Self { id: unique_id(), kind, buffer }
    }

    /// Copies bytes to the host.
    ///
    /// # Errors
    /// If the range is not inside the memory, the host does not see it, or the device is lost.
    ///
    /// # Safety
    /// - R1 and R2 of [`Device::read`](thalweg_hal::Device::read).
    pub unsafe fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.buffer.context.check()?;
        let from = self.buffer.range(offset, into.len())?;
        let from = from.ok_or(Violation::NotVisible { access: "reads", memory: self.id })?;
        let (to, bytes) = (NonNull::from(&mut *into).cast(), into.len());
        // SAFETY: both ranges have so many bytes, and nobody writes the memory's (R1, R2).
        unsafe {
            match self.buffer.host_access {
                HostAccess::Cached => from.copy_to_nonoverlapping(to, bytes),
                HostAccess::Uncached | HostAccess::None => copy_from_device(from, to, bytes),
            }
        }
        Ok(())
    }

    /// Copies bytes of the host.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    ///
    /// # Safety
    /// - W1 and W2 of [`Device::write`](thalweg_hal::Device::write).
    pub unsafe fn write(&self, offset: u64, from: &[u8]) -> Result<()> {
        self.buffer.context.check()?;
        let to = self.buffer.range(offset, from.len())?;
        let to = to.ok_or(Violation::NotVisible { access: "writes", memory: self.id })?;
        // SAFETY: both ranges have so many bytes, and nobody else uses that of the memory (W1, W2).
        unsafe { to.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
        // Stores that a processor combines are not ordered with what another thread is told by an ordinary one.
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// The memory behind a handle.
    ///
    /// # Errors
    /// [`Error::ForeignObject`] if it is of another backend or device.
    pub fn of<'a>(memory: &'a dyn Memory, context: &Context) -> Result<&'a Self> {
        own(memory.as_any(), NAME, "memory", |it: &Self| it.buffer.context.id == context.id)
    }
}

impl Memory for VulkanMemory {
    fn id(&self) -> u64 {
        self.id
    }

    fn bytes(&self) -> u64 {
        self.buffer.bytes
    }

    fn kind(&self) -> MemoryKind {
        self.kind
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
