//! What a list is made of. Plain data: indices into the list's own tables, no reference counts.

use std::fmt;

/// What a kernel does to the bytes of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads them.
    Read,
    /// Writes every byte, and reads none that it has not written.
    Write,
    /// Reads and writes them in place.
    ReadWrite,
}

impl Access {
    /// Whether the bytes may change.
    pub fn writes(self) -> bool {
        self != Self::Read
    }
}

/// In words, after "is": "read", "written".
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "written",
            Self::ReadWrite => "changed in place",
        })
    }
}

/// A range of a memory, as one operand of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Index into the list's table of memories.
    pub memory: u32,
    /// What the command does with the bytes.
    pub access: Access,
    /// First byte, a multiple of [`crate::BINDING_ALIGNMENT`].
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Binding {
    /// Whether two bindings, neither of which ends past the largest offset, share a byte.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.memory == other.memory
            && self.bytes > 0
            && other.bytes > 0
            && self.offset < other.offset + other.bytes
            && other.offset < self.offset + self.bytes
    }
}

/// A run of entries in one of the list's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRange {
    /// First entry.
    pub start: u32,
    /// Number of entries.
    pub len: u32,
}

impl IndexRange {
    /// The entries as a range of indices.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// One step of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Runs a kernel.
    Dispatch {
        /// Index into the list's table of pipelines.
        pipeline: u32,
        /// The operands, in the kernel's order, in the list's table of bindings.
        bindings: IndexRange,
        /// The parameter struct, in the list's parameter bytes.
        params: IndexRange,
        /// How much work there is, in the kernel's own items. Written bindings divide evenly along the first axis:
        /// item `i` of `n` writes the `i`-th of `n` equal parts of each. A device may split the work there.
        extent: [u32; 3],
    },
    /// Copies the bytes of one binding to another of the same length. Two consecutive bindings: source, destination.
    Copy {
        /// Index of the source's binding; the destination's follows it.
        bindings: IndexRange,
    },
    /// Fills a binding with a repeated 32-bit pattern. The binding's length is a multiple of four.
    Fill {
        /// The one binding.
        bindings: IndexRange,
        /// The pattern, in the device's byte order.
        pattern: u32,
    },
    /// Orders every earlier command of the queue before every later one, and makes its writes visible to them.
    Barrier,
    /// Runs another list where this command stands, its barriers included, as if its commands stood here. Orders
    /// nothing by itself: a barrier before and after it does, as for any command. What a command of that list fails
    /// with is reported of this one.
    Run {
        /// Index into the list's table of lists.
        list: u32,
        /// What the rest of *this* list has to do with its data: what it reads that was written before, and what it
        /// writes for others. Memory that it alone uses need not be named. They may overlap.
        bindings: IndexRange,
    },
    /// Reports the device's clock ([`crate::Reported::Time`]) at a moment when every earlier command of the queue that
    /// a barrier separates from this one has finished, and before any later command that a barrier separates from it
    /// has begun. Without barriers around it, it may be taken at any time while the commands beside it run. Only where
    /// [`crate::DeviceInfo::timestamps`] says so, and as exactly as it says; elsewhere devices skip it.
    Timestamp,
}

impl Command {
    /// The command's bindings in the list's table.
    pub fn bindings(&self) -> IndexRange {
        match self {
            Self::Dispatch { bindings, .. }
            | Self::Copy { bindings }
            | Self::Fill { bindings, .. }
            | Self::Run { bindings, .. } => *bindings,
            Self::Barrier | Self::Timestamp => IndexRange { start: 0, len: 0 },
        }
    }
}
