//! Copies and fills, as kernels: a list stays one encoder then, and needs no fence inside it.

use super::pipeline::{Failed, state};
use super::{NAME, Object};
use objc2::runtime::ProtocolObject;
use objc2_metal::{MTLComputePipelineState, MTLDevice};
use thalweg_hal::{Error, Result};

/// The two kernels.
pub struct Transfers {
    pub copy: Transfer,
    pub fill: Transfer,
}

/// One of them. Its arguments: the operands, then their length in bytes and the pattern, as words.
pub struct Transfer {
    pub name: &'static str,
    pub state: Object<dyn MTLComputePipelineState>,
}

impl Transfers {
    /// # Errors
    /// What Metal says.
    pub fn new(device: &ProtocolObject<dyn MTLDevice>) -> Result<Self> {
        Ok(Self {
            copy: Transfer::new(device, "copy", include_str!("copy.metal"))?,
            fill: Transfer::new(device, "fill", include_str!("fill.metal"))?,
        })
    }
}

impl Transfer {
    /// Threads of a threadgroup.
    pub const SIZE: [u32; 3] = [256, 1, 1];
    /// Bytes that a thread copies or fills.
    const BYTES: u64 = 16;

    fn new(device: &ProtocolObject<dyn MTLDevice>, name: &'static str, text: &str) -> Result<Self> {
        let state = state(device, text, name).map_err(|failed| match failed {
            Failed::Text(message) => {
                Error::Driver { device: NAME.to_owned(), call: "newLibraryWithSource:options:error:", message }
            }
            Failed::Call(error) => error,
        })?;
        Ok(Self { name, state })
    }

    /// The threadgroups for so many bytes.
    pub fn groups(&self, bytes: u64) -> [u32; 3] {
        [bytes.div_ceil(Self::BYTES * u64::from(Self::SIZE[0])) as u32, 1, 1]
    }
}
