//! One memory that a graph runs in, and the replay of it as an operation.

use super::Engine;
use super::span::PoolSpan;
use crate::base::error::Result;
use crate::base::fork;
use crate::memory::hazard::Hazard;
use crate::order::point::Points;
use crate::order::uses::Uses;
use std::sync::Arc;
use thalweg_hal::{Access, Binding, List, Memory};

/// Memory of a graph, and its list in that memory.
pub(crate) struct Instance {
    pub(crate) list: Arc<List>,
    /// Kept from being used again before the last run has settled.
    span: PoolSpan,
    /// The uses of all of it: a replay writes it, whole.
    pub(crate) hazard: Hazard,
}

impl Instance {
    /// Has the device prepare a list in some memory. Nothing is locked meanwhile.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn new(span: PoolSpan, list: &List) -> Result<Self> {
        let (memory, base) = (span.memory(), span.offset());
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
        unsafe { span.engine().hal.prepare(&list)? };
        Ok(Self { list, span, hazard: Hazard::new(Uses::default()) })
    }

    /// Where its memory starts.
    pub(crate) fn offset(&self) -> u64 {
        self.span.offset()
    }

    /// What copies in and out bind.
    pub(crate) fn memory(&self) -> &Arc<dyn Memory> {
        self.span.memory()
    }

    /// First byte and length of its memory, if that has to be filled before the first run. The caller holds the hazard.
    /// Says so once.
    pub(crate) fn to_be_filled(&self) -> Option<(u64, u64)> {
        let is_raw = self.span.is_raw();
        self.span.set_filled();
        is_raw.then(|| (self.span.offset(), self.span.bytes()))
    }

    /// Settles the runs of it that are over. The caller has nothing locked.
    pub(crate) fn settle(&self, engine: &Engine) {
        let Some(uses) = self.hazard.uses.try_lock() else { return };
        let lists: Points = uses.before(Access::Write).map(|by| by.at).collect();
        drop(uses);
        for at in lists {
            // What keeps one from settling keeps the instance in use.
            let _ = engine.settle(at);
        }
    }

    /// Whether no run of it is outstanding. Never waits: one that somebody is just recording on is in use.
    pub(crate) fn is_idle(&self, engine: &Engine) -> bool {
        let uses = self.hazard.uses.try_lock();
        uses.is_some_and(|mut uses| uses.clear_if_settled(|stream| engine.settled(stream)))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if fork::forked() {
            // The driver is the parent's.
            std::mem::forget(Arc::clone(&self.list));
        }
    }
}
