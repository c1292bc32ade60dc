//! Command queues: one for each queue of ours, up to a number; then they are shared.

use super::context::Context;
use super::{NAME, Object, nothing};
use crate::sync::lock;
use objc2_metal::{MTLCommandBuffer, MTLCommandQueue, MTLDevice};
use std::sync::{Arc, Mutex};
use thalweg_hal::{Error, Result};

/// Command queues of a device. The system refuses more than some hundreds in a process, and is no faster with many.
const QUEUES: usize = 32;
/// Queues of ours that share one.
const SHARERS: usize = 64;
/// Lists of one of ours in flight: enough to keep the device busy while the host records.
pub const LISTS: usize = 64;

/// Those of a device.
#[derive(Default)]
pub struct CommandQueues(Mutex<Vec<Arc<CommandQueue>>>);

/// One, which several of our queues may share. Any thread may use it.
struct CommandQueue {
    raw: Object<dyn MTLCommandQueue>,
    /// Whoever has a seat.
    sharers: Mutex<usize>,
}

/// The right to have [`LISTS`] lists in flight on a command queue. Given back when the last of them has run.
pub struct Seat(Arc<CommandQueue>);

impl CommandQueues {
    /// A seat on the command queue that fewest share.
    ///
    /// # Errors
    /// If all are taken, or Metal makes no further queue.
    pub fn seat(&self, context: &Context) -> Result<Seat> {
        let mut queues = lock(&self.0);
        let least = queues.iter().min_by_key(|queue| *lock(&queue.sharers)).cloned();
        let queue = match least {
            Some(queue) if queues.len() == QUEUES || *lock(&queue.sharers) == 0 => queue,
            _ => {
                let queue = Arc::new(CommandQueue::new(context)?);
                queues.push(Arc::clone(&queue));
                queue
            }
        };
        let mut sharers = lock(&queue.sharers);
        if *sharers == SHARERS {
            let message = format!("all {} queues are in use", QUEUES * SHARERS);
            return Err(Error::Driver { device: NAME.to_owned(), call: "create_queue", message });
        }
        *sharers += 1;
        drop(sharers);
        Ok(Seat(queue))
    }
}

impl CommandQueue {
    fn new(context: &Context) -> Result<Self> {
        // A command buffer counts from when it is made until its handlers have returned, which is a moment after the host sees
        // its value: so there is room for one more of each.
        let raw = context.device.newCommandQueueWithMaxCommandBufferCount(SHARERS * (LISTS + 1));
        let raw = raw.ok_or_else(|| nothing("newCommandQueueWithMaxCommandBufferCount:"))?;
        context.residency.serve(&raw);
        Ok(Self { raw, sharers: Mutex::default() })
    }
}

impl Seat {
    /// A command buffer, which retains nothing: whatever the device uses is held until it has run. It counts from now, so it
    /// is made when there is something to put into it.
    ///
    /// # Errors
    /// If Metal makes none.
    pub fn command_buffer(&self) -> Result<Object<dyn MTLCommandBuffer>> {
        let made = self.0.raw.commandBufferWithUnretainedReferences();
        made.ok_or_else(|| nothing("commandBufferWithUnretainedReferences"))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *lock(&self.0.sharers) -= 1;
    }
}
