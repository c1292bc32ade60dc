//! Command queues: one for each queue of ours, up to a number; then they are shared.

use super::context::Context;
use super::{NAME, Object, nothing};
use crate::sync::lock;
use objc2_metal::{MTLCommandBuffer, MTLCommandQueue, MTLDevice};
use std::sync::{Arc, Mutex, OnceLock};
use thalweg_hal::{Error, Result};

/// Command queues of a device. The system refuses more than some hundreds in a process, and is no faster with many.
const QUEUES: usize = 32;
/// Queues of ours that share one.
const SHARERS: usize = 64;
/// Lists of one of ours in flight: enough to keep the device busy while the host records.
pub const LISTS: usize = 64;

/// Those of a device.
#[derive(Default)]
pub struct CommandQueues {
    /// Made on first use, with nothing locked.
    queues: [OnceLock<Object<dyn MTLCommandQueue>>; QUEUES],
    taken: Arc<Taken>,
}

/// How many seats of each command queue are taken.
type Taken = Mutex<[usize; QUEUES]>;

/// The right to have [`LISTS`] lists in flight on a command queue. Given back when the last of them has run.
pub struct Seat {
    queue: Object<dyn MTLCommandQueue>,
    _place: Place,
}

/// One that is taken.
struct Place {
    at: usize,
    taken: Arc<Taken>,
}

impl CommandQueues {
    /// A seat on the command queue that has fewest taken.
    ///
    /// # Errors
    /// If all are taken, or Metal makes no further queue.
    pub fn seat(&self, context: &Context) -> Result<Seat> {
        let place = self.place().ok_or_else(|| {
            let message = format!("all {} queues are in use", QUEUES * SHARERS);
            Error::Driver { device: NAME.to_owned(), call: "create_queue", message }
        })?;
        let slot = &self.queues[place.at];
        let queue = match slot.get() {
            Some(queue) => queue.clone(),
            None => {
                let made = make(context)?;
                // Two threads that share it may make one each: one of the two is dropped.
                slot.get_or_init(|| made).clone()
            }
        };
        Ok(Seat { queue, _place: place })
    }

    fn place(&self) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let at = (0..QUEUES).min_by_key(|at| taken[*at]).filter(|at| taken[*at] < SHARERS)?;
        taken[at] += 1;
        Some(Place { at, taken: Arc::clone(&self.taken) })
    }
}

fn make(context: &Context) -> Result<Object<dyn MTLCommandQueue>> {
    // A command buffer counts from when it is made until its handlers have returned, which is a moment after the host
    // sees its value: so there is room for one more of each.
    let made = context.device.newCommandQueueWithMaxCommandBufferCount(SHARERS * (LISTS + 1));
    let made = made.ok_or_else(|| nothing("newCommandQueueWithMaxCommandBufferCount:"))?;
    context.residency.serve(&made);
    Ok(made)
}

impl Seat {
    /// A command buffer, which retains nothing: what the device uses is held until it has run. It counts from now, so
    /// it is made when there is something to put into it.
    ///
    /// # Errors
    /// If Metal makes none.
    pub fn command_buffer(&self) -> Result<Object<dyn MTLCommandBuffer>> {
        let made = self.queue.commandBufferWithUnretainedReferences();
        made.ok_or_else(|| nothing("commandBufferWithUnretainedReferences"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.taken)[self.at] -= 1;
    }
}
