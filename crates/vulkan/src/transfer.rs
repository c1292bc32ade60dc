//! Copies between the host and memory that it does not see, and zeros for new memory: small submissions of our own, each
//! waited for.

use crate::bus::copy_from_device;
use crate::context::Context;
use crate::memory::{Buffer, Use};
use crate::queue::{HOST, READS, STAGES, WRITES};
use crate::sync::lock;
use ash::vk;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use thalweg_hal::{Error, Result};

/// How many transfers run at once. Further ones wait for one of these.
const SLOTS: usize = 8;
/// What is copied at once.
const CHUNK: u64 = 1 << 20;
/// Up to here, the host reads memory over the bus itself: a submission takes longer.
const DIRECT_READ: usize = 16 << 10;

/// The transfers of a device.
pub struct Transfers {
    context: Arc<Context>,
    state: Mutex<State>,
    /// A slot has become free.
    freed: Condvar,
}

#[derive(Default)]
struct State {
    free: Vec<Slot>,
    /// Slots that there are.
    made: usize,
}

/// What one transfer needs.
struct Slot {
    pool: vk::CommandPool,
    commands: vk::CommandBuffer,
    fence: vk::Fence,
    /// Seen by the host.
    staging: Buffer,
}

impl Transfers {
    pub fn new(context: &Arc<Context>) -> Self {
        Self { context: Arc::clone(context), state: Mutex::default(), freed: Condvar::new() }
    }

    /// Copies bytes of a buffer to the host. The range is inside the buffer.
    ///
    /// # Errors
    /// What the driver says.
    ///
    /// # Safety
    /// - No command writes the range, and the host has seen those complete that did.
    pub unsafe fn read(&self, from: &Buffer, offset: u64, into: &mut [u8]) -> Result<()> {
        from.check_range(offset, into.len() as u64)?;
        self.context.check()?;
        if let Some(mapped) = from.mapped().filter(|_| from.is_cached || into.len() <= DIRECT_READ) {
            // SAFETY: the range is inside the mapping, and nobody writes it.
            unsafe {
                let from_byte = mapped.add(offset as usize);
                if from.is_cached {
                    from_byte.copy_to_nonoverlapping(pointer(into), into.len());
                } else {
                    copy_from_device(from_byte, pointer(into), into.len());
                }
            }
            return Ok(());
        }
        for (index, into) in into.chunks_mut(CHUNK as usize).enumerate() {
            let copy = vk::BufferCopy::default().src_offset(offset + index as u64 * CHUNK).size(into.len() as u64);
            let slot = self.take()?;
            // SAFETY: both ranges are inside their buffers; the staging buffer is the slot's.
            let result = self.run(&slot, |device, commands| unsafe {
                device.cmd_copy_buffer(commands, from.raw, slot.staging.raw, &[copy]);
            });
            if let (Ok(()), Some(mapped)) = (&result, slot.staging.mapped()) {
                // SAFETY: the staging buffer has as many bytes, and the copy into it is done.
                unsafe { mapped.copy_to_nonoverlapping(pointer(into), into.len()) };
            }
            self.give_back(slot);
            result?;
        }
        Ok(())
    }

    /// Copies bytes of the host to a buffer. The range is inside the buffer.
    ///
    /// # Errors
    /// What the driver says.
    ///
    /// # Safety
    /// - No command uses the range, and the host has seen those complete that did.
    pub unsafe fn write(&self, to: &Buffer, offset: u64, from: &[u8]) -> Result<()> {
        to.check_range(offset, from.len() as u64)?;
        self.context.check()?;
        if let Some(mapped) = to.mapped() {
            // SAFETY: the range is inside the mapping, and nobody else uses it.
            unsafe { mapped.add(offset as usize).copy_from_nonoverlapping(source(from), from.len()) };
            // Stores that a processor combines are not ordered with what another thread is told by an ordinary one.
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            return Ok(());
        }
        for (index, from) in from.chunks(CHUNK as usize).enumerate() {
            let copy = vk::BufferCopy::default().dst_offset(offset + index as u64 * CHUNK).size(from.len() as u64);
            let slot = self.take()?;
            if let Some(mapped) = slot.staging.mapped() {
                // SAFETY: the staging buffer has as many bytes, and is ours.
                unsafe { mapped.copy_from_nonoverlapping(source(from), from.len()) };
            }
            // SAFETY: as in `read`.
            let result = self.run(&slot, |device, commands| unsafe {
                device.cmd_copy_buffer(commands, slot.staging.raw, to.raw, &[copy]);
            });
            self.give_back(slot);
            result?;
        }
        Ok(())
    }

    /// Fills a new buffer with zeros.
    ///
    /// # Errors
    /// What the driver says.
    pub fn zero(&self, buffer: &Buffer) -> Result<()> {
        if let Some(mapped) = buffer.mapped().filter(|_| buffer.is_cached) {
            // SAFETY: the mapping has as many bytes, and nobody else knows the buffer yet.
            unsafe { mapped.write_bytes(0, buffer.bytes() as usize) };
            return Ok(());
        }
        let slot = self.take()?;
        // SAFETY: the buffer is the device's; all of it is filled, and its size is whole words.
        let result = self.run(&slot, |device, commands| unsafe {
            device.cmd_fill_buffer(commands, buffer.raw, 0, vk::WHOLE_SIZE, 0);
        });
        self.give_back(slot);
        result
    }

    /// Records, submits and waits.
    fn run(&self, slot: &Slot, record: impl FnOnce(&ash::Device, vk::CommandBuffer)) -> Result<()> {
        let context = &*self.context;
        let device = &context.device;
        let commands = slot.commands;
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // What lists wrote is visible to the copy, and what it writes to the host, which goes on to write itself.
        let before = [vk::MemoryBarrier::default().src_access_mask(WRITES).dst_access_mask(READS | WRITES)];
        let after = [vk::MemoryBarrier::default().src_access_mask(WRITES).dst_access_mask(HOST)];
        let (hosts, none) = (vk::PipelineStageFlags::HOST, vk::DependencyFlags::empty());
        // SAFETY: the slot is ours alone, and what it did before is complete, so that its command buffer may be begun and
        // its fence reset.
        let recorded = unsafe {
            device.begin_command_buffer(commands, &begin).and_then(|()| {
                device.cmd_pipeline_barrier(commands, STAGES, STAGES, none, &before, &[], &[]);
                record(device, commands);
                device.cmd_pipeline_barrier(commands, STAGES, hosts, none, &after, &[], &[]);
                device.end_command_buffer(commands)?;
                device.reset_fences(&[slot.fence])
            })
        };
        recorded.map_err(|e| context.error("vkEndCommandBuffer", e))?;
        let commands = [commands];
        let info = vk::SubmitInfo::default().command_buffers(&commands);
        // On the last queue; behind whatever else is on it.
        // SAFETY: recorded above; what it uses is held by the callers until this returns.
        unsafe { context.submit(context.queues.len() - 1, &info, slot.fence)? };
        loop {
            // SAFETY: the fence was submitted.
            match unsafe { device.wait_for_fences(&[slot.fence], true, u64::MAX) } {
                Ok(()) => return context.check(),
                Err(error @ vk::Result::ERROR_DEVICE_LOST) => return Err(context.error("vkWaitForFences", error)),
                // The device still uses the slot; a shortage of the host's memory passes.
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    fn take(&self) -> Result<Slot> {
        self.context.check()?;
        let mut state = lock(&self.state);
        loop {
            if let Some(slot) = state.free.pop() {
                return Ok(slot);
            }
            if state.made < SLOTS {
                state.made += 1;
                drop(state);
                return Slot::new(&self.context).inspect_err(|_| {
                    lock(&self.state).made -= 1;
                    self.freed.notify_one();
                });
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, slot: Slot) {
        lock(&self.state).free.push(slot);
        self.freed.notify_one();
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        for slot in lock(&self.state).free.drain(..) {
            slot.destroy(&self.context);
        }
    }
}

impl std::fmt::Debug for Transfers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transfers").finish_non_exhaustive()
    }
}

impl Slot {
    fn new(context: &Arc<Context>) -> Result<Self> {
        let staging = Buffer::new(context, CHUNK, Use::Host)?;
        if staging.mapped().is_none() {
            let message = "it has no memory that the host sees".to_owned();
            return Err(Error::Driver { device: crate::NAME.to_owned(), call: "vkAllocateMemory", message });
        }
        let device = &context.device;
        let flags = vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER | vk::CommandPoolCreateFlags::TRANSIENT;
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(context.family).flags(flags);
        // SAFETY: the family is the device's.
        let pool =
            unsafe { device.create_command_pool(&info, None) }.map_err(|e| context.error("vkCreateCommandPool", e))?;
        // `destroy` takes null handles.
        let mut slot = Self { pool, commands: vk::CommandBuffer::null(), fence: vk::Fence::null(), staging };
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        // SAFETY: the pool is new and ours.
        let commands = unsafe { device.allocate_command_buffers(&info) };
        // SAFETY: a fence has no preconditions.
        let fence = unsafe { device.create_fence(&vk::FenceCreateInfo::default(), None) };
        slot.fence = fence.unwrap_or_default();
        match (commands, fence) {
            (Ok(commands), Ok(_)) => {
                slot.commands = commands.first().copied().unwrap_or_default();
                Ok(slot)
            }
            (Err(error), _) | (_, Err(error)) => {
                slot.destroy(context);
                Err(context.error("vkCreateFence", error))
            }
        }
    }

    fn destroy(self, context: &Context) {
        // SAFETY: every transfer was waited for. Null is allowed; the pool's buffers go with it.
        unsafe {
            context.device.destroy_fence(self.fence, None);
            context.device.destroy_command_pool(self.pool, None);
        }
    }
}

fn pointer(into: &mut [u8]) -> std::ptr::NonNull<u8> {
    std::ptr::NonNull::from(into).cast()
}

fn source(from: &[u8]) -> std::ptr::NonNull<u8> {
    std::ptr::NonNull::from(from).cast()
}
