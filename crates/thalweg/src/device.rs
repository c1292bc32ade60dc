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

/// A way to open a device.
struct Candidate {
    selector: &'static str,
    kind: DeviceKind,
    open: fn() -> thalweg_hal::Result<Arc<dyn thalweg_hal::Device>>,
}

/// Every device that can be opened, the best first.
const CANDIDATES: &[Candidate] =
    &[Candidate { selector: "cpu", kind: DeviceKind::Cpu, open: || Ok(CpuDevice::open()?) }];

/// Opens the device with this selector; [`devices`] lists them. `"cpu"` is always there.
///
/// Each call makes a device of its own, with its own streams and memory budget, so a program opens one and shares it.
/// The processors' worker threads are shared by all devices of a process.
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

/// Like [`open`], with settings of one's own: the number of streams, the memory limit.
///
/// # Errors
/// As for [`open`].
pub fn open_with(selector: &str, config: Config) -> Result<Device> {
    let Some(candidate) = CANDIDATES.iter().find(|candidate| candidate.selector == selector) else {
        let expected = CANDIDATES.iter().map(|candidate| candidate.selector.to_owned()).collect();
        return Err(Error::UnknownDevice { given: selector.to_owned(), expected });
    };
    let hal = (candidate.open)()?;
    let hal = if is_on(VALIDATE, env::var_os(VALIDATE))? { Validated::new(hal) } else { hal };
    Ok(Device::new(hal, config)?)
}

/// What there is to know about a device before it is used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceReport {
    /// What [`open`] takes.
    pub selector: String,
    /// The name to show.
    pub name: String,
    /// "cpu" and the like.
    pub kind: String,
    /// What it can do at most; all zero if it cannot be opened.
    pub limits: Limits,
    /// Further facts for people, as name and value.
    pub details: Vec<(&'static str, String)>,
    /// Whether it would be taken where the choice is left to the library: the first that can be opened.
    pub chosen: bool,
    /// Why it is chosen, or why not.
    pub why: String,
}

/// Every device, the best first. A device that cannot be opened is listed with the reason.
pub fn devices() -> Vec<DeviceReport> {
    let mut chosen = None;
    CANDIDATES
        .iter()
        .map(|candidate| {
            let selector = candidate.selector.to_owned();
            let kind = kind_name(candidate.kind);
            match (candidate.open)() {
                Ok(device) => {
                    let info = device.info().clone();
                    let why = match chosen {
                        None => "the best device that can be opened".to_owned(),
                        Some(better) => format!("{better} is better"),
                    };
                    let is_chosen = chosen.is_none();
                    chosen = chosen.or(Some(candidate.selector));
                    let (limits, details) = (info.limits, info.details);
                    DeviceReport { selector, name: info.name, kind, limits, details, chosen: is_chosen, why }
                }
                Err(error) => DeviceReport {
                    name: selector.clone(),
                    selector,
                    kind,
                    limits: Limits {
                        max_binding_bytes: 0,
                        max_allocations: 0,
                        memory_bytes: 0,
                        max_lists_in_flight: 0,
                    },
                    details: Vec::new(),
                    chosen: false,
                    why: format!("it cannot be opened: {error}"),
                },
            }
        })
        .collect()
}

fn kind_name(kind: DeviceKind) -> String {
    match kind {
        DeviceKind::Cpu => "cpu".to_owned(),
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
        assert_eq!(error.to_string(), "no device is called \"gpu\"; expected one of cpu");
        assert!(!error.is_retryable());
    }

    #[test]
    fn one_device_is_chosen_and_all_can_be_opened() {
        let devices = devices();
        assert_eq!(devices.iter().filter(|report| report.chosen).count(), 1);
        for report in devices {
            let device = open(&report.selector).unwrap();
            assert_eq!(device.info().name, report.name);
            assert_eq!(report.kind, "cpu");
            assert!(report.limits.memory_bytes > 0 && !report.why.is_empty());
        }
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
