//! An operation and its operands, on their way into a list.

use std::fmt;
use std::sync::Arc;
use thalweg_hal::check::Operation;
use thalweg_hal::{Access, Binding, Command, IndexRange, KernelSource, List, Memory, PARAMETER_ALIGNMENT};

/// What devices fill memory with, in bytes.
const WORD: u64 = 4;

/// A kernel compiled for one device, by [`Device::pipeline`](crate::Device::pipeline).
#[derive(Clone)]
pub struct Pipeline {
    pub(crate) hal: Arc<dyn thalweg_hal::Pipeline>,
    /// The number of its device.
    pub(crate) device: u64,
}

impl Pipeline {
    /// The kernel's declaration.
    pub fn source(&self) -> &KernelSource {
        self.hal.source()
    }
}

/// What an operation does with its operands.
///
/// A kernel is compiled before the operation that runs it is recorded:
///
/// ```
/// # use thalweg_runtime::{Device, Operand, Result, Stream, Work};
/// # use thalweg_hal::KernelSource;
/// fn run(device: &Device, stream: &Stream, kernel: &KernelSource, operands: &[Operand<'_>]) -> Result<()> {
///     let pipeline = &device.pipeline(kernel)?;
///     stream.record(&Work::Dispatch { pipeline, params: &[], extent: [1; 3] }, operands)
/// }
/// ```
///
/// Never on the way:
///
/// ```compile_fail,E0308
/// # use thalweg_runtime::{Device, Operand, Result, Stream, Work};
/// # use thalweg_hal::KernelSource;
/// fn run(device: &Device, stream: &Stream, kernel: &KernelSource, operands: &[Operand<'_>]) -> Result<()> {
///     let pipeline = kernel;
///     stream.record(&Work::Dispatch { pipeline, params: &[], extent: [1; 3] }, operands)
/// }
/// ```
// audit: F9
#[derive(Clone, Copy)]
pub enum Work<'a> {
    /// Runs a kernel; see [`Command::Dispatch`].
    Dispatch {
        /// The compiled kernel.
        pipeline: &'a Pipeline,
        /// Its parameter struct.
        params: &'a [u8],
        /// How much work there is. Written operands divide evenly by the first axis.
        extent: [u32; 3],
    },
    /// Copies the first operand to the second.
    Copy,
    /// Fills the only operand with a 32-bit pattern. A length that is not a whole number of words ends with the first
    /// bytes of one.
    Fill(u32),
}

impl Work<'_> {
    /// What the operation is called.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Dispatch { pipeline, .. } => &pipeline.source().name,
            Self::Copy => "copy",
            Self::Fill(_) => "fill",
        }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipeline({})", self.source().name)
    }
}

impl fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dispatch { pipeline, params, extent } => {
                Operation::Dispatch { pipeline: &*pipeline.hal, params, extent: *extent }.fmt(f)
            }
            Self::Copy => Operation::Copy.fmt(f),
            Self::Fill(pattern) => write!(f, "Fill({pattern:#x})"),
        }
    }
}

/// An operand with bytes in a memory.
pub(crate) trait Bound {
    /// That memory.
    fn memory(&self) -> &Arc<dyn Memory>;

    /// The operand as a binding of a list that has the memory at this index.
    fn binding(&self, memory: u32) -> Binding;
}

/// Appends an operation to a list. The last `operands` bindings of the list are its operands.
#[inline]
pub(crate) fn push_command(list: &mut List, work: &Work<'_>, operands: usize) {
    let bindings = IndexRange { start: (list.bindings.len() - operands) as u32, len: operands as u32 };
    let command = match work {
        Work::Copy => Command::Copy { bindings },
        Work::Fill(pattern) => {
            let filled = &mut list.bindings[bindings.start as usize..];
            filled.iter_mut().for_each(|binding| binding.bytes = whole_words(binding.bytes));
            Command::Fill { bindings, pattern: *pattern }
        }
        Work::Dispatch { pipeline, params, extent } => {
            let pipeline = index_of(&mut list.pipelines, &pipeline.hal);
            let start = list.params.len().next_multiple_of(PARAMETER_ALIGNMENT);
            list.params.resize(start, 0);
            list.params.extend_from_slice(params);
            let params = IndexRange { start: start as u32, len: params.len() as u32 };
            Command::Dispatch { pipeline, bindings, params, extent: *extent }
        }
    };
    list.commands.push(command);
}

/// As many bytes as are filled where these are to be: devices fill whole words. What lies behind a storage's last is
/// the same block's, and nobody's data.
pub(crate) fn whole_words(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(WORD).unwrap_or(bytes)
}

/// Where a table has an object, which is entered if it has not.
#[inline]
pub(crate) fn index_of<T: ?Sized>(table: &mut Vec<Arc<T>>, object: &Arc<T>) -> u32 {
    let known = table.iter().rposition(|known| Arc::ptr_eq(known, object));
    known.unwrap_or_else(|| {
        table.push(Arc::clone(object));
        table.len() - 1
    }) as u32
}

/// The uses of an operand's bytes, locked by the caller; what the operation does with them; the operand's index.
#[derive(Debug)]
pub(crate) struct Locked<U> {
    pub(crate) access: Access,
    pub(crate) uses: U,
    pub(crate) operand: usize,
}

/// One run of a graph, as an operation: copies in, the run, copies out, with barriers between.
#[derive(Debug)]
pub(crate) struct Replay<'a, O> {
    /// Inputs, then outputs; those of no bytes left out.
    pub(crate) operands: &'a [O],
    /// How many of them are inputs.
    pub(crate) inputs: usize,
    /// Of each operand, first byte and length in the graph's memory.
    pub(crate) regions: &'a [(u64, u64)],
    /// The graph's memory, and the list that runs in it.
    pub(crate) memory: &'a Arc<dyn Memory>,
    pub(crate) list: &'a Arc<List>,
}

impl<O> Replay<'_, O> {
    /// A part of the graph's memory that an operand is copied to or from: as a binding of a list that has that memory.
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
