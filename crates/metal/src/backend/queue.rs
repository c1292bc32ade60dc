//! Queues: a list becomes a command buffer.

use super::context::Context;
use super::encoder::{Encoder, room};
use super::pipeline::MetalPipeline;
use super::pool::pooled;
use super::ring::Ring;
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
    timeline: Arc<MetalTimeline>,
    /// The same.
    handle: Arc<dyn Timeline>,
    context: Arc<Context>,
    /// Orders its lists' encoders, which nothing else does.
    fence: Object<dyn MTLFence>,
    limits: Limits,
    ring: Ring,
}

impl MetalQueue {
    /// # Errors
    /// What Metal says.
    pub fn new(context: &Arc<Context>, limits: Limits) -> Result<Self> {
        context.check()?;
        pooled(|| {
            let seat = context.command_queues.seat(context)?;
            let fence = context.device.newFence().ok_or_else(|| nothing("newFence"))?;
            let timeline = MetalTimeline::new(context, seat)?;
            let handle = Arc::<MetalTimeline>::clone(&timeline);
            Ok(Self { timeline, handle, context: Arc::clone(context), fence, limits, ring: Ring::default() })
        })
    }
}

impl Queue for MetalQueue {
    fn timeline(&self) -> &Arc<dyn Timeline> {
        &self.handle
    }

    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()> {
        let Submission { list, waits, value } = submission;
        let Self { timeline, context, fence, limits, ring, .. } = self;
        context.check()?;
        debug_assert_eq!(list.check(limits), Ok(()), "a promise of `Queue::submit`");
        let mut waited = SmallVec::<[Object<dyn MTLSharedEvent>; 4]>::new();
        for wait in waits {
            waited.push(MetalTimeline::of(&wait.timeline, context)?.event().clone());
        }
        pooled(|| {
            let piece = ring.cut(context, room(context, list)?)?;
            let encoded = timeline.seat().command_buffer().and_then(|commands| {
                for (event, wait) in waited.iter().zip(waits) {
                    commands.encodeWaitForEvent_value(ProtocolObject::from_ref(&**event), wait.value);
                }
                // SAFETY: the list passes (Q3), and the piece is new, with the room that the list needs.
                unsafe { Encoder::encode(context, &commands, fence, &piece, list)? };
                commands.encodeSignalEvent_value(ProtocolObject::from_ref(&**timeline.event()), value);
                Ok(commands)
            });
            let commands = match encoded {
                Ok(commands) => commands,
                Err(error) => {
                    ring.uncut(piece);
                    return Err(error);
                }
            };
            if context.signposts {
                commands.setLabel(Some(&NSString::from_str(&format!("timeline {} to {value}", timeline.id()))));
            }
            timeline.enter(value, Running { list: Arc::clone(list), piece, _waits: waited });
            // The handler holds the timeline, and so the event that is signalled; the timeline holds the list. The fence is held
            // too: the queue may be gone by then.
            let (timeline, fence) = (Arc::clone(timeline), fence.clone());
            let handler = RcBlock::new(move |commands: NonNull<ProtocolObject<dyn MTLCommandBuffer>>| {
                let _fence = &fence;
                // SAFETY: Metal hands over the command buffer, for as long as the handler runs.
                completed(&timeline, value, unsafe { commands.as_ref() });
            });
            // SAFETY: the block is `Send` in all that it holds, and Metal copies it. The command buffer's accesses and those of
            // other lists are ordered (Q1); what it waits for is submitted, so that nothing on this command queue is stuck behind
            // it (Q2); the value rises (Q4). What it uses is held until the handler has been called.
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
        if let Some(error) = &error {
            if error.as_deref().is_some_and(is_lost) {
                // Before the value is raised, so that nobody takes what was not computed.
                context.lose();
            }
            // The device did not come to it, and lists of other queues may wait for it.
            if timeline.event().signaledValue() < value {
                timeline.event().setSignaledValue(value);
            }
        }
        // SAFETY: both methods take nothing and give seconds as a double. (The bindings have them with Core Foundation only.)
        let times = || unsafe { (msg_send![commands, GPUStartTime], msg_send![commands, GPUEndTime]) };
        timeline.has_run(value, |running| match &error {
            None => reports(context, running, value, times),
            Some(error) => failures(running, value, &stopped(error.as_deref())),
        });
    });
}

/// Whether nothing that is submitted afterwards will run either: the system ignores what a process submits that has caused too
/// many errors, and may take the device away.
fn is_lost(error: &NSError) -> bool {
    let code = MTLCommandBufferError(usize::try_from(error.code()).unwrap_or_default());
    matches!(code, MTLCommandBufferError::AccessRevoked | MTLCommandBufferError::DeviceRemoved)
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
    // SAFETY: the list has run, the words lie at the piece's start (`room`), and the strides are multiples of 8.
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

/// The same of a list that the device stopped: nothing of it can be used.
fn failures(running: &Running, value: u64, error: &Error) -> Vec<Report> {
    let does_something = |command: &Command| !matches!(command, Command::Barrier | Command::Timestamp);
    let commands = (0..).zip(&running.list.commands).filter(|(_, command)| does_something(command));
    let report = |(command, _)| Report { value, command, what: Reported::Failed(error.clone()) };
    commands.map(report).collect()
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
