//! How a device is opened.

use std::env;
use std::ffi::OsString;
use thalweg_hal::{Error, Result};

/// The variable that has every device behave as a discrete GPU.
const DISCRETE: &str = "THALWEG_VULKAN_DISCRETE";

/// How a device is opened ([`VulkanDevice::open_with`](crate::VulkanDevice::open_with)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Whether the device is to behave as a laptop's discrete GPU does, whatever it is. For tests: a software driver
    /// has none of these limits by itself.
    ///
    /// - The host does not see the memory that kernels use.
    /// - The host sees its own memory, which the device copies from and to, without a cache.
    /// - There are at most 4,096 driver allocations at a time, and the device refuses one more.
    /// - There is one hardware queue.
    pub discrete: bool,
}

impl Options {
    /// As a laptop's discrete GPU.
    pub const DISCRETE: Self = Self { discrete: true };

    /// What the environment says: `THALWEG_VULKAN_DISCRETE`.
    ///
    /// # Errors
    /// If a variable is neither `0` nor `1`.
    pub fn from_environment() -> Result<Self> {
        Ok(Self { discrete: switch(DISCRETE)? })
    }
}

/// Whether a variable that is a switch is on.
///
/// # Errors
/// If it is neither `0` nor `1`.
pub(crate) fn switch(variable: &'static str) -> Result<bool> {
    is_on(variable, env::var_os(variable))
}

fn is_on(variable: &'static str, value: Option<OsString>) -> Result<bool> {
    match value {
        None => Ok(false),
        Some(value) if value == "1" => Ok(true),
        Some(value) if value == "0" || value.is_empty() => Ok(false),
        Some(value) => {
            let message = format!("{variable} is {value:?}; expected 0 or 1");
            Err(Error::Driver { device: crate::NAME.to_owned(), call: "reading the environment", message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_off_on_or_an_error() {
        let is_on = |value: Option<&str>| is_on("SWITCH", value.map(OsString::from));
        assert!(!is_on(None).unwrap() && !is_on(Some("")).unwrap() && !is_on(Some("0")).unwrap());
        assert!(is_on(Some("1")).unwrap());
        let error = is_on(Some("yes")).unwrap_err().to_string();
        assert!(error.contains("SWITCH is \"yes\"; expected 0 or 1"), "{error}");
    }
}
