//! A device with a heap, a queue, and two kernels.

use block2::RcBlock;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{NSObjectProtocol, ProtocolObject};
use objc2::sel;
use objc2_foundation::NSString;
use objc2_metal::*;
use std::cell::Cell;
use std::ptr::NonNull;

pub type Object<T> = Retained<ProtocolObject<T>>;

/// `data[i] = data[i] * a + b`: what several of these give tells in which order they ran.
const AFFINE: &str = "#include <metal_stdlib>
#include <simd/simd.h>
using metal::uint;
typedef uint type_1[1];
struct Params { uint a; uint b; };
[[max_total_threads_per_threadgroup(64)]] kernel void affine(
  metal::uint3 group [[threadgroup_position_in_grid]]
, device type_1& data [[buffer(0)]]
, constant Params& params [[buffer(1)]]
) {
data[group.x] = data[group.x] * params.a + params.b;
}
";

/// Turns each 64 numbers round.
const TURN: &str = "#include <metal_stdlib>
#include <simd/simd.h>
using metal::uint;
typedef uint type_1[1];
struct Tile { uint inner[64]; };
[[max_total_threads_per_threadgroup(64)]] kernel void turn(
  metal::uint3 group [[threadgroup_position_in_grid]]
, uint lid [[thread_index_in_threadgroup]]
, device type_1& data [[buffer(0)]]
, threadgroup Tile& tile
) {
tile.inner[lid] = data[group.x * 64u + lid];
metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
data[group.x * 64u + lid] = tile.inner[63u - lid];
}
";

pub const SHARED: MTLResourceOptions = MTLResourceOptions::StorageModeShared;

pub struct Rig {
    pub device: Object<dyn MTLDevice>,
    pub queue: Object<dyn MTLCommandQueue>,
    pub heap: Object<dyn MTLHeap>,
    pub set: Option<Object<dyn MTLResidencySet>>,
    pub affine: Object<dyn MTLComputePipelineState>,
    pub turn: Object<dyn MTLComputePipelineState>,
    used: Cell<usize>,
}

pub fn device() -> Object<dyn MTLDevice> {
    MTLCreateSystemDefaultDevice().expect("a device")
}

pub fn heap_descriptor(size: usize) -> Retained<MTLHeapDescriptor> {
    let descriptor = MTLHeapDescriptor::new();
    descriptor.setSize(size);
    descriptor.setType(MTLHeapType::Placement);
    descriptor.setStorageMode(MTLStorageMode::Shared);
    descriptor.setHazardTrackingMode(MTLHazardTrackingMode::Untracked);
    descriptor
}

pub fn safe_options() -> Retained<MTLCompileOptions> {
    let options = MTLCompileOptions::new();
    if options.respondsToSelector(sel!(setMathMode:)) {
        options.setMathMode(MTLMathMode::Safe);
    } else {
        #[expect(deprecated, reason = "before macOS 15")]
        options.setFastMathEnabled(false);
    }
    options
}

pub fn pipeline(device: &ProtocolObject<dyn MTLDevice>, text: &str, name: &str) -> Object<dyn MTLComputePipelineState> {
    let library = device.newLibraryWithSource_options_error(&NSString::from_str(text), Some(&safe_options()));
    let function = library.expect("a library").newFunctionWithName(&NSString::from_str(name)).expect("a function");
    device.newComputePipelineStateWithFunction_error(&function).expect("a pipeline")
}

pub fn size(width: usize) -> MTLSize {
    MTLSize { width, height: 1, depth: 1 }
}

pub fn as_event(event: &ProtocolObject<dyn MTLSharedEvent>) -> &ProtocolObject<dyn MTLEvent> {
    ProtocolObject::from_ref(event)
}

impl Rig {
    pub fn new() -> Self {
        autoreleasepool(|_| {
            let device = device();
            let queue = device.newCommandQueueWithMaxCommandBufferCount(64).expect("a queue");
            let heap = device.newHeapWithDescriptor(&heap_descriptor(1 << 20)).expect("a heap");
            let has_sets = device.respondsToSelector(sel!(newResidencySetWithDescriptor:error:));
            let set = has_sets.then(|| {
                let descriptor = MTLResidencySetDescriptor::new();
                let set = device.newResidencySetWithDescriptor_error(&descriptor).expect("a residency set");
                set.addAllocation(ProtocolObject::from_ref(&*heap));
                set.commit();
                queue.addResidencySet(&set);
                set
            });
            let (affine, turn) = (pipeline(&device, AFFINE, "affine"), pipeline(&device, TURN, "turn"));
            Self { device, queue, heap, set, affine, turn, used: Cell::new(0) }
        })
    }

    /// A further queue with the rig's heap.
    pub fn further_queue(&self) -> Object<dyn MTLCommandQueue> {
        let queue = self.device.newCommandQueueWithMaxCommandBufferCount(64).expect("a queue");
        if let Some(set) = &self.set {
            queue.addResidencySet(set);
        }
        queue
    }

    /// Numbers in the heap.
    pub fn buffer(&self, numbers: &[u32]) -> Object<dyn MTLBuffer> {
        let (offset, bytes) = (self.used.get(), size_of_val(numbers));
        self.used.set((offset + bytes).next_multiple_of(256));
        // SAFETY: the rig places each buffer behind the one before.
        let buffer = unsafe { self.heap.newBufferWithLength_options_offset(bytes, SHARED, offset) }.expect("a buffer");
        write(&buffer, numbers);
        buffer
    }

    pub fn commands(&self) -> Object<dyn MTLCommandBuffer> {
        self.queue.commandBuffer().expect("a command buffer")
    }

    /// An affine step on the first number.
    pub fn step(
        &self,
        encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>,
        data: &ProtocolObject<dyn MTLBuffer>,
        [a, b]: [u32; 2],
    ) {
        encoder.setComputePipelineState(&self.affine);
        // SAFETY: the kernel's arguments.
        unsafe { encoder.setBuffer_offset_atIndex(Some(data), 0, 0) };
        bytes(encoder, &[a, b], 1);
        encoder.dispatchThreadgroups_threadsPerThreadgroup(size(1), size(1));
    }

    /// A command buffer with one affine step in an encoder of its own, with fences before and after.
    pub fn stepped(
        &self,
        queue: &ProtocolObject<dyn MTLCommandQueue>,
        data: &ProtocolObject<dyn MTLBuffer>,
        step: [u32; 2],
        fence: Option<&ProtocolObject<dyn MTLFence>>,
    ) -> Object<dyn MTLCommandBuffer> {
        let commands = queue.commandBuffer().expect("a command buffer");
        let encoder = encoder(&commands);
        if let Some(fence) = fence {
            encoder.waitForFence(fence);
        }
        self.step(&encoder, data, step);
        if let Some(fence) = fence {
            encoder.updateFence(fence);
        }
        encoder.endEncoding();
        commands
    }
}

pub fn encoder(commands: &ProtocolObject<dyn MTLCommandBuffer>) -> Object<dyn MTLComputeCommandEncoder> {
    commands.computeCommandEncoderWithDispatchType(MTLDispatchType::Concurrent).expect("an encoder")
}

pub fn bytes(encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>, numbers: &[u32], index: usize) {
    // SAFETY: the numbers' bytes, which are copied.
    unsafe { encoder.setBytes_length_atIndex(NonNull::from(numbers).cast(), size_of_val(numbers), index) };
}

pub fn write(buffer: &ProtocolObject<dyn MTLBuffer>, numbers: &[u32]) {
    assert!(size_of_val(numbers) <= buffer.length());
    // SAFETY: as long as the buffer; no work uses it.
    unsafe { buffer.contents().cast::<u32>().copy_from_nonoverlapping(NonNull::from(numbers).cast(), numbers.len()) };
}

pub fn read(buffer: &ProtocolObject<dyn MTLBuffer>) -> Vec<u32> {
    // SAFETY: the buffer's own bytes; no work uses it.
    unsafe { std::slice::from_raw_parts(buffer.contents().as_ptr().cast::<u32>(), buffer.length() / 4) }.to_vec()
}

/// Has a closure called when a command buffer has completed.
pub fn on_completion(
    commands: &ProtocolObject<dyn MTLCommandBuffer>,
    handler: impl Fn(&ProtocolObject<dyn MTLCommandBuffer>) + Send + 'static,
) {
    let block = RcBlock::new(move |commands: NonNull<ProtocolObject<dyn MTLCommandBuffer>>| {
        // SAFETY: Metal hands over the command buffer, for as long as the handler runs.
        handler(unsafe { commands.as_ref() });
    });
    // SAFETY: what the block holds may be used and dropped by another thread; Metal copies it.
    unsafe { commands.addCompletedHandler(RcBlock::as_ptr(&block)) };
}

pub fn run(commands: &ProtocolObject<dyn MTLCommandBuffer>) {
    commands.commit();
    commands.waitUntilCompleted();
}
