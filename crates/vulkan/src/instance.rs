//! The process's one Vulkan instance, loaded on first use and never unloaded: drivers have threads of their own, and
//! unloading one while they run ends the process.

use crate::driver_error;
use ash::{Entry, ext, khr, vk};
use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_void};
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_hal::environment::switch;
use thalweg_hal::{Error, Result};

/// The variable that turns the validation layers on.
const VALIDATION: &str = "THALWEG_VULKAN_VALIDATION";
const LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

/// The loader and the instance.
pub struct Instance {
    pub raw: ash::Instance,
    /// Holds the library; the functions point into it.
    _entry: Entry,
}

/// The instance.
///
/// # Errors
/// That there is no Vulkan on this machine, or that it refuses an instance. Asking again answers the same.
pub fn instance() -> Result<&'static Instance> {
    static INSTANCE: OnceLock<Result<Instance>> = OnceLock::new();
    INSTANCE.get_or_init(create).as_ref().map_err(Clone::clone)
}

/// How many messages the validation layers have given in this process. Each is also on standard error.
pub fn validation_messages() -> u64 {
    MESSAGES.load(Ordering::Relaxed)
}

/// Messages that are about something else, by the start of their name, and what that is.
const NOT_ABOUT_US: [(&str, &str); 2] = [
    ("Loader", "drivers that the loader skips"),
    (
        "UNASSIGNED-VkSemaphore-state-timeout",
        "the layer's own record of a timeline, which it calls a defect of its own",
    ),
];

static MESSAGES: AtomicU64 = AtomicU64::new(0);

fn create() -> Result<Instance> {
    // SAFETY: the library is the system's Vulkan loader, the initialisation of which has no preconditions; it is
    // never unloaded.
    let entry = unsafe { Entry::load() }.map_err(|error| {
        let message = format!(
            "{error}; install the loader (Debian: libvulkan1) and a driver (mesa-vulkan-drivers, or the GPU's own)"
        );
        Error::Driver { device: crate::NAME.to_owned(), call: "loading libvulkan", message }
    })?;
    // SAFETY: a global function without preconditions.
    let version =
        unsafe { entry.try_enumerate_instance_version() }.map_err(|e| driver_error("vkEnumerateInstanceVersion", e))?;
    let api_version = version.unwrap_or(vk::API_VERSION_1_0).min(vk::API_VERSION_1_3);
    if api_version < vk::API_VERSION_1_2 {
        let message = "the loader knows Vulkan 1.1 at most; 1.2 is needed, for timeline semaphores".to_owned();
        return Err(Error::Driver { device: crate::NAME.to_owned(), call: "vkEnumerateInstanceVersion", message });
    }
    // SAFETY: as above.
    let offered = unsafe { entry.enumerate_instance_extension_properties(None) };
    let offered = offered.map_err(|e| driver_error("vkEnumerateInstanceExtensionProperties", e))?;
    let offers = |name: &CStr| offered.iter().any(|e| e.extension_name_as_c_str() == Ok(name));

    let (mut extensions, mut layers, mut flags) = (Vec::new(), Vec::new(), vk::InstanceCreateFlags::empty());
    if offers(khr::portability_enumeration::NAME) {
        // Without it, drivers on top of another API (MoltenVK) are not listed.
        extensions.push(khr::portability_enumeration::NAME.as_ptr());
        flags |= vk::InstanceCreateFlags::ENUMERATE_PORTABILITY_KHR;
    }
    let validate = switch(VALIDATION)?;
    if validate {
        layers.push(LAYER.as_ptr());
        extensions.push(ext::debug_utils::NAME.as_ptr());
    }
    let application = vk::ApplicationInfo::default().application_name(c"thalweg").api_version(api_version);
    let info = vk::InstanceCreateInfo::default()
        .flags(flags)
        .application_info(&application)
        .enabled_layer_names(&layers)
        .enabled_extension_names(&extensions);
    // SAFETY: the pointers in `info` live until the call returns; nothing enabled needs more than is given.
    let raw = unsafe { entry.create_instance(&info, None) }.map_err(|error| match error {
        vk::Result::ERROR_LAYER_NOT_PRESENT | vk::Result::ERROR_EXTENSION_NOT_PRESENT if validate => {
            let message =
                format!("{VALIDATION} is 1, but the layer is not installed (Debian: vulkan-validationlayers)");
            Error::Driver { device: crate::NAME.to_owned(), call: "vkCreateInstance", message }
        }
        vk::Result::ERROR_INCOMPATIBLE_DRIVER => {
            let message =
                "there is a loader but no driver; install one (Debian: mesa-vulkan-drivers, or the GPU's own)"
                    .to_owned();
            Error::Driver { device: crate::NAME.to_owned(), call: "vkCreateInstance", message }
        }
        error => driver_error("vkCreateInstance", error),
    })?;
    if validate {
        listen(&entry, &raw)?;
    }
    Ok(Instance { raw, _entry: entry })
}

/// Has the layers tell us what they find, for as long as the process lives.
fn listen(entry: &Entry, instance: &ash::Instance) -> Result<()> {
    let info = vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(vk::DebugUtilsMessageSeverityFlagsEXT::WARNING | vk::DebugUtilsMessageSeverityFlagsEXT::ERROR)
        .message_type(vk::DebugUtilsMessageTypeFlagsEXT::GENERAL | vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION)
        .pfn_user_callback(Some(hear));
    let messenger = ext::debug_utils::Instance::new(entry, instance);
    // SAFETY: the instance has the extension; the callback is a function, with no data of its own.
    unsafe { messenger.create_debug_utils_messenger(&info, None) }
        .map_err(|e| driver_error("vkCreateDebugUtilsMessengerEXT", e))?;
    Ok(())
}

/// Counts a message and prints it.
unsafe extern "system" fn hear(
    _severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    _type: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    _user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: the layer passes a valid pointer, with strings that are valid for the call.
    let (id, message) = unsafe {
        data.as_ref().map_or_else(Default::default, |data| (text(data.p_message_id_name), text(data.p_message)))
    };
    if !NOT_ABOUT_US.iter().any(|(start, _)| id.starts_with(start)) {
        MESSAGES.fetch_add(1, Ordering::Relaxed);
        // Not `eprintln`, which panics where nobody reads.
        let _ = writeln!(std::io::stderr(), "vulkan validation: {id}: {message}");
    }
    vk::FALSE
}

/// # Safety
/// - The pointer is null or a string that lives as long as the result is used.
unsafe fn text<'a>(pointer: *const c_char) -> Cow<'a, str> {
    if pointer.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: by the caller's promise.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy()
}
