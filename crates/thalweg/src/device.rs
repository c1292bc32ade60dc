//! Which devices there are, and how to open one.

use crate::error::{Error, Result};
use std::env;
use std::ffi::OsString;
use std::sync::Arc;
use thalweg_cpu::CpuDevice;
use thalweg_hal::validate::Validated;
use thalweg_hal::{DeviceKind, Limits};
use thalweg_runtime::{Config, Device};

/// The variable that has every submission checked.
const VALIDATE: &str = "THALWEG_VALIDATE";
/// Takes the best device that is no software driver.
const AUTO: &str = "auto";
const CPU: &str = "cpu";

type Open = Box<dyn Fn() -> thalweg_hal::Result<Arc<dyn thalweg_hal::Device>>>;

/// A device that may be opened.
struct Candidate {
    /// What [`open`] takes.
    selector: String,
    /// A backend's name alone takes its first candidate.
    backend: &'static str,
    name: String,
    kind: DeviceKind,
    open: Open,
}

/// Every device, the best first: GPUs, then the processor, then drivers that compute on the processor.
/// The processor would compute with so many threads, if that is said.
fn candidates(cpu_threads: Option<usize>) -> Vec<Candidate> {
    let mut candidates = vec![cpu(cpu_threads)];
    #[cfg(all(feature = "metal", any(target_vendor = "apple", metal_sim)))]
    candidates.extend(metal());
    #[cfg(feature = "vulkan")]
    candidates.extend(vulkan());
    candidates.sort_by_key(|candidate| match candidate.kind {
        DeviceKind::Gpu => 0,
        DeviceKind::IntegratedGpu => 1,
        DeviceKind::Cpu => 2,
        _ => 3,
    });
    candidates
}

fn cpu(threads: Option<usize>) -> Candidate {
    let open: Open = Box::new(move || Ok(CpuDevice::open_with(threads)?));
    Candidate { selector: CPU.to_owned(), backend: CPU, name: CPU.to_owned(), kind: DeviceKind::Cpu, open }
}

/// The system's device; none in a machine without Metal.
#[cfg(all(feature = "metal", any(target_vendor = "apple", metal_sim)))]
fn metal() -> impl Iterator<Item = Candidate> {
    const BACKEND: &str = "metal";
    thalweg_metal::adapters().into_iter().map(|adapter| Candidate {
        selector: BACKEND.to_owned(),
        backend: BACKEND,
        name: format!("{BACKEND} ({})", adapter.name()),
        kind: adapter.kind(),
        open: Box::new(move || Ok(thalweg_metal::MetalDevice::open(&adapter)?)),
    })
}

/// The devices that Vulkan lists; without Vulkan, one that says why it cannot be opened.
#[cfg(feature = "vulkan")]
fn vulkan() -> Vec<Candidate> {
    use thalweg_vulkan::{Adapter, VulkanDevice, adapters};
    const BACKEND: &str = "vulkan";
    let candidate = |(index, adapter): (usize, Adapter)| Candidate {
        selector: format!("{BACKEND}:{index}"),
        backend: BACKEND,
        name: format!("{BACKEND} ({})", adapter.name()),
        kind: adapter.kind(),
        open: Box::new(move || Ok(VulkanDevice::open(&adapter)?)),
    };
    match adapters() {
        Ok(adapters) => adapters.into_iter().enumerate().map(candidate).collect(),
        Err(error) => vec![Candidate {
            selector: BACKEND.to_owned(),
            backend: BACKEND,
            name: BACKEND.to_owned(),
            kind: DeviceKind::SoftwareGpu, // the last in any order
            open: Box::new(move || Err(error.clone())),
        }],
    }
}

/// Opens the device with this selector:
///
/// | selector | takes |
/// |---|---|
/// | `auto` | the best device: a GPU if there is one, else the processor; never a software driver |
/// | `cpu` | the processor; always there |
/// | `metal` | the GPU of an Apple machine |
/// | `vulkan` | the best device that Vulkan drives: a GPU, or a software driver if there is nothing else |
/// | `vulkan:INDEX` | that one of Vulkan's; [`devices`] lists them |
///
/// [`DeviceInfo::kind`](thalweg_hal::DeviceInfo) says which a device is.
///
/// Metal's device is there with the feature `metal`, which is on by default, and only on Apple's systems; Vulkan's
/// devices with the feature `vulkan`. Where a GPU can be had through both, Metal's comes first. Each call makes a
/// device of its own, with its own streams and memory budget, so a program opens one and shares it. The processors'
/// worker threads are shared by all devices of a process.
///
/// If the environment variable `THALWEG_VALIDATE` is `1`, every submission to the device is checked for missing waits
/// and barriers, and refused if one is missing. That costs about a microsecond an operation.
///
/// # Errors
/// [`Error::UnknownDevice`], which names the devices that there are; [`Error::Environment`] if `THALWEG_VALIDATE` is
/// neither `0` nor `1`; or what the device says.
pub fn open(selector: &str) -> Result<Device> {
    open_with(selector, Config::default())
}

/// Like [`open`], with settings of one's own: the number of streams, the memory limit, the processor's threads.
///
/// # Errors
/// As for [`open`]; what the device says may be that the processor is in use with another number of threads
/// ([`Config::cpu_threads`]).
pub fn open_with(selector: &str, config: Config) -> Result<Device> {
    let candidates = match selector {
        // Asking for the processor wakes no driver.
        CPU => vec![cpu(config.wanted_cpu_threads())],
        _ => candidates(config.wanted_cpu_threads()),
    };
    let hal = if selector == AUTO {
        choose(candidates.iter().filter(|candidate| candidate.kind != DeviceKind::SoftwareGpu))
    } else {
        choose(candidates.iter().filter(|one| one.selector == selector || one.backend == selector))
    };
    let unknown = || Error::UnknownDevice { given: selector.to_owned(), expected: selectors(&candidates) };
    let hal = hal.ok_or_else(unknown)??;
    let hal = if is_on(VALIDATE, env::var_os(VALIDATE))? { Validated::new(hal) } else { hal };
    Ok(Device::new(hal, config)?)
}

/// The first that can be opened, or why the first of them cannot; `None` if there is none to open.
fn choose<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
) -> Option<thalweg_hal::Result<Arc<dyn thalweg_hal::Device>>> {
    let mut refusal = None;
    for candidate in candidates {
        match (candidate.open)() {
            Ok(device) => return Some(Ok(device)),
            // What somebody has asked for and cannot have is not passed over.
            Err(error @ thalweg_hal::Error::Setting { .. }) => return Some(Err(error)),
            Err(error) => refusal = refusal.or(Some(Err(error))),
        }
    }
    refusal
}

/// Everything that [`open`] takes.
fn selectors(candidates: &[Candidate]) -> Vec<String> {
    let mut selectors = vec![AUTO.to_owned()];
    for candidate in candidates {
        if !selectors.iter().any(|selector| selector == candidate.backend) {
            selectors.push(candidate.backend.to_owned());
        }
        if candidate.selector != candidate.backend {
            selectors.push(candidate.selector.clone());
        }
    }
    selectors
}

/// What there is to know about a device before it is used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceReport {
    /// What [`open`] takes.
    pub selector: String,
    /// The name to show.
    pub name: String,
    /// "cpu", "gpu", "integrated gpu" or "software".
    pub kind: String,
    /// What it can do at most; all zero if it cannot be opened.
    pub limits: Limits,
    /// Further facts for people, as name and value.
    pub details: Vec<(&'static str, String)>,
    /// Whether `auto` takes it.
    pub chosen: bool,
    /// Why it is chosen, or why not.
    pub why: String,
}

/// Every device, the best first. A device that cannot be opened is listed with the reason.
pub fn devices() -> Vec<DeviceReport> {
    let mut chosen = None;
    let report = |candidate: Candidate| {
        let Candidate { selector, name, kind, open, .. } = candidate;
        let kind_name = kind_name(kind);
        match open() {
            Ok(device) => {
                let info = device.info().clone();
                let why = match &chosen {
                    _ if kind == DeviceKind::SoftwareGpu => {
                        "it computes on the processor what a GPU would; taken only where it is named".to_owned()
                    }
                    None => "the best device that can be opened".to_owned(),
                    Some(better) => format!("{better} is better"),
                };
                let is_chosen = chosen.is_none() && kind != DeviceKind::SoftwareGpu;
                if is_chosen {
                    chosen = Some(selector.clone());
                }
                let (name, kind, limits, details) = (info.name, kind_name, info.limits, info.details);
                DeviceReport { selector, name, kind, limits, details, chosen: is_chosen, why }
            }
            Err(error) => DeviceReport {
                selector,
                name,
                kind: kind_name,
                limits: Limits { max_binding_bytes: 0, max_allocations: 0, memory_bytes: 0, max_lists_in_flight: 0 },
                details: Vec::new(),
                chosen: false,
                why: format!("it cannot be opened: {error}"),
            },
        }
    };
    candidates(None).into_iter().map(report).collect()
}

fn kind_name(kind: DeviceKind) -> String {
    match kind {
        DeviceKind::Cpu => "cpu".to_owned(),
        DeviceKind::Gpu => "gpu".to_owned(),
        DeviceKind::IntegratedGpu => "integrated gpu".to_owned(),
        DeviceKind::SoftwareGpu => "software".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Whether a variable that is a switch is on.
fn is_on(name: &'static str, value: Option<OsString>) -> Result<bool> {
    let Some(value) = value else { return Ok(false) };
    match value.to_str() {
        Some("1") => Ok(true),
        Some("" | "0") => Ok(false),
        _ => {
            let given = value.to_string_lossy().into_owned();
            Err(Error::Environment { name, given, expected: "0 or 1" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_selector_names_the_known_ones() {
        let error = open("gpu").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("no device is called \"gpu\"; expected one of auto, "), "{text}");
        assert!(text.contains("cpu"), "{text}");
        assert!(!error.is_retryable());
        assert!(matches!(open("vulkan:99"), Err(Error::UnknownDevice { .. })));
    }

    #[test]
    fn one_device_is_chosen_and_it_is_what_auto_takes() {
        let devices = devices();
        let chosen: Vec<_> = devices.iter().filter(|report| report.chosen).collect();
        let [chosen] = &chosen[..] else { panic!("{devices:?}") };
        assert_eq!(open(AUTO).unwrap().info().name, chosen.name);
        assert_ne!(chosen.kind, "software");
    }

    #[test]
    fn the_processors_threads_are_as_many_as_the_first_asks_for() {
        let with = |threads| open_with(CPU, Config::default().cpu_threads(threads));
        // Other tests of this program may have it open, with as many as there are by default.
        let first = open(CPU).unwrap();
        let threads = first.info().parallelism as usize;
        assert_eq!(with(threads).unwrap().info().parallelism as usize, threads);
        let error = with(threads + 1).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("{:?}", (threads + 1).to_string())), "{text}");
        assert!(text.contains(&format!("expected {threads}, ")), "{text}");
        assert!(!error.is_retryable());
        drop(first);
    }

    #[test]
    fn what_is_listed_opens_or_says_why_not() {
        for report in devices() {
            match open(&report.selector) {
                Ok(device) => {
                    assert_eq!(device.info().name, report.name);
                    assert!(report.limits.memory_bytes > 0 && !report.why.is_empty());
                }
                Err(error) => assert_eq!(report.why, format!("it cannot be opened: {error}")),
            }
        }
        assert!(devices().iter().any(|report| report.selector == "cpu" && report.kind == "cpu"));
    }

    #[test]
    fn a_switch_is_off_on_or_an_error() {
        let is_on = |value: &str| is_on("SWITCH", Some(value.into()));
        assert!(!super::is_on("SWITCH", None).unwrap());
        assert!(!is_on("").unwrap() && !is_on("0").unwrap() && is_on("1").unwrap());
        let error = is_on("yes").unwrap_err().to_string();
        assert_eq!(error, "the environment variable SWITCH is \"yes\"; expected 0 or 1");
    }
}
