//! How a device is opened.

use thalweg_hal::Result;
use thalweg_hal::environment::switch;

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
