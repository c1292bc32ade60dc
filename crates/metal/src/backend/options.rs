//! How a device is opened.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use thalweg_hal::{Error, Result};

const CAPTURE: &str = "THALWEG_METAL_CAPTURE";
const SIGNPOSTS: &str = "THALWEG_METAL_SIGNPOSTS";

/// How a device is opened ([`MetalDevice::open_with`](crate::MetalDevice::open_with)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Where the first lists that are submitted are recorded, for Xcode: a new file that ends in `.gputrace`. The system allows
    /// it to programs that run with `MTL_CAPTURE_ENABLED=1`.
    pub capture: Option<PathBuf>,
    /// Whether command buffers and dispatches are given names, for Xcode and Instruments. Costs about a microsecond a dispatch.
    pub signposts: bool,
}

impl Options {
    /// What the environment says: `THALWEG_METAL_CAPTURE`, `THALWEG_METAL_SIGNPOSTS`.
    ///
    /// # Errors
    /// If `THALWEG_METAL_SIGNPOSTS` is neither `0` nor `1`.
    pub fn from_environment() -> Result<Self> {
        let capture = env::var_os(CAPTURE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self { capture, signposts: is_on(SIGNPOSTS, env::var_os(SIGNPOSTS))? })
    }
}

fn is_on(variable: &'static str, value: Option<OsString>) -> Result<bool> {
    match value {
        None => Ok(false),
        Some(value) if value == "1" => Ok(true),
        Some(value) if value == "0" || value.is_empty() => Ok(false),
        Some(value) => {
            let message = format!("{variable} is {value:?}; expected 0 or 1");
            Err(Error::Driver { device: super::NAME.to_owned(), call: "reading the environment", message })
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
