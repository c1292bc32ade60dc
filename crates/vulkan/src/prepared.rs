//! Lists that are encoded once and submitted often.
//!
//! A command buffer has words for failures and timestamps of its own, so it serves one submission at a time. Whoever submits a
//! prepared list takes it; while it is away, further submissions of the list are encoded anew, as any other's.

use crate::context::Context;
use crate::queue::encode;
use crate::slots::{Slot, Slots};
use crate::sync::lock;
use ash::vk;
use std::sync::{Arc, Mutex};
use thalweg_hal::{List, Result};

/// The encoded form of a list.
pub struct PreparedList {
    /// Names the device.
    context: u64,
    /// `None` while the device has it.
    slot: Mutex<Option<Slot>>,
    /// Holds the pool that the command buffer is of, and destroys what the slot holds.
    slots: Slots,
}

impl PreparedList {
    /// Encodes a list, which passed [`List::check`].
    ///
    /// # Errors
    /// What the driver says.
    pub fn new(context: &Arc<Context>, list: &List) -> Result<Self> {
        let slots = Slots::new(context)?;
        let slot = slots.take(list)?;
        // SAFETY: the slot is new, and its pool ours alone.
        match unsafe { encode(context, &slot, list, vk::CommandBufferUsageFlags::empty()) } {
            Ok(()) => Ok(Self { context: context.id, slot: Mutex::new(Some(slot)), slots }),
            Err(error) => {
                slots.give_back(slot);
                Err(error)
            }
        }
    }

    /// The form of a list, if there is one and the device does not have it.
    pub fn take(list: &List, context: &Arc<Context>) -> Result<Option<Slot>> {
        let Some(prepared) = list.prepared.get::<Self>().filter(|prepared| prepared.context == context.id) else {
            return Ok(None);
        };
        let Some(mut slot) = lock(&prepared.slot).take() else { return Ok(None) };
        match slot.make_room(context, list) {
            Ok(()) => Ok(Some(slot)),
            Err(error) => {
                prepared.give_back(slot);
                Err(error)
            }
        }
    }

    pub fn give_back(&self, slot: Slot) {
        *lock(&self.slot) = Some(slot);
    }
}

impl Drop for PreparedList {
    fn drop(&mut self) {
        // A list that runs is held, so the slot is here.
        if let Some(slot) = self.slot.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            self.slots.give_back(slot);
        }
    }
}
