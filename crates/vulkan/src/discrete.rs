//! A device of any kind in the guise of a laptop's discrete GPU, for tests ([`Options::discrete`](crate::Options)).
//!
//! The driver's memory types are replaced by two views of each: one for kernels, which the host does not see, and
//! behind these one for the host, which has no cache. Whatever picks a type picks a view, and nothing else knows that
//! there are any.

use ash::vk;

/// How many driver allocations there may be: what drivers for Windows and many for Linux say, and the least that Vulkan
/// allows.
const MAX_ALLOCATIONS: u32 = 4096;
/// Of each memory type there are two views.
const MAX_TYPES: u32 = vk::MAX_MEMORY_TYPES as u32 / 2;

/// The guise of one device.
pub struct Discrete {
    /// How many memory types the driver has, of which there are views.
    types: u32,
}

impl Discrete {
    /// Changes what the driver says of a device.
    pub fn new(memory: &mut vk::PhysicalDeviceMemoryProperties, limits: &mut vk::PhysicalDeviceLimits) -> Self {
        use vk::MemoryPropertyFlags as Flags;
        let types = memory.memory_type_count.min(MAX_TYPES);
        for index in 0..types as usize {
            let real = memory.memory_types[index];
            let hidden = Flags::HOST_VISIBLE | Flags::HOST_COHERENT | Flags::HOST_CACHED;
            let uncached = Flags::DEVICE_LOCAL | Flags::HOST_CACHED;
            memory.memory_types[index].property_flags = real.property_flags & !hidden;
            memory.memory_types[types as usize + index] =
                vk::MemoryType { property_flags: real.property_flags & !uncached, ..real };
        }
        memory.memory_type_count = 2 * types;
        limits.max_memory_allocation_count = limits.max_memory_allocation_count.min(MAX_ALLOCATIONS);
        Self { types }
    }

    /// The views of the types that `bits` has.
    pub fn views(&self, bits: u32) -> u32 {
        let bits = bits & ((1 << self.types) - 1);
        bits | bits << self.types
    }

    /// The driver's type behind a view.
    pub fn real(&self, view: u32) -> u32 {
        view % self.types.max(1)
    }
}
