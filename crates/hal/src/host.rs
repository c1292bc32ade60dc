//! Commands on the host's own memory: what the CPU backend and the mock share.

use crate::{
    Command, Error, HostCall, HostInputs, HostOutputs, KernelFailure, KernelSource, List, Memory, MemoryKind, Pipeline,
    Result,
};
use crate::{Violation, check, unique_id};
use memmap2::{MmapOptions, MmapRaw};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

/// Zeroed memory of the host, aligned for any binding.
#[derive(Debug)]
pub struct HostMemory {
    id: u64,
    kind: MemoryKind,
    /// The first aligned byte of the allocation.
    base: NonNull<u8>,
    /// Held for its drop.
    _allocation: Allocation,
    bytes: usize,
}

/// From how many bytes on memory is mapped by itself: so it goes back to the system as soon as it is freed, and its
/// pages are zeroed by the system, each when it is first used. (The allocator of the C library keeps what was freed,
/// and writes the zeros of what it hands out again.)
const LEAST_MAPPED: usize = 128 << 10;

/// What the allocator aligns to by itself. Asked for more, the standard library allocates and then writes zeros.
const NATURAL_ALIGNMENT: usize = 16;

/// Where the bytes come from.
#[derive(Debug)]
enum Allocation {
    /// A mapping of their own; pages are aligned enough.
    Mapped(#[allow(dead_code)] MmapRaw), // held for its drop
    /// The allocator.
    Heap { start: NonNull<u8>, layout: Layout },
}

impl Allocation {
    /// With the first byte that is aligned, behind which there are `bytes` zeros. `None` if the system has no room.
    fn new(bytes: usize) -> Option<(Self, NonNull<u8>)> {
        if bytes >= LEAST_MAPPED {
            let mapped = MmapRaw::from(MmapOptions::new().len(bytes).map_anon().ok()?);
            let base = NonNull::new(mapped.as_mut_ptr())?;
            return Some((Self::Mapped(mapped), base));
        }
        let align = crate::BINDING_ALIGNMENT as usize;
        let size = bytes.max(1).checked_add(align - NATURAL_ALIGNMENT)?;
        let layout = Layout::from_size_align(size, NATURAL_ALIGNMENT).ok()?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let up = start.as_ptr().align_offset(align);
        // SAFETY: the allocation starts at a multiple of 16 and has 240 bytes to spare, so the next multiple of 256 and
        // `bytes` bytes from there are inside it.
        Some((Self::Heap { start, layout }, unsafe { start.add(up) }))
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        match self {
            Self::Mapped(_) => {}
            // SAFETY: allocated in `new` with this layout, and freed only here.
            Self::Heap { start, layout } => unsafe { dealloc(start.as_ptr(), *layout) },
        }
    }
}

// SAFETY: the bytes are plain data without thread affinity, and every access to them is in an `unsafe fn`: its caller
// promises that conflicting accesses are ordered.
unsafe impl Send for HostMemory {}
// SAFETY: as above.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// Allocates; the system hands out large memories' pages on first use only, and has them back on drop.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] with `device` as the device's name.
    pub fn new(kind: MemoryKind, bytes: u64, device: &str) -> Result<Self> {
        let out_of_memory = || Error::OutOfMemory { device: device.to_owned(), bytes };
        let len = usize::try_from(bytes).map_err(|_| out_of_memory())?;
        let (allocation, base) = Allocation::new(len).ok_or_else(out_of_memory)?;
        Ok(Self { id: unique_id(), kind, base, _allocation: allocation, bytes: len })
    }

    fn check(&self, offset: u64, bytes: u64) -> Result<Range<usize>, Violation> {
        let end = offset.checked_add(bytes).filter(|end| *end <= self.bytes as u64);
        let memory_bytes = self.bytes as u64;
        let end = end.ok_or(Violation::OutOfBounds { offset, bytes, memory_bytes })?;
        Ok(offset as usize..end as usize)
    }

    /// The bytes of a range, to read.
    ///
    /// # Errors
    /// If the range is not inside the memory.
    ///
    /// # Safety
    /// - Nothing writes the range while the slice lives.
    pub unsafe fn slice(&self, offset: u64, bytes: u64) -> Result<&[u8], Violation> {
        let range = self.check(offset, bytes)?;
        // SAFETY: the range is inside the allocation, which is initialised (zeroed); no writer, by the caller's
        // promise.
        Ok(unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(range.start), range.len()) })
    }

    /// The bytes of a range, to write.
    ///
    /// # Errors
    /// If the range is not inside the memory.
    ///
    /// # Safety
    /// - Nothing else reads or writes the range while the slice lives.
    #[allow(clippy::mut_from_ref)] // exclusive by the caller's promise, not by the borrow
    pub unsafe fn slice_mut(&self, offset: u64, bytes: u64) -> Result<&mut [u8], Violation> {
        let range = self.check(offset, bytes)?;
        // SAFETY: the range is inside the allocation, which is initialised; exclusive, by the caller's promise.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(range.start), range.len()) })
    }
}

impl Memory for HostMemory {
    fn id(&self) -> u64 {
        self.id
    }
    fn bytes(&self) -> u64 {
        self.bytes as u64
    }
    fn kind(&self) -> MemoryKind {
        self.kind
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A pipeline on the host: the kernel itself.
#[derive(Debug)]
pub struct HostPipeline(KernelSource);

impl HostPipeline {
    /// "Compiles" a kernel. Where this crate can translate WGSL (features `spirv` and `msl`), it also checks the form
    /// for GPUs, if there is one: what is wrong in it is wrong on every device.
    ///
    /// # Errors
    /// [`Error::NoForm`] if it has no host function, where `device` is the device's name; [`Error::Compile`] if its
    /// WGSL is wrong, or it declares too much ([`check::kernel`]).
    pub fn new(source: &KernelSource, device: &str) -> Result<Self> {
        check::kernel(source)?;
        if source.host.is_none() {
            let (device, kernel) = (device.to_owned(), source.name.clone().into_owned());
            return Err(Error::NoForm { device, kernel, form: "host function" });
        }
        #[cfg(any(feature = "spirv", feature = "msl"))]
        if source.wgsl.is_some() {
            crate::shader::compile(source, device, |_| Ok(()))?;
        }
        Ok(Self(source.clone()))
    }
}

impl Pipeline for HostPipeline {
    fn source(&self) -> &KernelSource {
        &self.0
    }
    /// A host form takes any number of items, and reports operands that are too short by itself.
    fn check(&self, _extent: [u32; 3], _params: &[u8], _operand_bytes: &[u64]) -> Result<(), &'static str> {
        Ok(())
    }
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The memory as host memory.
///
/// # Errors
/// [`Error::ForeignObject`] if another backend made it.
pub fn memory<'a>(memory: &'a dyn Memory, device: &str) -> Result<&'a HostMemory> {
    memory.as_any().downcast_ref().ok_or_else(|| Error::ForeignObject { device: device.to_owned(), what: "memory" })
}

/// How many items a command has: the parts into which [`execute`] may be split. Barriers and timestamps have none: they
/// are the backend's own to carry out, and [`execute`] does nothing for them.
pub fn items(command: &Command) -> u32 {
    match command {
        Command::Dispatch { extent, .. } => extent[0],
        Command::Copy { .. } | Command::Fill { .. } => 1,
        Command::Run { .. } | Command::Barrier | Command::Timestamp => 0,
    }
}

/// Runs the given items of one command of a list. A panic of the kernel becomes its failure.
///
/// # Errors
/// What the kernel failed with, or a memory of another backend.
///
/// # Safety
/// - The list passes [`List::check`], as its submitter promises (Q3), and the command is one of its own.
/// - The items are part of `0..items(command)`, and not the wrong way round.
/// - Every conflicting access to the command's bytes by another command, or by the host, is ordered before or after
///   this call.
/// - Calls for the same command that run at once have disjoint items.
pub unsafe fn execute(list: &List, command: &Command, items: Range<u32>, device: &str) -> Result<()> {
    let bindings = list.bindings_of(command);
    let memory_of = |at: usize| memory(&*list.memories[bindings[at].memory as usize], device);
    match command {
        // Of a list that is run, the commands are executed, not the command that runs it.
        Command::Run { .. } | Command::Barrier | Command::Timestamp => Ok(()),
        Command::Copy { .. } => {
            // SAFETY: ordered by the caller; source and destination do not overlap, by the rules.
            let (from, to) = unsafe {
                (
                    memory_of(0)?.slice(bindings[0].offset, bindings[0].bytes)?,
                    memory_of(1)?.slice_mut(bindings[1].offset, bindings[1].bytes)?,
                )
            };
            to.copy_from_slice(from);
            Ok(())
        }
        Command::Fill { pattern, .. } => {
            // SAFETY: ordered by the caller.
            let to = unsafe { memory_of(0)?.slice_mut(bindings[0].offset, bindings[0].bytes)? };
            to.chunks_exact_mut(4).for_each(|word| word.copy_from_slice(&pattern.to_ne_bytes()));
            Ok(())
        }
        Command::Dispatch { pipeline, params, extent, .. } => {
            let source = list.pipelines[*pipeline as usize].source();
            let no_form = || Error::NoForm {
                device: device.to_owned(),
                kernel: source.name.clone().into_owned(),
                form: "host function",
            };
            let host = source.host.ok_or_else(no_form)?;
            let (mut inputs, mut outputs) = (HostInputs::new([]), HostOutputs::new([]));
            for (at, binding) in bindings.iter().enumerate() {
                if binding.access.writes() {
                    let part = binding.bytes / u64::from(extent[0]);
                    let offset = binding.offset + part * u64::from(items.start);
                    let bytes = part * u64::from(items.end - items.start);
                    // SAFETY: ordered by the caller; disjoint from the command's other bindings by the rules, and
                    // from other calls for this command because their items are disjoint.
                    outputs.0.push(unsafe { memory_of(at)?.slice_mut(offset, bytes)? });
                } else {
                    // SAFETY: ordered by the caller; no binding of this command writes these bytes, by the rules.
                    inputs.0.push(unsafe { memory_of(at)?.slice(binding.offset, binding.bytes)? });
                }
            }
            let mut call = HostCall { items, extent: *extent, params: &list.params[params.range()], inputs, outputs };
            // A kernel that panics leaves half-written outputs behind, which its failure says are not to be used.
            let result = catch_unwind(AssertUnwindSafe(|| host(&mut call))).unwrap_or_else(|panic| {
                let message = panic_message(&*panic);
                // Dropping a payload may panic again, and here nobody would catch it.
                std::mem::forget(panic);
                Err(KernelFailure::new(message))
            });
            result.map_err(|failure| Error::Kernel { kernel: source.name.clone().into_owned(), failure })
        }
    }
}

/// The text of a panic's payload.
fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("(no message)"))
}
