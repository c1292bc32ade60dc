//! Operations on their way into a graph: plain data, private to the capture.

use crate::api::pool::Pool;
use crate::api::storage::{Operand, Storage};
use crate::base::error::{Error, Result};
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::base::wait_policy::WaitPolicy;
use crate::engine::instance::Instance;
use crate::engine::span::PoolSpan;
use crate::order::plan::{Buffer, Plan, plan};
use crate::order::work::{Bound, Work, push_command};
use std::sync::Arc;
use thalweg_hal::{Binding, List, Memory};

/// Set in a binding's memory while it is the number of a buffer, which has no memory yet.
const BUFFER: u32 = 1 << 31;

/// One capture. The closure's thread fills it, and so do threads that it hands the stream to.
pub(crate) struct Capture {
    recording: Mutex<Recording>,
}

/// What has been captured so far.
#[derive(Default)]
struct Recording {
    /// Without barriers; bindings of captured storages name buffers.
    list: List,
    buffers: Vec<Buffer>,
    /// The frozen memory that is read.
    kept: Vec<Arc<PoolSpan>>,
    /// The first thing that was asked for and cannot be captured.
    refused: Option<&'static str>,
    /// Nothing is captured any more.
    ended: bool,
}

/// What a finished capture comes to.
pub(crate) struct Captured {
    /// Bindings of the graph's own memory name memory 0 and are relative to its start.
    pub(crate) list: List,
    pub(crate) bytes: u64,
    /// Frozen memory that the list reads, kept from being used again.
    _kept: Vec<Arc<PoolSpan>>,
    /// First byte and length of the inputs in the graph's memory.
    pub(crate) inputs: Vec<(u64, u64)>,
    /// Likewise, of the outputs.
    pub(crate) outputs: Vec<(u64, u64)>,
}

impl Captured {
    /// Memory for one run, and the list in it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or what the device says.
    pub(super) fn instance(&self, pool: &Pool, policy: WaitPolicy) -> Result<Instance> {
        Instance::new(pool.take(self.bytes, policy)?, &self.list)
    }
}

impl Capture {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { recording: Mutex::new(Rank::Capture, Recording::default()) })
    }

    /// A buffer of the graph.
    pub(crate) fn buffer(&self, bytes: u64, input: bool) -> Result<u32> {
        let mut recording = self.recording.lock();
        recording.check()?;
        recording.buffers.push(Buffer { bytes, input, output: false });
        Ok(recording.buffers.len() as u32 - 1)
    }

    /// Notes that something was asked for that cannot be captured: the capture has failed.
    pub(crate) fn refuse(&self, operation: &'static str) -> Error {
        let mut recording = self.recording.lock();
        if recording.ended {
            return Error::CaptureEnded;
        }
        recording.refused.get_or_insert(operation);
        Error::NotCapturable { operation }
    }

    /// Nothing is captured any more.
    pub(crate) fn end(&self) {
        let ended = std::mem::replace(&mut *self.recording.lock(), Recording { ended: true, ..Recording::default() });
        drop(ended); // with nothing locked
    }

    /// Whether everything so far could be captured.
    pub(crate) fn check(&self) -> Result<()> {
        self.recording.lock().check()
    }

    /// Adds an operation that has been [checked](crate::api::check::operation).
    pub(crate) fn record(self: &Arc<Self>, work: &Work<'_>, operands: &[Operand<'_>]) -> Result<()> {
        for (index, operand) in operands.iter().enumerate() {
            let own = operand.storage.captured().is_some_and(|(capture, _)| Arc::ptr_eq(capture, self));
            if !own && !operand.storage.is_frozen() {
                return Err(Error::NotAnInput { operand: index });
            }
        }
        let mut recording = self.recording.lock();
        recording.check()?;
        let Recording { list, kept, .. } = &mut *recording;
        for span in operands.iter().filter_map(|operand| operand.storage.frozen_span()) {
            if !kept.iter().any(|known| Arc::ptr_eq(known, span)) {
                kept.push(Arc::clone(span));
            }
        }
        for operand in operands {
            let memory = match operand.storage.captured() {
                Some((_, buffer)) => BUFFER | buffer,
                None => memory_index(list, operand.memory()),
            };
            list.bindings.push(operand.binding(memory));
        }
        push_command(list, work, operands.len());
        Ok(())
    }

    /// Ends the capture. Outputs are storages of it, or frozen.
    pub(crate) fn finish(self: &Arc<Self>, inputs: &[u64], outputs: &[&Storage]) -> Result<Captured> {
        let mut buffers = Vec::with_capacity(outputs.len());
        for (index, storage) in outputs.iter().enumerate() {
            let buffer = match storage.captured() {
                Some((capture, buffer)) if Arc::ptr_eq(capture, self) => buffer,
                _ if storage.is_frozen() => {
                    // A replay gives a copy of its own each time.
                    let mut copy = storage.captured_like(self)?;
                    let buffer = copy.captured().map_or(0, |(_, buffer)| buffer);
                    let bytes = storage.bytes();
                    if bytes > 0 {
                        let operands = [Operand::read(storage, 0, bytes), Operand::write(&mut copy).first(bytes)];
                        self.record(&Work::Copy, &operands)?;
                    }
                    buffer
                }
                _ => return Err(Error::NotAnOutput { output: index }),
            };
            buffers.push((buffer, storage.bytes()));
        }
        let mut recording = self.recording.lock();
        recording.check()?;
        recording.ended = true;
        let Recording { mut list, buffers: mut all, kept, .. } = std::mem::take(&mut *recording);
        recording.ended = true;
        drop(recording);
        buffers.iter().for_each(|(buffer, _)| all[*buffer as usize].output = true);
        let buffer_of =
            |binding: &Binding| (binding.memory & BUFFER != 0).then_some((binding.memory & !BUFFER) as usize);
        let Plan { commands, offsets, bytes } = plan(&list, &all, buffer_of);
        for binding in &mut list.bindings {
            match buffer_of(binding) {
                Some(buffer) => (binding.memory, binding.offset) = (0, binding.offset + offsets[buffer]),
                // Behind the graph's own.
                None => binding.memory += 1,
            }
        }
        list.commands = commands;
        let inputs = inputs.iter().zip(&offsets).map(|(bytes, offset)| (*offset, *bytes)).collect();
        let outputs = buffers.into_iter().map(|(buffer, bytes)| (offsets[buffer as usize], bytes)).collect();
        Ok(Captured { list, bytes, _kept: kept, inputs, outputs })
    }
}

impl Recording {
    fn check(&self) -> Result<()> {
        match self.refused {
            Some(operation) => Err(Error::NotCapturable { operation }),
            None if self.ended => Err(Error::CaptureEnded),
            None => Ok(()),
        }
    }
}

/// The list holds each memory once.
fn memory_index(list: &mut List, memory: &Arc<dyn Memory>) -> u32 {
    let known = list.memories.iter().rposition(|known| known.id() == memory.id());
    known.unwrap_or_else(|| {
        list.memories.push(Arc::clone(memory));
        list.memories.len() - 1
    }) as u32
}
