//! `VkPipelineCache`.

use super::{Compiled, PipelineCache};
use ash::vk;
use thalweg_hal::disk::CacheFile;

/// The driver's object.
pub struct DriverCache {
    pub raw: vk::PipelineCache,
    device: ash::Device,
}

impl DriverCache {
    fn new(device: &ash::Device, data: &[u8]) -> Option<Self> {
        let info = vk::PipelineCacheCreateInfo::default().initial_data(data);
        // SAFETY: the data is empty, or what this driver wrote for this device.
        let raw = unsafe { device.create_pipeline_cache(&info, None) };
        raw.ok().map(|raw| Self { raw, device: device.clone() })
    }
}

impl PipelineCache<DriverCache> {
    /// The cache of a device.
    pub fn of(device: &ash::Device, properties: &vk::PhysicalDeviceProperties) -> Self {
        let file = CacheFile::of("vulkan", &identity(properties));
        Self::open(file, |data| DriverCache::new(device, data))
    }
}

impl Compiled for DriverCache {
    fn empty(&self) -> Option<Self> {
        Self::new(&self.device, &[])
    }

    fn bytes(&self) -> u64 {
        let get = self.device.fp_v1_0().get_pipeline_cache_data;
        let mut bytes = 0;
        // SAFETY: the cache is the device's; with a null pointer, only the length is written, if anything.
        let said = unsafe { get(self.device.handle(), self.raw, &raw mut bytes, std::ptr::null_mut()) };
        if said == vk::Result::SUCCESS { bytes as u64 } else { 0 }
    }

    fn data(&self) -> Option<Vec<u8>> {
        // SAFETY: the cache is the device's.
        unsafe { self.device.get_pipeline_cache_data(self.raw) }.ok()
    }
}

impl Drop for DriverCache {
    fn drop(&mut self) {
        // SAFETY: a thread that compiles with it holds it, and the device goes after all of these (`close`).
        unsafe { self.device.destroy_pipeline_cache(self.raw, None) };
    }
}

/// What a file has to have been written for: vendor, device, driver and API, and what the driver calls itself.
fn identity(properties: &vk::PhysicalDeviceProperties) -> [u8; 32] {
    let mut identity = [0; 32];
    let numbers = [properties.vendor_id, properties.device_id, properties.driver_version, properties.api_version];
    for (bytes, number) in identity.chunks_exact_mut(4).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    identity[16..].copy_from_slice(&properties.pipeline_cache_uuid);
    identity
}
