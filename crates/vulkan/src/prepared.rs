//! Lists that are encoded once and run often: secondary command buffers.
//!
//! A command buffer that is submitted runs them, any number at a time. The words into which their kernels store
//! failures are baked in; the run of one clears them before and copies them after ([`crate::queue`]).

use crate::context::Context;
use crate::queue::encode_inner;
use crate::room::{self, Piece, Room};
use ash::vk;
use std::sync::Arc;
use thalweg_hal::{List, Result};

/// The encoded form of a list. What the list names is kept by the list.
pub struct PreparedList {
    context: Arc<Context>,
    /// Used by `new` alone.
    pool: vk::CommandPool,
    commands: vk::CommandBuffer,
    /// `None` if no kernel can fail.
    failures: Option<Piece>,
    /// Kernels that can fail.
    failing: u64,
}

impl PreparedList {
    /// Encodes a list.
    ///
    /// # Errors
    /// What the driver says, or that the list names objects of another device;
    /// [`Error::OutOfMemory`](thalweg_hal::Error::OutOfMemory) if there is no room for the words.
    ///
    /// # Safety
    /// - P1 of [`Device::prepare`](thalweg_hal::Device::prepare): the list passes [`List::check_inner`].
    pub unsafe fn new(context: &Arc<Context>, room: &Arc<Room>, list: &Arc<List>) -> Result<Self> {
        context.check()?;
        let failing = context.failure_words.dispatches(list).count() as u64;
        let failures = match context.failure_words.offset(failing) {
            0 => None,
            bytes => Some(room.keep(bytes)?),
        };
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(context.family);
        // SAFETY: the family is the device's.
        let pool = unsafe { context.device.create_command_pool(&info, None) };
        let pool = pool.map_err(|e| context.error("vkCreateCommandPool", e))?;
        // From here on `drop` cleans up.
        let commands = vk::CommandBuffer::null();
        let mut prepared = Self { context: Arc::clone(context), pool, commands, failures, failing };
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(vk::CommandBufferLevel::SECONDARY)
            .command_buffer_count(1);
        // SAFETY: the pool is ours alone.
        let commands = unsafe { context.device.allocate_command_buffers(&info) };
        let commands = commands.map_err(|e| context.error("vkAllocateCommandBuffers", e))?;
        prepared.commands = commands.first().copied().unwrap_or_default();
        let words = prepared.failures.as_ref().map_or((vk::Buffer::null(), 0), room::place);
        // SAFETY: the command buffer is new, secondary, and its pool ours alone; the list passes (P1).
        unsafe { encode_inner(context, prepared.commands, words, list)? };
        Ok(prepared)
    }

    /// The form of a list on this device, if there is one.
    pub fn of<'a>(list: &'a List, context: &Context) -> Option<&'a Self> {
        list.prepared.get::<Self>().filter(|prepared| prepared.context.id == context.id)
    }

    pub fn commands(&self) -> vk::CommandBuffer {
        self.commands
    }

    pub fn failures(&self) -> Option<&Piece> {
        self.failures.as_ref()
    }

    /// Kernels that can fail.
    pub fn failing(&self) -> u64 {
        self.failing
    }
}

impl Drop for PreparedList {
    fn drop(&mut self) {
        // SAFETY: a list that runs is held, and keeps this; so no command buffer that is in use runs it.
        unsafe { self.context.device.destroy_command_pool(self.pool, None) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use thalweg_doubles::suite::{Builder, Line, kernel, wait, write, zeroed};
    use thalweg_hal::{Access, Device};

    /// Where there is no room for its words, a list is recorded anew each time, and says the same.
    #[test]
    fn a_list_that_there_is_no_room_for_is_not_prepared_and_runs() {
        let Some(device) = testing::device() else { return };
        let picky = kernel(
            "picky",
            &[Access::Read],
            0,
            "@group(0) @binding(0) var<storage, read> x: array<u32>;
             @group(0) @binding(1) var<storage, read_write> failure: array<atomic<u32>, 2>;
             @compute @workgroup_size(1) fn main() { atomicStore(&failure[0], x[0]); }",
        );
        let (pipeline, memory) = (device.create_pipeline(&picky).unwrap(), zeroed(&*device, 256));
        write(&*device, &memory, 0, &[1]);
        let list = || Builder::default().barrier().dispatch(&pipeline, &[], [1; 3], &[(&memory, 0, 256)]).build();
        let prepare = |list: &Arc<List>| {
            // SAFETY: the list keeps the rules.
            unsafe { device.prepare(list).unwrap() };
            PreparedList::of(list, &device.context).is_some()
        };
        let (roomy, crowded, later) = (list(), list(), list());
        assert!(prepare(&roomy));
        let kept: Vec<_> = (9..=23).rev().map_while(|bits| device.room.keep(1 << bits).ok()).collect();
        let rest: Vec<_> = std::iter::from_fn(|| device.room.keep(1).ok()).collect();
        assert!(!prepare(&crowded));
        let mut line = Line::new(&*device);
        for list in [roomy, crowded] {
            wait(&line.submit(&list, &[]));
            assert_eq!(line.timeline.take_reports().len(), 1);
        }
        drop((kept, rest));
        assert!(prepare(&later));
    }
}
