//! How a device is opened.

use std::env;
use std::path::PathBuf;
use thalweg_hal::Result;
use thalweg_hal::environment::switch;

pub const CAPTURE: &str = "THALWEG_METAL_CAPTURE";
const SIGNPOSTS: &str = "THALWEG_METAL_SIGNPOSTS";

/// How a device is opened ([`MetalDevice::open_with`](crate::MetalDevice::open_with)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Where the first lists that are submitted are recorded, for Xcode: a new file that ends in `.gputrace`. The
    /// system allows it to programs that run with `MTL_CAPTURE_ENABLED=1`.
    pub capture: Option<PathBuf>,
    /// Whether command buffers and dispatches are given names, for Xcode and Instruments. Costs about a microsecond a
    /// dispatch.
    pub signposts: bool,
}

impl Options {
    /// What the environment says: `THALWEG_METAL_CAPTURE`, `THALWEG_METAL_SIGNPOSTS`.
    ///
    /// # Errors
    /// If `THALWEG_METAL_SIGNPOSTS` is neither `0` nor `1`.
    pub fn from_environment() -> Result<Self> {
        let capture = env::var_os(CAPTURE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self { capture, signposts: switch(SIGNPOSTS)? })
    }
}
