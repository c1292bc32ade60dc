//! Bytes that nothing has ever written.
//!
//! Plain data. A list's commands count in their order, which is that of any two that touch the same bytes.

use crate::{Access, List, Memory, Violation};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Weak};

/// After so many memories the table is looked through for those that are gone.
const SWEEP: usize = 256;

/// By memory, what of it was never written.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    memories: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    memory: Weak<dyn Memory>,
    /// Disjoint: end by start.
    ranges: BTreeMap<u64, u64>,
}

impl Unwritten {
    /// Enters memory with undefined content.
    pub(super) fn enter(&mut self, memory: &Arc<dyn Memory>) {
        if self.memories.len() >= SWEEP {
            self.memories.retain(|_, entry| entry.memory.strong_count() > 0);
        }
        let entry = Entry { memory: Arc::downgrade(memory), ranges: BTreeMap::from([(0, memory.bytes())]) };
        self.memories.insert(memory.id(), entry);
    }

    /// Something writes bytes.
    pub(super) fn write(&mut self, memory: u64, bytes: Range<u64>) {
        let Some(entry) = self.memories.get_mut(&memory) else { return };
        let ranges = &mut entry.ranges;
        while let Some((start, end)) = ranges.range(..bytes.end).next_back().map(|(start, end)| (*start, *end)) {
            if end <= bytes.start || bytes.is_empty() {
                break;
            }
            ranges.remove(&start);
            if end > bytes.end {
                ranges.insert(bytes.end, end);
            }
            if start < bytes.start {
                ranges.insert(start, bytes.start);
            }
        }
        if ranges.is_empty() {
            self.memories.remove(&memory);
        }
    }

    /// The first of some bytes that nothing has written, if there is one.
    pub(super) fn first(&self, memory: u64, bytes: &Range<u64>) -> Option<u64> {
        let ranges = &self.memories.get(&memory)?.ranges;
        let before = ranges.range(..=bytes.start).next_back().filter(|(_, end)| **end > bytes.start);
        let first = before.map(|_| bytes.start).or_else(|| ranges.range(bytes.clone()).next().map(|(start, _)| *start));
        first.filter(|first| *first < bytes.end)
    }

    /// What a list reads and writes.
    ///
    /// # Errors
    /// The first command that reads what nothing has written; those before it count as done.
    pub(super) fn run(&mut self, list: &Arc<List>) -> Result<(), Violation> {
        for step in List::steps(list) {
            let bindings = step.list.bindings_of(step.command());
            let place = |binding: &crate::Binding| {
                (step.list.memories[binding.memory as usize].id(), binding.offset..binding.offset + binding.bytes)
            };
            for (memory, bytes) in bindings.iter().filter(|binding| binding.access != Access::Write).map(place) {
                if let Some(byte) = self.first(memory, &bytes) {
                    return Err(Violation::Unwritten { command: step.index as usize, memory, byte });
                }
            }
            let written = bindings.iter().filter(|binding| binding.access.writes()).map(place);
            written.for_each(|(memory, bytes)| self.write(memory, bytes));
        }
        Ok(())
    }
}
