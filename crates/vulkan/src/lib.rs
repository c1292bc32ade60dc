//! The Vulkan backend: GPUs of every maker, and drivers that compute on the processor, for tests.
//!
//! # What it does
//!
//! A queue of the HAL's is a `VkQueue` of its own as long as the family has any, and shares one after that, under a
//! lock around the submit call alone. Its timeline is a timeline semaphore. A list becomes a command buffer, recorded
//! anew each time from commands, push descriptors and push constants, and used again once the list has run; a prepared
//! list keeps its own.
//!
//! ```text
//!  submit ──► slot: command buffer,  ──► vkQueueSubmit ──► device ──► semaphore ──► host waits
//!             words for failures,         (lock)                          │
//!             timestamps                                                  ▼
//!                  ▲                                     the next that asks collects what has run:
//!                  └───────────────────────────────────  reports, then the slot, then the list
//! ```
//!
//! A kernel that fails (an id outside its table, say) stores why in words that lie behind its bindings; the list's
//! reports are read from there.
//!
//! # What it cannot do
//!
//! - Notice a missing wait where there is one `VkQueue`: lists then run in order. The mock is the device to test with.
//! - Stop a list, or end a wait in the driver early: waits look every millisecond whether they were interrupted.
//! - Know that a list has run without asking. What a list holds is let go of when its timeline is next asked or
//!   dropped; a device that is dropped while lists run stays open, with their memory, unless something new is made on
//!   it later.
//!
//! # Locks
//!
//! | lock | guards | may be held while taking |
//! |---|---|---|
//! | hardware queue | the driver's queue, for one submit call | nothing |
//! | timeline | lists not collected, reports | nothing |
//! | doorbell | its count, for one call that signals it | nothing |
//! | slots | one queue's free slots | nothing |
//! | room | which pieces of its segments are taken | nothing |
//! | growth of the room | the call that makes a segment | room; orphans |
//! | orphans | what was dropped before the device was done with it | nothing |
//! | semaphores | those of timelines that are gone | nothing |
//! | pipeline cache | which object of the driver's it is | nothing |
//! | its upkeep | the look at how long it is, and its file; nobody waits for it | pipeline cache |
//!
//! No drop of a list, and no wait for the device, happens under any of them.
//!
//! # Environment
//!
//! `THALWEG_VULKAN_VALIDATION=1` turns Khronos' validation layers on; `THALWEG_CACHE_DIR` says where compiled pipelines
//! are kept; `THALWEG_VULKAN_DISCRETE=1` has every device behave as a laptop's discrete GPU ([`Options`]).

mod adapter;
mod bus;
mod cache;
mod context;
mod device;
mod discrete;
mod instance;
mod memory;
mod options;
mod pipeline;
mod prepared;
mod queue;
mod room;
mod slots;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod timeline;
mod upkeep;

pub use adapter::{Adapter, adapters, best};
pub use device::VulkanDevice;
pub use instance::validation_messages;
pub use options::Options;

use ash::vk;
use thalweg_hal::Error;

/// The backend's name in errors.
pub(crate) const NAME: &str = "vulkan";

/// A driver's answer as an error of ours.
fn driver_error(call: &'static str, error: vk::Result) -> Error {
    let device = NAME.to_owned();
    match error {
        vk::Result::ERROR_DEVICE_LOST => Error::DeviceLost { device },
        vk::Result::ERROR_OUT_OF_DEVICE_MEMORY | vk::Result::ERROR_OUT_OF_HOST_MEMORY => {
            Error::OutOfMemory { device, bytes: 0 }
        }
        error => Error::Driver { device, call, message: error.to_string() },
    }
}
