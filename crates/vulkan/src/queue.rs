//! Queues: a list becomes a command buffer, and the command buffer a submission.

use crate::context::Context;
use crate::memory::VulkanMemory;
use crate::pipeline::VulkanPipeline;
use crate::prepared::PreparedList;
use crate::room::{self, Room};
use crate::slots::{Slot, Slots};
use crate::timeline::{Running, Semaphore, VulkanTimeline};
use ash::vk;
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;
use thalweg_hal::failures::FailureWords;
use thalweg_hal::{Binding, Command, Limits, List, MAX_BINDINGS, Queue, Result, Submission, Timeline};

/// What our commands do, for barriers.
pub const STAGES: vk::PipelineStageFlags = vk::PipelineStageFlags::from_raw(
    vk::PipelineStageFlags::COMPUTE_SHADER.as_raw() | vk::PipelineStageFlags::TRANSFER.as_raw(),
);
pub const WRITES: vk::AccessFlags =
    vk::AccessFlags::from_raw(vk::AccessFlags::SHADER_WRITE.as_raw() | vk::AccessFlags::TRANSFER_WRITE.as_raw());
pub const READS: vk::AccessFlags =
    vk::AccessFlags::from_raw(vk::AccessFlags::SHADER_READ.as_raw() | vk::AccessFlags::TRANSFER_READ.as_raw());

/// What the host does once it has seen a list complete.
pub const HOST: vk::AccessFlags =
    vk::AccessFlags::from_raw(vk::AccessFlags::HOST_READ.as_raw() | vk::AccessFlags::HOST_WRITE.as_raw());

/// The submitting end of a hardware queue.
pub struct VulkanQueue {
    timeline: Arc<VulkanTimeline>,
    /// The same.
    handle: Arc<dyn Timeline>,
    context: Arc<Context>,
    hardware: usize,
    limits: Limits,
    slots: Arc<Slots>,
}

impl VulkanQueue {
    /// # Errors
    /// What the driver says.
    pub fn new(context: &Arc<Context>, room: &Arc<Room>, limits: Limits) -> Result<Self> {
        context.check()?;
        let (timeline, slots) = (Arc::new(VulkanTimeline::new(context)?), Arc::new(Slots::new(context, room)?));
        let (handle, hardware) = (Arc::<VulkanTimeline>::clone(&timeline), context.assign_queue());
        Ok(Self { timeline, handle, context: Arc::clone(context), hardware, limits, slots })
    }
}

impl Queue for VulkanQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        &self.handle
    }

    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        let Submission { list, waits, value } = submission;
        let Self { timeline, context, hardware, limits, slots, .. } = self;
        context.check()?;
        debug_assert_eq!(list.check(limits), Ok(()), "a promise of `Queue::submit`");
        let mut waited = SmallVec::<[Arc<Semaphore>; 4]>::new();
        let mut values = SmallVec::<[u64; 4]>::new();
        for wait in waits {
            let semaphore = VulkanTimeline::of(&wait.timeline, context)?.semaphore();
            waited.push(Arc::clone(semaphore));
            values.push(semaphore.value(wait.value));
        }
        // What earlier lists had may serve this one.
        timeline.collect();
        let (slot, home) = (slots.take(list)?, Arc::clone(slots));
        // SAFETY: the slot's last list has run, and the pool is this queue's, which has one thread at a time; the list
        // passes, and what of it is prepared is still so (Q3, Q5).
        if let Err(error) = unsafe { encode(context, &slot, list) } {
            slots.give_back(slot);
            return Err(error);
        }
        let commands = [slot.commands];
        let semaphores: SmallVec<[_; 4]> = waited.iter().map(|semaphore| semaphore.raw()).collect();
        let stages: SmallVec<[_; 4]> = semaphores.iter().map(|_| vk::PipelineStageFlags::ALL_COMMANDS).collect();
        timeline.enter(Running { value, list: Arc::clone(list), slot, home, _waits: waited });
        let (signals, raised) = ([timeline.semaphore().raw()], [timeline.semaphore().value(value)]);
        let mut timelines =
            vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&values).signal_semaphore_values(&raised);
        let info = vk::SubmitInfo::default()
            .wait_semaphores(&semaphores)
            .wait_dst_stage_mask(&stages)
            .command_buffers(&commands)
            .signal_semaphores(&signals)
            .push_next(&mut timelines);
        // SAFETY: the command buffer is recorded; its accesses and those of other lists are ordered (Q1); what it waits
        // for is submitted, so that nothing on this `VkQueue` is stuck behind it (Q2); the value rises (Q4). The
        // timeline holds what the list uses, the semaphores it waits for included, until it has run.
        match unsafe { context.submit(*hardware, &info) } {
            Ok(()) => {
                timeline.submitted(value);
                Ok(())
            }
            Err(error) => {
                timeline.withdraw().into_iter().for_each(Running::finish);
                Err(error)
            }
        }
    }
}

impl fmt::Debug for VulkanQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VulkanQueue").field("hardware", &self.hardware).finish_non_exhaustive()
    }
}

/// Records a list to be submitted once.
///
/// # Safety
/// - The slot is not in use, and its pool is used by this thread alone.
/// - The list passes [`List::check`].
unsafe fn encode(context: &Context, slot: &Slot, list: &Arc<List>) -> Result<()> {
    let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
    let mut encoder = Encoder::new(context, slot.commands, slot.words(), slot.queries(list));
    // SAFETY: by the caller's promises.
    unsafe {
        encoder.record(&begin, |encoder| {
            encoder.reset_queries();
            encoder.list(list)?;
            // The host sees a value and then reads, or writes: results that are mapped, and the words for failures.
            encoder.barrier(vk::PipelineStageFlags::HOST, HOST);
            Ok(())
        })
    }
}

/// Records a list for other command buffers to run, with words of its own for failures.
///
/// # Safety
/// - The command buffer is a secondary one, not in use, and its pool is used by this thread alone.
/// - The list passes [`List::check_inner`].
pub unsafe fn encode_inner(
    context: &Context,
    commands: vk::CommandBuffer,
    words: (vk::Buffer, u64),
    list: &List,
) -> Result<()> {
    let inherited = vk::CommandBufferInheritanceInfo::default();
    let often = vk::CommandBufferUsageFlags::SIMULTANEOUS_USE;
    let begin = vk::CommandBufferBeginInfo::default().flags(often).inheritance_info(&inherited);
    let mut encoder = Encoder::new(context, commands, words, (vk::QueryPool::null(), 0));
    // SAFETY: by the caller's promises.
    unsafe { encoder.record(&begin, |encoder| encoder.commands(list)) }
}

/// Records commands into a command buffer.
struct Encoder<'a> {
    context: &'a Context,
    commands: vk::CommandBuffer,
    /// Where the words for failures are.
    words: (vk::Buffer, u64),
    /// The pool of timestamps, and how many of it the list uses.
    queries: (vk::QueryPool, u32),
    bound: vk::Pipeline,
    /// Kernels so far that can fail.
    failing: u64,
    /// Timestamps so far.
    query: u32,
}

impl<'a> Encoder<'a> {
    fn new(
        context: &'a Context,
        commands: vk::CommandBuffer,
        words: (vk::Buffer, u64),
        queries: (vk::QueryPool, u32),
    ) -> Self {
        Self { context, commands, words, queries, bound: vk::Pipeline::null(), failing: 0, query: 0 }
    }

    /// Begins and ends the command buffer around what `body` records.
    ///
    /// # Safety
    /// - The command buffer is not in use, and its pool is used by this thread alone.
    unsafe fn record(
        &mut self,
        begin: &vk::CommandBufferBeginInfo<'_>,
        body: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let (context, commands) = (self.context, self.commands);
        // SAFETY: the command buffer is not in use, by the caller's promise; beginning resets it.
        unsafe { context.device.begin_command_buffer(commands, begin) }
            .map_err(|e| context.error("vkBeginCommandBuffer", e))?;
        let recorded = body(self);
        // Also after an error: a command buffer that is being recorded cannot be begun again.
        // SAFETY: it is being recorded.
        let ended = unsafe { context.device.end_command_buffer(commands) };
        recorded?;
        ended.map_err(|e| context.error("vkEndCommandBuffer", e))
    }

    fn reset_queries(&self) {
        let (pool, queries) = self.queries;
        if queries > 0 {
            // SAFETY: the pool has so many queries, none of which is in use; here and below: the command buffer is
            // being recorded by this thread, and everything named is the device's.
            unsafe { self.context.device.cmd_reset_query_pool(self.commands, pool, 0, queries) };
        }
    }

    /// A list: in its prepared form, if there is one.
    fn list(&mut self, list: &List) -> Result<()> {
        match PreparedList::of(list, self.context) {
            Some(prepared) => {
                self.execute(prepared);
                Ok(())
            }
            None => self.commands(list),
        }
    }

    /// The prepared form of a list. Its words for failures are the same each time, and the host may not have looked at
    /// those of another submission yet: they are cleared before, and copied to this submission's after.
    fn execute(&mut self, prepared: &PreparedList) {
        let (device, commands) = (&self.context.device, self.commands);
        let bytes = self.context.failure_words.offset(prepared.failing());
        if let Some(words) = prepared.failures() {
            let (buffer, offset) = room::place(words);
            // SAFETY: as in `reset_queries`; whole words, and as many as the piece has. What used them before is
            // ordered before this, as whatever the list writes is (Q1).
            unsafe { device.cmd_fill_buffer(commands, buffer, offset, bytes, 0) };
            self.barrier(STAGES, READS | WRITES);
        }
        // SAFETY: as in `reset_queries`; the secondary command buffer is recorded, for simultaneous use, of the same
        // family, kept by the list, and still what the list says (Q5).
        unsafe { device.cmd_execute_commands(commands, &[prepared.commands()]) };
        self.bound = vk::Pipeline::null();
        if let Some(words) = prepared.failures() {
            self.barrier(STAGES, READS | WRITES);
            let ((from, start), (to, offset)) = (room::place(words), self.next_words());
            let copy = vk::BufferCopy::default().src_offset(start).dst_offset(offset).size(bytes);
            // SAFETY: as in `reset_queries`; both have so many bytes, by `Slot::make_room`.
            unsafe { device.cmd_copy_buffer(commands, from, to, &[copy]) };
            self.failing += prepared.failing();
        }
    }

    fn commands(&mut self, list: &List) -> Result<()> {
        let (device, commands) = (&self.context.device, self.commands);
        let (pool, queries) = self.queries;
        for command in &list.commands {
            match command {
                Command::Dispatch { pipeline, bindings, params, extent } => {
                    let pipeline = VulkanPipeline::of(&*list.pipelines[*pipeline as usize], self.context)?;
                    let params = &list.params[params.range()];
                    self.dispatch(list, pipeline, &list.bindings[bindings.range()], params, *extent)?;
                }
                Command::Run { list: inner, .. } => self.list(&list.lists[*inner as usize])?,
                Command::Copy { bindings } => {
                    let [from, to] = &list.bindings[bindings.range()] else { unreachable!("a copy has two operands") };
                    let copy = vk::BufferCopy::default().src_offset(from.offset).dst_offset(to.offset).size(from.bytes);
                    let (from, to) = (self.buffer(list, from)?, self.buffer(list, to)?);
                    // SAFETY: as in `reset_queries`; the ranges are inside, and do not overlap (Q3, P1).
                    unsafe { device.cmd_copy_buffer(commands, from, to, &[copy]) };
                }
                Command::Fill { bindings, pattern } => {
                    let [to] = &list.bindings[bindings.range()] else { unreachable!("a fill has one operand") };
                    // SAFETY: as in `reset_queries`; whole words, inside (Q3, P1).
                    unsafe { device.cmd_fill_buffer(commands, self.buffer(list, to)?, to.offset, to.bytes, *pattern) };
                }
                Command::Barrier => self.barrier(STAGES, READS | WRITES),
                Command::Timestamp if self.query < queries => {
                    // SAFETY: as in `reset_queries`; a query that was reset and not written yet.
                    unsafe {
                        let stage = vk::PipelineStageFlags::BOTTOM_OF_PIPE;
                        device.cmd_write_timestamp(commands, stage, pool, self.query);
                    }
                    self.query += 1;
                }
                Command::Timestamp => {}
            }
        }
        Ok(())
    }

    fn dispatch(
        &mut self,
        list: &List,
        pipeline: &VulkanPipeline,
        bindings: &[Binding],
        params: &[u8],
        extent: [u32; 3],
    ) -> Result<()> {
        let (device, commands) = (&self.context.device, self.commands);
        let mut buffers = SmallVec::<[[vk::DescriptorBufferInfo; 1]; MAX_BINDINGS + 1]>::new();
        for binding in bindings {
            let buffer = self.buffer(list, binding)?;
            buffers.push([vk::DescriptorBufferInfo { buffer, offset: binding.offset, range: binding.bytes }]);
        }
        if pipeline.fails() {
            let (buffer, offset) = self.next_words();
            let range = FailureWords::<VulkanPipeline>::BYTES;
            buffers.push([vk::DescriptorBufferInfo { buffer, offset, range }]);
            self.failing += 1;
        }
        let mut writes = SmallVec::<[vk::WriteDescriptorSet<'_>; MAX_BINDINGS + 1]>::new();
        for (binding, buffer) in (0..).zip(&buffers) {
            let write = vk::WriteDescriptorSet::default().dst_binding(binding);
            writes.push(write.descriptor_type(vk::DescriptorType::STORAGE_BUFFER).buffer_info(buffer));
        }
        let [x, y, z] = pipeline.groups(extent, params);
        let compute = vk::PipelineBindPoint::COMPUTE;
        // SAFETY: as in `reset_queries`; the descriptors and parameters are those of the pipeline's layout, their
        // ranges inside the buffers, and the number of workgroups within the limits (Q3, P1).
        unsafe {
            if pipeline.raw != self.bound {
                device.cmd_bind_pipeline(commands, compute, pipeline.raw);
                self.bound = pipeline.raw;
            }
            if !writes.is_empty() {
                self.context.push.cmd_push_descriptor_set(commands, compute, pipeline.layout, 0, &writes);
            }
            if !params.is_empty() {
                device.cmd_push_constants(commands, pipeline.layout, vk::ShaderStageFlags::COMPUTE, 0, params);
            }
            device.cmd_dispatch(commands, x, y, z);
        }
        Ok(())
    }

    /// The words of the next kernel that can fail: the buffer, and where they start.
    fn next_words(&self) -> (vk::Buffer, u64) {
        let (buffer, offset) = self.words;
        (buffer, offset + self.context.failure_words.offset(self.failing))
    }

    /// The buffer of a binding.
    fn buffer(&self, list: &List, binding: &Binding) -> Result<vk::Buffer> {
        let memory = &*list.memories[binding.memory as usize];
        Ok(VulkanMemory::of(memory, self.context)?.buffer.raw)
    }

    /// Everything so far, before what comes.
    fn barrier(&self, stages: vk::PipelineStageFlags, accesses: vk::AccessFlags) {
        let barrier = [vk::MemoryBarrier::default().src_access_mask(WRITES).dst_access_mask(accesses)];
        let none = vk::DependencyFlags::empty();
        // SAFETY: as in `reset_queries`.
        unsafe {
            self.context.device.cmd_pipeline_barrier(self.commands, STAGES, stages, none, &barrier, &[], &[]);
        }
    }
}
