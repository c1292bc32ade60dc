//! A forked child has the parent's memory and none of its threads: locks may be held for ever there. So each call asks
//! before it takes one.

use crate::base::error::Result;
pub(crate) use thalweg_hal::process::forked;

/// Fails in a forked child.
#[inline]
pub(crate) fn check_fork() -> Result<()> {
    if forked() { Err(thalweg_hal::Error::ForkedChild.into()) } else { Ok(()) }
}
