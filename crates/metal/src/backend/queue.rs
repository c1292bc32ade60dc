//! Queues: a list becomes a command buffer.

use super::command_queue::Seat;
use super::context::Context;
use super::encoder::{Encoder, needed};
use super::pipeline::MetalPipeline;
use super::pool::pooled;
use super::room::Room;
use super::timeline::{MetalTimeline, Running};
use super::{NAME, Object, nothing};
use block2::RcBlock;
use objc2::msg_send;
use objc2::runtime::ProtocolObject;
use objc2_foundation::{NSError, NSString};
use objc2_metal::{
    MTLCommandBuffer, MTLCommandBufferError, MTLCommandBufferStatus, MTLDevice, MTLFence, MTLSharedEvent,
};
use smallvec::SmallVec;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{Command, Error, Limits, Queue, Report, Reported, Result, Submission, Timeline, Timestamps};

/// A queue, with the timeline that its lists raise.
pub struct MetalQueue {
    /// Where its command buffers come from.
    seat: Arc<Seat>,
    timeline: Arc<MetalTimeline>,
    /// The same.
    handle: Arc<dyn Timeline>,
    context: Arc<Context>,
    /// Orders its lists' encoders, which nothing else does.
    fence: Object<dyn MTLFence>,
    limits: Limits,
    /// For what lists bring along.
    room: Arc<Room>,
}

impl MetalQueue {
    /// # Errors
    /// What Metal says.
    pub fn new(context: &Arc<Context>, room: &Arc<Room>, limits: Limits) -> Result<Self> {
        context.check()?;
        pooled(|| {
            let seat = Arc::new(context.command_queues.seat(context)?);
            let fence = context.device.newFence().ok_or_else(|| nothing("newFence"))?;
            let timeline = MetalTimeline::new(context)?;
            let handle = Arc::<MetalTimeline>::clone(&timeline);
            Ok(Self { seat, timeline, handle, context: Arc::clone(context), fence, limits, room: Arc::clone(room) })
        })
    }
}

impl Queue for MetalQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        &self.handle
    }

    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        let Submission { list, waits, value } = submission;
        let Self { seat, timeline, context, fence, limits, room, .. } = self;
        context.check()?;
        debug_assert_eq!(list.check(limits), Ok(()), "a promise of `Queue::submit`");
        let mut waited = SmallVec::<[Object<dyn MTLSharedEvent>; 4]>::new();
        for wait in waits {
            waited.push(MetalTimeline::of(&wait.timeline, context)?.event().clone());
        }
        pooled(|| {
            let piece = room.take(needed(context, list)?)?;
            let commands = seat.command_buffer().and_then(|commands| {
                for (event, wait) in waited.iter().zip(waits) {
                    commands.encodeWaitForEvent_value(ProtocolObject::from_ref(&**event), wait.value);
                }
                // SAFETY: the list passes (Q3), and the piece is new, with the room that the list needs.
                unsafe { Encoder::encode(context, &commands, fence, &piece, list)? };
                commands.encodeSignalEvent_value(ProtocolObject::from_ref(&**timeline.event()), value);
                Ok(commands)
            })?;
            if context.signposts {
                commands.setLabel(Some(&NSString::from_str(&format!("timeline {} to {value}", timeline.id()))));
            }
            timeline.enter(value, Running { list: Arc::clone(list), piece, _waits: waited });
            // The handler holds the timeline, and so the event that is signalled; the timeline holds the list. The
            // fence and the place on the command queue are held too: the queue may be gone by then.
            let (timeline, fence, seat) = (Arc::clone(timeline), fence.clone(), Arc::clone(seat));
            let handler = RcBlock::new(move |commands: NonNull<ProtocolObject<dyn MTLCommandBuffer>>| {
                let _held = (&fence, &seat);
                // SAFETY: Metal hands over the command buffer, for as long as the handler runs.
                completed(&timeline, value, unsafe { commands.as_ref() });
            });
            // SAFETY: the block is `Send` in all that it holds, and Metal copies it. The command buffer's accesses and
            // those of other lists are ordered (Q1); what it waits for is submitted, so that nothing on this command
            // queue is stuck behind it (Q2); the value rises (Q4). What it uses is held until the handler has been
            // called.
            unsafe { commands.addCompletedHandler(RcBlock::as_ptr(&handler)) };
            commands.commit();
            context.capture.submitted();
            Ok(())
        })
    }
}

/// A list's command buffer is done with, one way or another: the completion handler.
fn completed(timeline: &MetalTimeline, value: u64, commands: &ProtocolObject<dyn MTLCommandBuffer>) {
    pooled(|| {
        let context = timeline.context();
        let error = match commands.status() {
            MTLCommandBufferStatus::Error => Some(commands.error()),
            _ => None,
        };
        if error.as_ref().is_some_and(|error| error.as_deref().is_some_and(is_lost)) {
            // Before the value is raised, so that nobody takes what was not computed.
            context.lose();
        }
        // SAFETY: both methods take nothing and give seconds as a double. (The bindings have them with Core Foundation
        // only.)
        let times = || unsafe { (msg_send![commands, GPUStartTime], msg_send![commands, GPUEndTime]) };
        match &error {
            None => timeline.has_run(value, |running| reports(context, running, value, times)),
            Some(error) => {
                let spoils = !error.as_deref().is_some_and(has_begun);
                timeline.was_stopped(value, spoils, &stopped(error.as_deref()));
            }
        }
    });
}

/// Whether nothing that is submitted afterwards will run either: the system ignores what a process submits that has
/// caused too many errors, and may take the device away.
fn is_lost(error: &NSError) -> bool {
    let code = MTLCommandBufferError(usize::try_from(error.code()).unwrap_or_default());
    matches!(code, MTLCommandBufferError::AccessRevoked | MTLCommandBufferError::DeviceRemoved)
}

/// Whether it is certain that the list had begun, and so that those before it had ended. Of one that never began the
/// fence may count as raised, and then those behind it have not waited for those before it.
fn has_begun(error: &NSError) -> bool {
    let code = MTLCommandBufferError(usize::try_from(error.code()).unwrap_or_default());
    use MTLCommandBufferError as Code;
    matches!(code, Code::Timeout | Code::PageFault | Code::StackOverflow)
}

fn stopped(error: Option<&NSError>) -> Error {
    let message = match error {
        Some(error) => format!("{} (code {})", error.localizedDescription(), error.code()),
        None => "Metal says no reason".to_owned(),
    };
    Error::Driver { device: NAME.to_owned(), call: "running a list", message }
}

/// What there is to say of a list that has run.
fn reports(context: &Context, running: &Running, value: u64, times: impl FnOnce() -> (f64, f64)) -> Vec<Report> {
    let Running { list, piece, .. } = running;
    // SAFETY: the list has run, the words lie at the piece's start (`needed`), and the strides are multiples of 8.
    let read = |offset| unsafe { piece.read(offset) };
    let mut reports: Vec<Report> = context.failure_words.reports(list, value, read).collect();
    let is_time = |(_, command): &(usize, &Command)| matches!(command, Command::Timestamp);
    let mut stamps = list.commands.iter().enumerate().filter(is_time).map(|(at, _)| at).peekable();
    if stamps.peek().is_some() {
        let (start, end) = times();
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        for at in stamps.filter(|at| Timestamps::ByList.takes(list, *at)) {
            let is_first =
                list.commands[..at].iter().all(|command| matches!(command, Command::Barrier | Command::Timestamp));
            let what = Reported::Time(time(if is_first { start } else { end }));
            reports.push(Report { value, command: at as u32, what });
        }
    }
    reports
}

impl fmt::Debug for MetalQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetalQueue").field("timeline", &self.timeline.id()).finish_non_exhaustive()
    }
}

// What the handler holds is used and dropped by a thread of Metal's.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<(Arc<MetalTimeline>, Object<dyn MTLFence>, Running, MetalPipeline)>();
};
