//! Which devices there are, what each can do, and whether it can do enough.

use crate::driver_error;
use crate::instance::{Instance, instance};
use ash::{khr, vk};
use std::ffi::CStr;
use thalweg_hal::{DeviceKind, Features, KernelSupport, MAX_BINDINGS, MAX_PARAMETER_BYTES, Result};

/// A physical device that Vulkan lists.
pub struct Adapter {
    pub(crate) raw: vk::PhysicalDevice,
    pub(crate) instance: &'static Instance,
    pub(crate) properties: vk::PhysicalDeviceProperties,
    pub(crate) driver: Driver,
    pub(crate) support: KernelSupport,
    /// Whether it has matrix units that a Vulkan program can get at. Kernels cannot, yet: the extension is not turned
    /// on.
    pub(crate) matrix_units: bool,
    pub(crate) portability_subset: bool,
    name: String,
    missing: Option<String>,
}

/// The driver, and what of it has to be known.
#[derive(Debug, Default)]
pub(crate) struct Driver {
    pub(crate) text: String,
    /// Waiting for any of several semaphores keeps a processor busy: Mesa emulates it by asking in a loop. Its software
    /// driver would wait for the processor that it takes.
    pub(crate) waits_for_any_by_polling: bool,
}

/// What a kernel that declares subgroups may ask of one.
const SUBGROUP_OPERATIONS: vk::SubgroupFeatureFlags = vk::SubgroupFeatureFlags::from_raw(
    vk::SubgroupFeatureFlags::BASIC.as_raw()
        | vk::SubgroupFeatureFlags::VOTE.as_raw()
        | vk::SubgroupFeatureFlags::ARITHMETIC.as_raw()
        | vk::SubgroupFeatureFlags::BALLOT.as_raw()
        | vk::SubgroupFeatureFlags::SHUFFLE.as_raw()
        | vk::SubgroupFeatureFlags::SHUFFLE_RELATIVE.as_raw()
        | vk::SubgroupFeatureFlags::QUAD.as_raw(),
);

/// All devices, in Vulkan's order: the index is what selects one.
///
/// # Errors
/// That there is no Vulkan on this machine.
pub fn adapters() -> Result<Vec<Adapter>> {
    if thalweg_hal::process::forked() {
        return Err(thalweg_hal::Error::ForkedChild); // the driver's locks may be held for ever
    }
    let instance = instance()?;
    // SAFETY: the instance lives as long as the process.
    let raw = unsafe { instance.raw.enumerate_physical_devices() };
    let raw = raw.map_err(|e| driver_error("vkEnumeratePhysicalDevices", e))?;
    Ok(raw.into_iter().map(|raw| Adapter::new(instance, raw)).collect())
}

/// The best of the devices that can be opened: a GPU with memory of its own, then one that shares the host's, then a
/// software driver; of equals the first. As an index.
pub fn best(adapters: &[Adapter]) -> Option<usize> {
    let rank = |adapter: &Adapter| match adapter.kind() {
        DeviceKind::Gpu => 0,
        DeviceKind::IntegratedGpu => 1,
        _ => 2,
    };
    let usable = (0..).zip(adapters).filter(|(_, adapter)| adapter.missing().is_none());
    usable.min_by_key(|(_, adapter)| rank(adapter)).map(|(index, _)| index)
}

impl Adapter {
    fn new(instance: &'static Instance, raw: vk::PhysicalDevice) -> Self {
        // SAFETY: `raw` is one of the instance's devices.
        let properties = unsafe { instance.raw.get_physical_device_properties(raw) };
        let name = properties.device_name_as_c_str().map_or_else(|_| "?".into(), CStr::to_string_lossy).into_owned();
        let mut adapter = Self {
            raw,
            instance,
            properties,
            driver: Driver::default(),
            support: KernelSupport::NONE,
            matrix_units: false,
            portability_subset: false,
            name,
            missing: None,
        };
        adapter.missing = adapter.examine().err();
        adapter
    }

    /// The device's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What sort of device it is.
    pub fn kind(&self) -> DeviceKind {
        match self.properties.device_type {
            vk::PhysicalDeviceType::CPU => DeviceKind::SoftwareGpu,
            vk::PhysicalDeviceType::INTEGRATED_GPU => DeviceKind::IntegratedGpu,
            _ => DeviceKind::Gpu,
        }
    }

    /// Why the device cannot be opened, if it lacks something that is needed.
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// Whether kernels may use 16-bit floats.
    pub fn has_f16(&self) -> bool {
        self.support.features.f16
    }

    /// Looks at everything that is needed; the error says what is not there.
    fn examine(&mut self) -> Result<(), String> {
        let version = self.properties.api_version;
        if version < vk::API_VERSION_1_2 {
            let (major, minor) = (vk::api_version_major(version), vk::api_version_minor(version));
            return Err(format!("it has Vulkan {major}.{minor}; 1.2 is needed"));
        }
        let instance = &self.instance.raw;
        // SAFETY: `raw` is one of the instance's devices, here and below.
        let extensions =
            unsafe { instance.enumerate_device_extension_properties(self.raw) }.map_err(|e| e.to_string())?;
        let has = |name: &CStr| extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(name));
        if !has(khr::push_descriptor::NAME) {
            return Err("it lacks VK_KHR_push_descriptor".to_owned());
        }
        self.portability_subset = has(khr::portability_subset::NAME);
        self.matrix_units = has(khr::cooperative_matrix::NAME);

        let mut push = vk::PhysicalDevicePushDescriptorPropertiesKHR::default();
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut subgroup = vk::PhysicalDeviceSubgroupProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default()
            .push_next(&mut push)
            .push_next(&mut driver)
            .push_next(&mut subgroup);
        // SAFETY: the structures are of versions and extensions that the device has.
        unsafe { instance.get_physical_device_properties2(self.raw, &mut properties) };
        let text = |text: Result<&CStr, _>| {
            text.map_or_else(|_: std::ffi::FromBytesUntilNulError| "?".into(), CStr::to_string_lossy).into_owned()
        };
        self.driver = Driver {
            text: format!("{} {}", text(driver.driver_name_as_c_str()), text(driver.driver_info_as_c_str())),
            waits_for_any_by_polling: driver.driver_id == vk::DriverId::MESA_LLVMPIPE,
        };
        let limits = &self.properties.limits;
        if (push.max_push_descriptors as usize) <= MAX_BINDINGS || limits.max_push_constants_size < MAX_PARAMETER_BYTES
        {
            return Err("it has too few push descriptors or push constants".to_owned());
        }
        let buffers = limits.max_per_stage_descriptor_storage_buffers.min(limits.max_descriptor_set_storage_buffers);
        if buffers as usize <= MAX_BINDINGS {
            return Err(format!("a kernel has {buffers} storage buffers at most; {} are needed", MAX_BINDINGS + 1));
        }

        let mut v11 = vk::PhysicalDeviceVulkan11Features::default();
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut v11).push_next(&mut v12);
        // SAFETY: as above.
        unsafe { instance.get_physical_device_features2(self.raw, &mut features) };
        if v12.timeline_semaphore == vk::FALSE {
            return Err("it lacks timeline semaphores".to_owned());
        }
        let features = [
            v12.shader_float16,
            v11.storage_buffer16_bit_access,
            v11.uniform_and_storage_buffer16_bit_access, // naga declares both
        ];
        let f16 = !features.contains(&vk::FALSE);
        let subgroups = subgroup.supported_stages.contains(vk::ShaderStageFlags::COMPUTE)
            && subgroup.supported_operations.contains(SUBGROUP_OPERATIONS);
        self.support = KernelSupport {
            features: Features { f16, subgroups, matrices: false },
            subgroup_size: if subgroups { subgroup.subgroup_size } else { 0 },
            workgroup_bytes: limits.max_compute_shared_memory_size,
        };
        self.queue_family().map(drop).ok_or_else(|| "it cannot compute".to_owned())
    }

    /// The queue family to compute on, and what it is: one that does nothing but compute, where there is one, since its
    /// queues overlap where those of the family for graphics take turns (measured on NVIDIA); else the one with most
    /// queues.
    pub(crate) fn queue_family(&self) -> Option<(u32, vk::QueueFamilyProperties)> {
        // SAFETY: `raw` is one of the instance's devices.
        let families = unsafe { self.instance.raw.get_physical_device_queue_family_properties(self.raw) };
        let computes = |family: &vk::QueueFamilyProperties| {
            family.queue_flags.contains(vk::QueueFlags::COMPUTE) && family.queue_count > 0
        };
        (0..).zip(families).filter(|(_, family)| computes(family)).max_by_key(|(index, family)| {
            let alone = !family.queue_flags.contains(vk::QueueFlags::GRAPHICS);
            (alone, family.queue_count, std::cmp::Reverse(*index))
        })
    }
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adapter").field("name", &self.name).field("missing", &self.missing).finish_non_exhaustive()
    }
}
