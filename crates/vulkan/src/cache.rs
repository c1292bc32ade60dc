//! Compiled pipelines on disk ([`thalweg_hal::disk`]).

use crate::sync::lock;
use ash::vk;
use std::sync::Mutex;
use thalweg_hal::disk::CacheFile;

/// The cache of one device.
pub struct PipelineCache {
    raw: vk::PipelineCache,
    /// Where it is kept, if anywhere.
    file: Option<CacheFile>,
    /// The size of what was last written. Held while a file is written, so that the newest is the last.
    written: Mutex<usize>,
}

impl PipelineCache {
    /// The cache of a device, with what is on disk, if that is of use.
    pub fn open(device: &ash::Device, properties: &vk::PhysicalDeviceProperties) -> Self {
        let file = CacheFile::of("vulkan", &identity(properties));
        let data = file.as_ref().and_then(CacheFile::read).unwrap_or_default();
        let info = vk::PipelineCacheCreateInfo::default().initial_data(&data);
        // SAFETY: the data is empty, or what this driver wrote for this device.
        let raw = unsafe { device.create_pipeline_cache(&info, None) };
        // Without a cache every pipeline is compiled; null is allowed where it is used.
        let raw = raw.unwrap_or_default();
        Self { raw, file, written: Mutex::new(data.len()) }
    }

    pub fn raw(&self) -> vk::PipelineCache {
        self.raw
    }

    /// Writes the cache to disk if a pipeline has been added. After each compile, which takes longer: so that a process
    /// that is killed has not compiled in vain.
    pub fn save(&self, device: &ash::Device) {
        let Some(file) = &self.file else { return };
        if self.raw == vk::PipelineCache::null() {
            return;
        }
        let mut written = lock(&self.written);
        // SAFETY: the cache is the device's.
        let Ok(data) = (unsafe { device.get_pipeline_cache_data(self.raw) }) else { return };
        if data.len() != *written && file.write(&data).is_ok() {
            *written = data.len();
        }
    }

    /// Lets go of the driver's part, before the device goes.
    pub fn destroy(&self, device: &ash::Device) {
        // SAFETY: nothing is being compiled any more. Null is allowed.
        unsafe { device.destroy_pipeline_cache(self.raw, None) };
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
