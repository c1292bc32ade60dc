//! Settings of backends that are read from the environment.

use crate::{Error, Result};
use std::env;
use std::ffi::OsString;

/// Whether a variable that is a switch is on: it is `1`. It is off if it is `0`, empty or not there.
///
/// # Errors
/// [`Error::Setting`] if it is anything else.
pub fn switch(variable: &'static str) -> Result<bool> {
    is_on(variable, env::var_os(variable))
}

fn is_on(variable: &'static str, value: Option<OsString>) -> Result<bool> {
    match value {
        None => Ok(false),
        Some(value) if value == "1" => Ok(true),
        Some(value) if value == "0" || value.is_empty() => Ok(false),
        Some(value) => {
            Err(Error::Setting { variable, given: value.to_string_lossy().into_owned(), expected: "0 or 1".into() })
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
        assert_eq!(error, "SWITCH is \"yes\"; expected 0 or 1");
    }
}
