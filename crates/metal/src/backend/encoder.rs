//! How a list is said to Metal: one compute encoder.
//!
//! Everything that is particular to `MTLComputeCommandEncoder` is here. Parameters go through the list's piece and not
//! through `setBytes`, residency through the device's set, and what the device uses is held by us: an encoder of Metal
//! 4's, which has none of the conveniences, would be one more file like this.

use super::context::Context;
use super::memory::MetalMemory;
use super::pipeline::MetalPipeline;
use super::room::Piece;
use super::transfer::Transfer;
use super::{Object, nothing};
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSString;
use objc2_metal::{
    MTLBarrierScope, MTLCommandBuffer, MTLCommandEncoder, MTLComputeCommandEncoder, MTLComputePipelineState,
    MTLDispatchType, MTLFence, MTLSize,
};
use smallvec::SmallVec;
use std::sync::Arc;
use thalweg_hal::failures::FailureWords;
use thalweg_hal::{Binding, Command, List, MAX_BINDINGS, Result};

/// Arguments start at multiples of this many bytes of a piece.
const ALIGNMENT: u64 = 16;

/// How much room a list needs: words for failures first, then the arguments of its dispatches.
///
/// # Errors
/// If the list names a pipeline of another device.
pub fn needed(context: &Context, list: &Arc<List>) -> Result<u64> {
    let mut bytes = context.failure_words.bytes(list);
    for step in List::steps(list) {
        bytes += match step.command() {
            Command::Dispatch { pipeline, params, .. } => {
                let pipeline = MetalPipeline::of(&*step.list.pipelines[*pipeline as usize], context)?;
                aligned(u64::from(params.len)) + aligned(4 * pipeline.lengths().len() as u64)
            }
            Command::Copy { .. } | Command::Fill { .. } => aligned(size_of::<[u32; 2]>() as u64),
            Command::Run { .. } | Command::Barrier | Command::Timestamp => 0,
        };
    }
    Ok(bytes)
}

fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Encodes one list.
pub struct Encoder<'a> {
    context: &'a Context,
    raw: Object<dyn MTLComputeCommandEncoder>,
    piece: &'a Piece,
    /// Of the piece, what has been written.
    used: u64,
    bound: Option<&'a ProtocolObject<dyn MTLComputePipelineState>>,
    /// Kernels so far that can fail.
    failing: u64,
}

impl<'a> Encoder<'a> {
    /// Encodes a list, between earlier lists of its queue and later ones.
    ///
    /// # Errors
    /// If the list names objects of another device, or Metal makes no encoder.
    ///
    /// # Safety
    /// - The list passes [`List::check`].
    /// - The piece has [as many bytes as it needs](needed), and nobody else uses it until the command buffer has run.
    pub unsafe fn encode(
        context: &'a Context,
        commands: &ProtocolObject<dyn MTLCommandBuffer>,
        fence: &ProtocolObject<dyn MTLFence>,
        piece: &'a Piece,
        list: &'a Arc<List>,
    ) -> Result<()> {
        let raw = commands.computeCommandEncoderWithDispatchType(MTLDispatchType::Concurrent);
        let raw = raw.ok_or_else(|| nothing("computeCommandEncoderWithDispatchType:"))?;
        let words = context.failure_words.bytes(list);
        // SAFETY: the words lie at the piece's start, which nobody else uses.
        unsafe { piece.clear(words) };
        let mut encoder = Self { context, raw, piece, used: words, bound: None, failing: 0 };
        // What the queue's lists before this one did, and whatever was done before their fence was raised.
        encoder.raw.waitForFence(fence);
        if context.residency.is_by_encoder() {
            encoder.use_heaps(list)?;
        }
        for step in List::steps(list) {
            // SAFETY: the list passes, and the piece has the room for it.
            unsafe { encoder.command(step.list, step.command())? };
        }
        // Nothing waits after this in the encoder: it would wait for itself.
        encoder.raw.updateFence(fence);
        Ok(())
    }

    fn use_heaps(&self, list: &Arc<List>) -> Result<()> {
        for list in List::with_inner(list) {
            for memory in &list.memories {
                self.raw.useHeap(&MetalMemory::of(&**memory, self.context)?.buffer.heap);
            }
        }
        self.raw.useHeap(&self.piece.place().0.heap);
        Ok(())
    }

    /// # Safety
    /// - As for [`encode`](Self::encode).
    unsafe fn command(&mut self, list: &'a List, command: &Command) -> Result<()> {
        let operands = list.bindings_of(command);
        // SAFETY: by the caller's promises.
        unsafe {
            match command {
                Command::Dispatch { pipeline, params, extent, .. } => {
                    let pipeline = MetalPipeline::of(&*list.pipelines[*pipeline as usize], self.context)?;
                    self.dispatch(list, pipeline, operands, &list.params[params.range()], *extent)
                }
                Command::Copy { .. } => self.transfer(list, &self.context.transfers.copy, operands, 0),
                Command::Fill { pattern, .. } => self.transfer(list, &self.context.transfers.fill, operands, *pattern),
                Command::Barrier => {
                    self.raw.memoryBarrierWithScope(MTLBarrierScope::Buffers);
                    Ok(())
                }
                // A list that is run stands for its commands; times are those of the command buffer.
                Command::Run { .. } | Command::Timestamp => Ok(()),
            }
        }
    }

    /// # Safety
    /// - As for [`encode`](Self::encode).
    unsafe fn dispatch(
        &mut self,
        list: &List,
        pipeline: &'a MetalPipeline,
        operands: &[Binding],
        params: &[u8],
        extent: [u32; 3],
    ) -> Result<()> {
        let groups = pipeline.groups(extent, params);
        let words = self.context.failure_words.offset(self.failing);
        self.failing += u64::from(pipeline.fails());
        if groups.contains(&0) {
            return Ok(()); // Metal has no empty grid
        }
        self.bind(pipeline.state());
        let mut lengths = SmallVec::<[u32; MAX_BINDINGS + 1]>::new();
        for &binding in pipeline.lengths() {
            let bytes = operands.get(binding as usize).map_or(FailureWords::<MetalPipeline>::BYTES, |it| it.bytes);
            lengths.push(bytes as u32); // within `max_binding_bytes`
        }
        // SAFETY: the buffers are the kernel's, their ranges inside; by the caller's promises.
        unsafe {
            for (at, operand) in operands.iter().enumerate() {
                self.operand(list, operand, at)?;
            }
            let mut next = operands.len();
            if pipeline.fails() {
                self.argument(words, next);
                next += 1;
            }
            if !params.is_empty() {
                let at = self.write(params);
                self.argument(at, next);
            }
            if !lengths.is_empty() {
                let at = self.write(bytemuck::cast_slice(&lengths));
                self.argument(at, next + 1);
            }
            for (at, bytes) in pipeline.workgroup_bytes().iter().enumerate() {
                self.raw.setThreadgroupMemoryLength_atIndex(*bytes, at);
            }
        }
        self.run(pipeline.name(), groups, pipeline.size());
        Ok(())
    }

    /// A copy or a fill, as a kernel.
    ///
    /// # Safety
    /// - As for [`encode`](Self::encode).
    unsafe fn transfer(
        &mut self,
        list: &List,
        transfer: &'a Transfer,
        operands: &[Binding],
        pattern: u32,
    ) -> Result<()> {
        let bytes = operands.first().map_or(0, |operand| operand.bytes);
        if bytes == 0 {
            return Ok(());
        }
        self.bind(&transfer.state);
        // SAFETY: the ranges are inside, and do not overlap; by the caller's promises.
        unsafe {
            for (at, operand) in operands.iter().enumerate() {
                self.operand(list, operand, at)?;
            }
            let at = self.write(bytemuck::cast_slice(&[bytes as u32, pattern]));
            self.argument(at, operands.len());
        }
        self.run(transfer.name, transfer.groups(bytes), Transfer::SIZE);
        Ok(())
    }

    fn bind(&mut self, state: &'a ProtocolObject<dyn MTLComputePipelineState>) {
        if !self.bound.is_some_and(|bound| std::ptr::eq(bound, state)) {
            self.raw.setComputePipelineState(state);
            self.bound = Some(state);
        }
    }

    fn run(&self, name: &str, groups: [u32; 3], size: [u32; 3]) {
        let size_of = |[width, height, depth]: [u32; 3]| MTLSize {
            width: width as usize,
            height: height as usize,
            depth: depth as usize,
        };
        if self.context.signposts {
            self.raw.pushDebugGroup(&NSString::from_str(name));
        }
        self.raw.dispatchThreadgroups_threadsPerThreadgroup(size_of(groups), size_of(size));
        if self.context.signposts {
            self.raw.popDebugGroup();
        }
    }

    /// Binds an operand.
    ///
    /// # Safety
    /// - Its range is inside its memory.
    unsafe fn operand(&self, list: &List, operand: &Binding, at: usize) -> Result<()> {
        let memory = MetalMemory::of(&*list.memories[operand.memory as usize], self.context)?;
        // SAFETY: by the caller's promise; at most MAX_BINDINGS and two.
        unsafe { self.raw.setBuffer_offset_atIndex(Some(&memory.buffer.raw), operand.offset as usize, at) };
        Ok(())
    }

    /// Binds what lies in the piece at an offset.
    ///
    /// # Safety
    /// - The offset is inside the piece.
    unsafe fn argument(&self, offset: u64, at: usize) {
        let (buffer, start) = self.piece.place();
        // SAFETY: by the caller's promise.
        unsafe { self.raw.setBuffer_offset_atIndex(Some(&buffer.raw), (start + offset) as usize, at) };
    }

    /// Writes an argument to the piece, and says where it is.
    ///
    /// # Safety
    /// - The piece has the room.
    unsafe fn write(&mut self, bytes: &[u8]) -> u64 {
        let at = self.used;
        // SAFETY: by the caller's promise; the list has not been submitted.
        unsafe { self.piece.write(at, bytes) };
        self.used += aligned(bytes.len() as u64);
        at
    }
}

impl Drop for Encoder<'_> {
    fn drop(&mut self) {
        // Also after an error: an encoder that is dropped open ends the process.
        self.raw.endEncoding();
    }
}
