//! `MTLComputeCommandEncoder`: what is bound, and the dispatches, each checked when it is encoded.

use super::buffer::{Place, SimBuffer};
use super::command_buffer::SimCommandBuffer;
use super::fence::SimFence;
use super::heap::SimHeap;
use super::life::Life;
use super::pipeline::SimPipeline;
use crate::engine::{Dispatch, Encoder};
use crate::foundation::object;
use crate::rules::{
    BINDING, DEBUG_GROUP, DISPATCH_SIZE, ENDED_ENCODER, FENCE_ORDER, MISALIGNED, NO_PIPELINE, OPEN_ENCODER, SET_BYTES,
    SHORT_ARGUMENT, THREADGROUP_MEMORY, TWO_THREADS, UNBOUND, broken,
};
use crate::shader::{Function, Span};
use objc2::rc::Retained;
use objc2::runtime::{AnyObject, NSObject, NSObjectProtocol, ProtocolObject};
use objc2::{DefinedClass, define_class};
use objc2_foundation::NSString;
use objc2_metal::{
    MTLBarrierScope, MTLBuffer, MTLCommandEncoder, MTLComputeCommandEncoder, MTLComputePipelineState, MTLDispatchType,
    MTLFence, MTLHeap, MTLResource, MTLResourceUsage, MTLSize,
};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// Buffer indices of a function.
const BUFFERS: usize = 31;
/// Bytes that `setBytes` takes.
const MOST_BYTES: usize = 4096;
/// Bytes of threadgroup memory that a dispatch gets.
pub const MOST_THREADGROUP_MEMORY: usize = 32 << 10;

/// What an index is bound to.
#[derive(Clone)]
enum Argument {
    /// 16 bytes are aligned for every type.
    Bytes(Arc<[u128]>, usize),
    Buffer(Arc<Place>, usize),
}

impl Argument {
    fn span(&self) -> (*mut u8, usize) {
        match self {
            Self::Bytes(bytes, length) => (bytes.as_ptr().cast_mut().cast(), *length),
            Self::Buffer(place, offset) => (place.at(*offset), place.length - offset),
        }
    }
}

#[derive(Default)]
struct Encoding {
    pipeline: Option<Arc<Function>>,
    arguments: [Option<Argument>; BUFFERS],
    lengths: Vec<usize>,
    work: Encoder,
    groups: usize,
    ended: bool,
}

/// What an encoder is made of.
pub struct Ivars {
    commands: Retained<SimCommandBuffer>,
    encoding: Mutex<Encoding>,
}

impl Drop for Ivars {
    fn drop(&mut self) {
        if !self.encoding.get_mut().is_ok_and(|it| it.ended) && !std::thread::panicking() {
            broken(OPEN_ENCODER, format_args!("an encoder dies without endEncoding"));
        }
    }
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "SimComputeCommandEncoder"]
    #[ivars = Ivars]
    pub struct SimComputeEncoder;

    unsafe impl NSObjectProtocol for SimComputeEncoder {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLCommandEncoder for SimComputeEncoder {
        #[unsafe(method(setLabel:))]
        fn set_label(&self, _label: Option<&NSString>) {}

        #[unsafe(method(insertDebugSignpost:))]
        fn insert_debug_signpost(&self, _text: &NSString) {
            drop(self.encoding("insertDebugSignpost:"));
        }

        #[unsafe(method(pushDebugGroup:))]
        fn push_debug_group(&self, _name: &NSString) {
            self.encoding("pushDebugGroup:").groups += 1;
        }

        #[unsafe(method(popDebugGroup))]
        fn pop_debug_group(&self) {
            let mut it = self.encoding("popDebugGroup");
            let Some(groups) = it.groups.checked_sub(1) else { broken(DEBUG_GROUP, format_args!("popDebugGroup")) };
            it.groups = groups;
        }

        #[unsafe(method(endEncoding))]
        fn end_encoding(&self) {
            let mut it = self.encoding("endEncoding");
            it.ended = true;
            self.ivars().commands.end(std::mem::take(&mut it.work));
        }
    }

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLComputeCommandEncoder for SimComputeEncoder {
        #[unsafe(method(dispatchType))]
        fn dispatch_type(&self) -> MTLDispatchType {
            if self.encoding("dispatchType").work.concurrent {
                MTLDispatchType::Concurrent
            } else {
                MTLDispatchType::Serial
            }
        }

        #[unsafe(method(setComputePipelineState:))]
        fn set_compute_pipeline_state(&self, state: &ProtocolObject<dyn MTLComputePipelineState>) {
            let object: &AnyObject = state.as_ref();
            let state = super::ours::<SimPipeline>(object).ivars();
            self.encoding("setComputePipelineState:").pipeline = Some(state.function.clone());
            self.keep(object, &state.life);
        }

        #[unsafe(method(setBuffer:offset:atIndex:))]
        fn set_buffer(&self, buffer: Option<&ProtocolObject<dyn MTLBuffer>>, offset: usize, index: usize) {
            let argument = buffer.map(|buffer| {
                let object: &AnyObject = buffer.as_ref();
                let buffer = super::ours::<SimBuffer>(object).ivars();
                self.keep(object, &buffer.life);
                Argument::Buffer(buffer.place.clone(), within(&buffer.place, offset))
            });
            *bound(&mut self.encoding("setBuffer:offset:atIndex:"), index) = argument;
        }

        #[unsafe(method(setBufferOffset:atIndex:))]
        fn set_buffer_offset(&self, offset: usize, index: usize) {
            match bound(&mut self.encoding("setBufferOffset:atIndex:"), index) {
                Some(Argument::Buffer(place, at)) => *at = within(place, offset),
                _ => broken(BINDING, format_args!("setBufferOffset: no buffer is bound at {index}")),
            }
        }

        #[unsafe(method(setBytes:length:atIndex:))]
        fn set_bytes(&self, bytes: NonNull<c_void>, length: usize, index: usize) {
            if length == 0 || length > MOST_BYTES {
                broken(SET_BYTES, format_args!("{length} bytes; 1 to {MOST_BYTES}"));
            }
            let mut copy = vec![0u128; length.div_ceil(16)];
            // SAFETY: the caller's bytes; the copy has room for them.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr().cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), length)
            };
            let mut it = self.encoding("setBytes:length:atIndex:");
            *bound(&mut it, index) = Some(Argument::Bytes(copy.into(), length));
        }

        #[unsafe(method(setThreadgroupMemoryLength:atIndex:))]
        fn set_threadgroup_memory_length(&self, length: usize, index: usize) {
            let mut it = self.encoding("setThreadgroupMemoryLength:atIndex:");
            if !length.is_multiple_of(16) || index >= BUFFERS {
                broken(THREADGROUP_MEMORY, format_args!("{length} bytes at index {index}"));
            }
            if it.lengths.len() <= index {
                it.lengths.resize(index + 1, 0);
            }
            it.lengths[index] = length;
        }

        #[unsafe(method(dispatchThreadgroups:threadsPerThreadgroup:))]
        fn dispatch_threadgroups(&self, grid: MTLSize, size: MTLSize) {
            self.encoding("dispatchThreadgroups:threadsPerThreadgroup:").dispatch(grid, size);
        }

        #[unsafe(method(memoryBarrierWithScope:))]
        fn memory_barrier(&self, scope: MTLBarrierScope) {
            let mut it = self.encoding("memoryBarrierWithScope:");
            if scope.contains(MTLBarrierScope::Buffers) {
                it.work.barrier();
            }
        }

        #[unsafe(method(waitForFence:))]
        fn wait_for_fence(&self, fence: &ProtocolObject<dyn MTLFence>) {
            let object: &AnyObject = fence.as_ref();
            let fence = super::ours::<SimFence>(object).ivars();
            self.keep(object, &fence.life);
            let mut it = self.encoding("waitForFence:");
            if it.work.updates.iter().any(|updated| Arc::ptr_eq(updated, &fence.state)) {
                broken(FENCE_ORDER, format_args!("an encoder that waits for itself never starts"));
            }
            it.work.waits.push(fence.state.clone());
        }

        #[unsafe(method(updateFence:))]
        fn update_fence(&self, fence: &ProtocolObject<dyn MTLFence>) {
            let object: &AnyObject = fence.as_ref();
            let fence = super::ours::<SimFence>(object).ivars();
            self.keep(object, &fence.life);
            self.encoding("updateFence:").work.updates.push(fence.state.clone());
        }

        #[unsafe(method(useHeap:))]
        fn use_heap(&self, heap: &ProtocolObject<dyn MTLHeap>) {
            let object: &AnyObject = heap.as_ref();
            let heap = super::ours::<SimHeap>(object).ivars();
            self.keep(object, &heap.life);
            self.encoding("useHeap:").work.used.insert(heap.id);
        }

        #[unsafe(method(useResource:usage:))]
        fn use_resource(&self, resource: &ProtocolObject<dyn MTLResource>, _usage: MTLResourceUsage) {
            let object: &AnyObject = resource.as_ref();
            let buffer = super::ours::<SimBuffer>(object).ivars();
            self.keep(object, &buffer.life);
            self.encoding("useResource:usage:").work.used.insert(buffer.place.id);
        }
    }
);

impl SimComputeEncoder {
    pub fn new(commands: Retained<SimCommandBuffer>, concurrent: bool) -> Retained<Self> {
        let encoding = Encoding { work: Encoder::new(concurrent), ..Encoding::default() };
        object!(SimComputeEncoder, Ivars { commands, encoding: Mutex::new(encoding) })
    }

    /// The state, before the end.
    fn encoding(&self, message: &str) -> MutexGuard<'_, Encoding> {
        let it = match self.ivars().encoding.try_lock() {
            Ok(encoding) => encoding,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => broken(TWO_THREADS, format_args!("an encoder, {message}")),
        };
        if it.ended {
            broken(ENDED_ENCODER, format_args!("{message}"));
        }
        it
    }

    fn keep(&self, object: &AnyObject, life: &Arc<Life>) {
        self.ivars().commands.keep(object, life);
    }
}

fn within(place: &Place, offset: usize) -> usize {
    if offset > place.length {
        broken(BINDING, format_args!("offset {offset} of a buffer of {} bytes", place.length));
    }
    offset
}

fn bound(it: &mut Encoding, index: usize) -> &mut Option<Argument> {
    match it.arguments.get_mut(index) {
        Some(argument) => argument,
        None => broken(BINDING, format_args!("index {index}; there are {BUFFERS}")),
    }
}

impl Encoding {
    fn dispatch(&mut self, grid: MTLSize, size: MTLSize) {
        let Some(function) = self.pipeline.clone() else { broken(NO_PIPELINE, format_args!("dispatchThreadgroups")) };
        let name = &function.name;
        let (grid, size) = (three(grid), three(size));
        let threads = size.iter().map(|n| u64::from(*n)).product::<u64>();
        if grid.contains(&0) || size.contains(&0) || threads > u64::from(function.max_threads) {
            broken(
                DISPATCH_SIZE,
                format_args!("{name}: {grid:?} of {size:?}, at most {} threads", function.max_threads),
            );
        }
        self.check_threadgroup_memory(&function);
        let mut buffers = Vec::new();
        for argument in &function.buffers {
            let index = argument.index as usize;
            let Some(bound) = self.arguments.get(index).and_then(Option::as_ref) else {
                broken(UNBOUND, format_args!("{name}: nothing at buffer {index}"));
            };
            let (start, bytes) = bound.span();
            if !(start as usize).is_multiple_of(argument.align.max(1) as usize) {
                broken(MISALIGNED, format_args!("{name}: buffer {index} at {start:p}, alignment {}", argument.align));
            }
            if bytes < argument.bytes as usize {
                broken(SHORT_ARGUMENT, format_args!("{name}: buffer {index} has {bytes} bytes of {}", argument.bytes));
            }
            if buffers.len() <= index {
                buffers.resize_with(index + 1, || None);
            }
            buffers[index] = Some(Span { start, bytes });
            match bound {
                Argument::Bytes(copy, _) => self.work.bytes.push(copy.clone()),
                Argument::Buffer(place, _) => self.work.touch(place),
            }
        }
        let threadgroup = self.lengths[..function.threadgroup.len()].to_vec();
        self.work.push(Dispatch { function, buffers, threadgroup, grid, size });
    }

    fn check_threadgroup_memory(&self, function: &Function) {
        let name = &function.name;
        for (index, least) in function.threadgroup.iter().enumerate() {
            let length = self.lengths.get(index).copied().unwrap_or(0);
            if length < *least as usize {
                broken(THREADGROUP_MEMORY, format_args!("{name}: argument {index} has {length} bytes of {least}"));
            }
        }
        let sum: usize = self.lengths.iter().take(function.threadgroup.len()).sum();
        if sum > MOST_THREADGROUP_MEMORY {
            broken(THREADGROUP_MEMORY, format_args!("{name}: {sum} bytes of {MOST_THREADGROUP_MEMORY}"));
        }
    }
}

fn three(size: MTLSize) -> [u32; 3] {
    [size.width, size.height, size.depth].map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}
