//! What a list needs while it runs: a command buffer, words for what its kernels report, queries for its timestamps. Used
//! again once the list has run.

use crate::context::Context;
use crate::memory::Buffer;
use crate::pipeline::VulkanPipeline;
use crate::sync::lock;
use ash::vk;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thalweg_hal::{Command, Error, KernelFailure, List, MemoryKind, Report, Reported, Result};

/// Words that a kernel has for a failure: which, and a number of its own.
const FAILURE_BYTES: u64 = 8;

/// The slots of one queue.
pub struct Slots {
    context: Arc<Context>,
    /// Used by the thread that submits, which has the queue to itself.
    pool: vk::CommandPool,
    free: Mutex<Vec<Slot>>,
}

/// One slot.
pub struct Slot {
    pub commands: vk::CommandBuffer,
    failures: Option<Buffer>,
    queries: vk::QueryPool,
    query_count: u32,
}

impl Slots {
    pub fn new(context: &Arc<Context>) -> Result<Self> {
        let flags = vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER;
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(context.family).flags(flags);
        // SAFETY: the family is the device's.
        let pool = unsafe { context.device.create_command_pool(&info, None) };
        let pool = pool.map_err(|e| context.error("vkCreateCommandPool", e))?;
        Ok(Self { context: Arc::clone(context), pool, free: Mutex::default() })
    }

    /// A slot with room for a list's reports. Only for the thread that submits.
    ///
    /// # Errors
    /// What the driver says.
    pub fn take(&self, list: &Arc<List>) -> Result<Slot> {
        let free = lock(&self.free).pop();
        let mut slot = match free {
            Some(slot) => slot,
            None => self.make()?,
        };
        match slot.make_room(&self.context, list) {
            Ok(()) => Ok(slot),
            Err(error) => {
                self.give_back(slot);
                Err(error)
            }
        }
    }

    pub fn give_back(&self, slot: Slot) {
        lock(&self.free).push(slot);
    }

    fn make(&self) -> Result<Slot> {
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        // SAFETY: the pool is used by one thread at a time.
        let commands = unsafe { self.context.device.allocate_command_buffers(&info) };
        let commands = commands.map_err(|e| self.context.error("vkAllocateCommandBuffers", e))?;
        let commands = commands.first().copied().unwrap_or_default();
        Ok(Slot { commands, failures: None, queries: vk::QueryPool::null(), query_count: 0 })
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let free = self.free.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        for slot in free.drain(..) {
            // SAFETY: a free slot is not in use. Null is allowed.
            unsafe { self.context.device.destroy_query_pool(slot.queries, None) };
        }
        // SAFETY: a list that runs holds the slots, so no command buffer of the pool is in use.
        unsafe { self.context.device.destroy_command_pool(self.pool, None) };
    }
}

/// The kernels of a list that can fail, those of lists that it runs among them, as their commands' indices, in order.
fn fallible(list: &Arc<List>) -> impl Iterator<Item = (u32, &VulkanPipeline)> {
    List::steps(list).filter_map(|step| {
        let Command::Dispatch { pipeline, .. } = step.command() else { return None };
        let pipeline = VulkanPipeline::known(&*step.list.pipelines[*pipeline as usize])?;
        pipeline.fails().then_some((step.index, pipeline))
    })
}

/// Bytes of the words that the kernels of a list have for their failures.
pub fn failure_bytes(context: &Context, list: &Arc<List>) -> u64 {
    fallible(list).count() as u64 * failure_stride(context)
}

fn timestamps(list: &List) -> impl Iterator<Item = usize> {
    list.commands
        .iter()
        .enumerate()
        .filter(|(_, command)| matches!(command, Command::Timestamp))
        .map(|(index, _)| index)
}

impl Slot {
    /// Makes the reports of a list fit, and forgets those of the last one.
    fn make_room(&mut self, context: &Arc<Context>, list: &Arc<List>) -> Result<()> {
        let needed = failure_bytes(context, list);
        if needed > 0 {
            if self.failures.as_ref().is_none_or(|buffer| buffer.bytes() < needed) {
                self.failures = Some(Buffer::new(context, needed.next_power_of_two(), MemoryKind::Host)?);
            }
            let mapped = self.failures.as_ref().and_then(Buffer::mapped);
            let Some(mapped) = mapped else {
                let message = "it has no memory that the host sees".to_owned();
                return Err(Error::Driver { device: crate::NAME.to_owned(), call: "vkAllocateMemory", message });
            };
            // SAFETY: the buffer has at least so many bytes, and its last list has run.
            unsafe { mapped.write_bytes(0, needed as usize) };
        }
        let queries = timestamps(list).count() as u32;
        if queries > self.query_count && context.clock.is_some() {
            let count = queries.next_power_of_two();
            let info = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(count);
            // SAFETY: a valid description.
            let pool = unsafe { context.device.create_query_pool(&info, None) };
            let pool = pool.map_err(|e| context.error("vkCreateQueryPool", e))?;
            // SAFETY: the last list that used the old one has run. Null is allowed.
            unsafe { context.device.destroy_query_pool(self.queries, None) };
            (self.queries, self.query_count) = (pool, count);
        }
        Ok(())
    }

    /// The buffer with the words for failures.
    pub fn failure_buffer(&self) -> vk::Buffer {
        self.failures.as_ref().map_or(vk::Buffer::null(), |buffer| buffer.raw)
    }

    /// The words of the `index`-th kernel that can fail.
    pub fn failure_words(context: &Context, index: u64) -> (u64, u64) {
        (index * failure_stride(context), FAILURE_BYTES)
    }

    /// The pool of timestamps, and how many of it the list uses.
    pub fn queries(&self, list: &List) -> (vk::QueryPool, u32) {
        let queries = if self.query_count == 0 { 0 } else { timestamps(list).count() as u32 };
        (self.queries, queries)
    }

    /// What there is to say of a list that has run.
    pub fn report(&self, context: &Context, list: &Arc<List>, value: u64, reports: &mut Vec<Report>) {
        if let Some(mapped) = self.failures.as_ref().and_then(Buffer::mapped) {
            for (at, (command, pipeline)) in fallible(list).enumerate() {
                let (offset, _) = Self::failure_words(context, at as u64);
                // SAFETY: inside the buffer, by `make_room`; aligned, because the stride is; written by the device before
                // the value that was seen, with a barrier to the host.
                let [code, number] = unsafe { mapped.add(offset as usize).cast::<[u32; 2]>().read_volatile() };
                if code != 0 {
                    let failure = pipeline.failure(code, number);
                    let kernel = pipeline.name().to_owned();
                    let what = Reported::Failed(Error::Kernel { kernel, failure });
                    reports.push(Report { value, command, what });
                }
            }
        }
        let (pool, count) = self.queries(list);
        let Some(clock) = context.clock.filter(|_| count > 0) else { return };
        let mut counts = vec![0u64; count as usize];
        let flags = vk::QueryResultFlags::TYPE_64;
        // SAFETY: the pool has so many queries, and the list that wrote them has run.
        if let Err(error) = unsafe { context.device.get_query_pool_results(pool, 0, &mut counts, flags) } {
            // A time that is not there is not reported; a lost device is remembered.
            let _ = context.error("vkGetQueryPoolResults", error);
            return;
        }
        for (command, count) in timestamps(list).zip(counts) {
            // In 1/2^32 nanoseconds: a count may have all of 64 bits, which a float does not.
            let nanoseconds = (u128::from(count & clock.mask) * u128::from(clock.period)) >> 32;
            let what = Reported::Time(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)));
            reports.push(Report { value, command: command as u32, what });
        }
    }
}

/// From one kernel's words to the next one's.
pub fn failure_stride(context: &Context) -> u64 {
    FAILURE_BYTES.max(context.limits.min_storage_buffer_offset_alignment)
}

/// What a kernel's words say.
pub fn failure(failures: &[&'static str], code: u32, number: u32) -> KernelFailure {
    match failures.get(code as usize - 1) {
        Some(text) => KernelFailure::new(format!("{text} ({number})")),
        None => KernelFailure::new(format!("failure {code} ({number})")),
    }
}
