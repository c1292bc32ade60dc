//! What a list needs while it runs: a command buffer, words for what its kernels report, queries for its timestamps.
//! Used again once the list has run.

use crate::context::Context;
use crate::room::{self, Piece, Room};
use crate::sync::lock;
use ash::vk;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thalweg_hal::{Command, List, Report, Reported, Result};

/// The slots of one queue.
pub struct Slots {
    context: Arc<Context>,
    /// For the words.
    room: Arc<Room>,
    /// Used by the thread that submits, which has the queue to itself.
    pool: vk::CommandPool,
    free: Mutex<Vec<Slot>>,
}

/// One slot.
pub struct Slot {
    pub commands: vk::CommandBuffer,
    /// The words for failures, if its list has any.
    words: Option<Piece>,
    queries: vk::QueryPool,
    query_count: u32,
}

impl Slots {
    pub fn new(context: &Arc<Context>, room: &Arc<Room>) -> Result<Self> {
        let flags = vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER;
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(context.family).flags(flags);
        // SAFETY: the family is the device's.
        let pool = unsafe { context.device.create_command_pool(&info, None) };
        let pool = pool.map_err(|e| context.error("vkCreateCommandPool", e))?;
        Ok(Self { context: Arc::clone(context), room: Arc::clone(room), pool, free: Mutex::default() })
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
        match slot.make_room(&self.context, list, &self.room) {
            Ok(()) => Ok(slot),
            Err(error) => {
                self.give_back(slot);
                Err(error)
            }
        }
    }

    /// Its list has run, or was not taken: the words are anybody's.
    pub fn give_back(&self, mut slot: Slot) {
        slot.words = None;
        lock(&self.free).push(slot);
    }

    fn make(&self) -> Result<Slot> {
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        // SAFETY: the pool is used by one thread at a time.
        let commands = unsafe { self.context.device.allocate_command_buffers(&info) };
        let commands = commands.map_err(|e| self.context.error("vkAllocateCommandBuffers", e))?;
        let commands = commands.first().copied().unwrap_or_default();
        Ok(Slot { commands, words: None, queries: vk::QueryPool::null(), query_count: 0 })
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

fn timestamps(list: &List) -> impl Iterator<Item = usize> {
    list.commands
        .iter()
        .enumerate()
        .filter(|(_, command)| matches!(command, Command::Timestamp))
        .map(|(index, _)| index)
}

impl Slot {
    /// Makes the reports of a list fit, and forgets those of the last one.
    fn make_room(&mut self, context: &Context, list: &Arc<List>, room: &Arc<Room>) -> Result<()> {
        let needed = context.failure_words.bytes(list);
        if needed > 0 {
            let words = self.words.insert(room.take(needed)?);
            // SAFETY: it has as many bytes, and is new.
            unsafe { words.clear(needed) };
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

    /// The buffer with the words for failures, and where they start.
    pub fn words(&self) -> (vk::Buffer, u64) {
        self.words.as_ref().map_or((vk::Buffer::null(), 0), room::place)
    }

    /// The pool of timestamps, and how many of it the list uses.
    pub fn queries(&self, list: &List) -> (vk::QueryPool, u32) {
        let queries = if self.query_count == 0 { 0 } else { timestamps(list).count() as u32 };
        (self.queries, queries)
    }

    /// What there is to say of a list that has run.
    pub fn report(&self, context: &Context, list: &Arc<List>, value: u64, reports: &mut Vec<Report>) {
        if let Some(words) = &self.words {
            // SAFETY: inside the piece, which is this list's by `make_room`, and the strides are multiples of 8. The
            // list has run; what the device wrote was made visible to the host by the barrier at its end.
            let read = |offset| unsafe { words.read(offset) };
            reports.extend(context.failure_words.reports(list, value, read));
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
