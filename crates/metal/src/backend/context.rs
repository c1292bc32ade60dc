//! The device that everything else holds, and whether it is lost.

use super::adapter::Adapter;
use super::capture::Capture;
use super::command_queue::CommandQueues;
use super::options::Options;
use super::pipeline::MetalPipeline;
use super::pool::pooled;
use super::residency::Residency;
use super::timeline::MetalTimeline;
use super::transfer::Transfers;
use super::{NAME, Object, nothing, refused};
use crate::bell::Bell;
use crate::sync::lock;
use objc2_metal::{MTLCommandBuffer, MTLCommandQueue, MTLDevice};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use thalweg_hal::failures::FailureWords;
use thalweg_hal::{Error, KernelSupport, Result, unique_id};

/// From one dispatch's words for a failure to the next one's: each starts where an argument may.
const WORDS: u64 = 16;

/// A device. Let go of when the last object of it is gone.
pub struct Context {
    /// Names the device: objects of another are refused.
    pub id: u64,
    pub device: Object<dyn MTLDevice>,
    pub support: KernelSupport,
    /// Where a list's kernels store why they failed.
    pub failure_words: FailureWords<MetalPipeline>,
    pub residency: Residency,
    pub command_queues: CommandQueues,
    pub transfers: Transfers,
    /// Whether command buffers and dispatches have names.
    pub signposts: bool,
    pub capture: Capture,
    /// Wakes the threads that wait for one of several timelines, or for a doorbell.
    pub bell: Bell,
    /// Those that are told of a lost device.
    timelines: Mutex<Vec<Weak<MetalTimeline>>>,
    lost: AtomicBool,
}

impl Context {
    /// Opens a device.
    ///
    /// # Errors
    /// What it lacks, or what Metal says.
    pub fn new(adapter: &Adapter, options: &Options) -> Result<Self> {
        if let Some(missing) = adapter.missing() {
            return Err(Error::Driver {
                device: format!("{NAME} ({})", adapter.name()),
                call: "opening the device",
                message: missing.to_owned(),
            });
        }
        pooled(|| {
            let device = adapter.raw.clone();
            wake(&device)?;
            Ok(Self {
                id: unique_id(),
                support: adapter.support,
                failure_words: FailureWords::new(WORDS, MetalPipeline::fails),
                residency: Residency::new(&device)?,
                command_queues: CommandQueues::default(),
                transfers: Transfers::new(&device)?,
                signposts: options.signposts,
                capture: Capture::start(&device, options)?,
                bell: Bell::default(),
                timelines: Mutex::default(),
                lost: AtomicBool::new(false),
                device,
            })
        })
    }

    /// The device is lost: nothing that is submitted from now on runs. Everybody who waits looks.
    pub fn lose(&self) {
        // Release: pairs with the Acquire in `is_lost`. A waiting thread looks under its lock, which is taken below to
        // wake it.
        self.lost.store(true, Ordering::Release);
        let timelines: Vec<_> = lock(&self.timelines).iter().filter_map(Weak::upgrade).collect();
        timelines.iter().for_each(|timeline| timeline.wake());
        self.bell.ring();
    }

    /// Whether Metal has said that the device is lost.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// # Errors
    /// That the device is lost.
    pub fn check(&self) -> Result<()> {
        if self.is_lost() { Err(self.lost_error()) } else { Ok(()) }
    }

    pub fn lost_error(&self) -> Error {
        Error::DeviceLost { device: NAME.to_owned() }
    }

    /// Has a timeline told when the device is lost.
    pub fn tell(&self, timeline: &Arc<MetalTimeline>) {
        let mut timelines = lock(&self.timelines);
        timelines.retain(|timeline| timeline.strong_count() > 0);
        timelines.push(Arc::downgrade(timeline));
    }
}

/// Has the device run something. Memory of a process that never did is not given back by the system.
fn wake(device: &Object<dyn MTLDevice>) -> Result<()> {
    let queue = device.newCommandQueue().ok_or_else(|| nothing("newCommandQueue"))?;
    let commands = queue.commandBuffer().ok_or_else(|| nothing("commandBuffer"))?;
    commands.commit();
    commands.waitUntilCompleted();
    match commands.error() {
        Some(error) => Err(refused("the first command buffer", &error)),
        None => Ok(()),
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("id", &self.id).finish_non_exhaustive()
    }
}
