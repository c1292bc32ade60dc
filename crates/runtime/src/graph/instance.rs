//! One memory that a graph runs in, and the replay of it as an operation.

use super::capture::Captured;
use crate::device::DeviceCore;
use crate::error::Result;
use crate::hazard::{Hazard, Uses};
use crate::life;
use crate::memory::{Operand, Pool, PoolSpan, Storage};
use crate::patience::Patience;
use smallvec::SmallVec;
use std::sync::Arc;
use thalweg_hal::{Access, Binding, List, Memory};

/// Memory of a graph, and its list in that memory.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) list: Arc<List>,
    /// Kept from being used again before the last run has settled.
    span: PoolSpan,
    /// The uses of all of it: a replay writes it, whole.
    pub(crate) hazard: Hazard,
}

impl Instance {
    /// Takes memory and has the device prepare the list in it. Nothing is locked meanwhile.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or what the device says.
    pub(crate) fn new(pool: &Pool, captured: &Captured, patience: Patience) -> Result<Self> {
        let span = pool.take(captured.bytes, patience)?;
        let (memory, base) = (span.memory(), span.offset());
        let list = &captured.list;
        let own = |binding: &Binding| {
            let base = if binding.memory == 0 { base } else { 0 };
            Binding { offset: binding.offset + base, ..*binding }
        };
        let list = Arc::new(List {
            commands: list.commands.clone(),
            bindings: list.bindings.iter().map(own).collect(),
            params: list.params.clone(),
            memories: std::iter::once(memory).chain(&list.memories).cloned().collect(),
            pipelines: list.pipelines.clone(),
            ..List::default()
        });
        // SAFETY: each command was checked when it was captured, and lies in the instance's memory as it lay in its
        // buffers.
        unsafe { pool.device().core.hal.prepare(&list)? };
        Ok(Self { list, span, hazard: Hazard::new(Uses::default()) })
    }

    /// What copies in and out bind.
    pub(crate) fn memory(&self) -> &Arc<dyn Memory> {
        self.span.memory()
    }

    /// First byte and length of its memory if the caller, who holds the hazard, has to fill it before the first run.
    /// Says so once.
    pub(crate) fn to_be_filled(&self) -> Option<(u64, u64)> {
        let is_raw = self.span.is_raw();
        self.span.set_filled();
        is_raw.then(|| (self.span.offset(), self.span.bytes()))
    }

    /// Whether no run of it is outstanding. Never waits: one that somebody is just recording on is in use.
    pub(crate) fn is_idle(&self, core: &DeviceCore) -> bool {
        let uses = self.hazard.uses.try_lock();
        uses.is_some_and(|mut uses| uses.clear_if_settled(|stream| core.stream(stream).settled()))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if life::forked() {
            // The driver is the parent's.
            std::mem::forget(Arc::clone(&self.list));
        }
    }
}

/// One run of a graph, as an operation: copies in, the run, copies out, with barriers between.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    pub(crate) instance: &'a Instance,
    /// Inputs, then outputs; those of no bytes left out.
    pub(crate) operands: SmallVec<[Operand<'a>; 8]>,
    /// Of each operand, first byte and length in the instance's memory.
    regions: SmallVec<[(u64, u64); 8]>,
    inputs: usize,
}

impl<'a> Replay<'a> {
    /// The operands fit the graph.
    pub(crate) fn new(
        instance: &'a Instance,
        captured: &Captured,
        inputs: &[Operand<'a>],
        outputs: &'a mut [Storage],
    ) -> Self {
        let mut replay = Self { instance, operands: SmallVec::new(), regions: SmallVec::new(), inputs: 0 };
        let mut enter = |operand: Operand<'a>, (offset, bytes): (u64, u64)| {
            if bytes > 0 {
                replay.operands.push(Operand { bytes, ..operand });
                replay.regions.push((instance.span.offset() + offset, bytes));
            }
        };
        // Whatever else the caller may do with an input, a run reads it.
        let read = |input: &Operand<'a>| Operand { access: Access::Read, ..*input };
        inputs.iter().zip(&captured.inputs).for_each(|(input, region)| enter(read(input), *region));
        outputs.iter_mut().zip(&captured.outputs).for_each(|(output, region)| enter(Operand::write(output), *region));
        replay.inputs = replay.operands.iter().take_while(|operand| operand.access == Access::Read).count();
        replay
    }

    /// A part of the instance's memory that an operand is copied to or from: as a binding of a list that has that memory.
    pub(crate) fn region(&self, operand: usize, memory: u32, access: Access) -> Binding {
        let (offset, bytes) = self.regions[operand];
        Binding { memory, access, offset, bytes }
    }

    /// The operands that are copied in.
    pub(crate) fn inputs(&self) -> std::ops::Range<usize> {
        0..self.inputs
    }

    /// The operands that are copied out.
    pub(crate) fn outputs(&self) -> std::ops::Range<usize> {
        self.inputs..self.operands.len()
    }
}
