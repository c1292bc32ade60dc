//! `MTLDevice`.

use super::buffer::SimBuffer;
use super::compute_encoder::MOST_THREADGROUP_MEMORY;
use super::event::SimEvent;
use super::fence::SimFence;
use super::heap::{ALIGNMENT, SimHeap, SimHeapDescriptor};
use super::library::{SimCompileOptions, SimFunction, SimLibrary};
use super::memory::{Bytes, allocated};
use super::pipeline::SimPipeline;
use super::queue::SimQueue;
use super::residency::{SimResidencySet, SimResidencySetDescriptor};
use crate::config;
use crate::foundation::{ErrorOut, error, object, put_error};
use crate::rules::{FAST_MATH, broken};
use crate::shader::{Library, Options};
use objc2::rc::Retained;
use objc2::runtime::{NSObject, NSObjectProtocol, ProtocolObject};
use objc2::{DefinedClass, define_class};
use objc2_foundation::NSString;
use objc2_metal::{MTLDevice, MTLFunction, MTLGPUFamily, MTLResourceOptions, MTLSize, MTLSizeAndAlign};

/// Bytes that a device lends.
const MEMORY: usize = 8 << 30;
/// Bytes of the largest buffer.
const MOST_BUFFER_BYTES: usize = 4 << 30;
/// Command buffers of a queue, if its maker does not say.
const COMMAND_BUFFERS: usize = 64;
/// Threads of a threadgroup.
const MOST_THREADS: u32 = 1024;
/// What a pipeline's error has for a code.
const COMPILER_ERROR: isize = 2;
/// `MTLLibraryErrorCompileFailure`.
const COMPILE_FAILURE: isize = 3;

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "SimDevice"]
    #[ivars = ()]
    pub struct SimDevice;

    unsafe impl NSObjectProtocol for SimDevice {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLDevice for SimDevice {
        #[unsafe(method_id(name))]
        fn name(&self) -> Retained<NSString> {
            NSString::from_str("Simulated GPU")
        }

        #[unsafe(method(registryID))]
        fn registry_id(&self) -> u64 {
            1
        }

        #[unsafe(method(hasUnifiedMemory))]
        fn has_unified_memory(&self) -> bool {
            config().unified
        }

        #[unsafe(method(recommendedMaxWorkingSetSize))]
        fn recommended_max_working_set_size(&self) -> u64 {
            MEMORY as u64
        }

        #[unsafe(method(currentAllocatedSize))]
        fn current_allocated_size(&self) -> usize {
            allocated()
        }

        #[unsafe(method(maxBufferLength))]
        fn max_buffer_length(&self) -> usize {
            MOST_BUFFER_BYTES
        }

        #[unsafe(method(maxThreadgroupMemoryLength))]
        fn max_threadgroup_memory_length(&self) -> usize {
            MOST_THREADGROUP_MEMORY
        }

        #[unsafe(method(maxThreadsPerThreadgroup))]
        fn max_threads_per_threadgroup(&self) -> MTLSize {
            let most = MOST_THREADS as usize;
            MTLSize { width: most, height: most, depth: most }
        }

        #[unsafe(method(supportsFamily:))]
        fn supports_family(&self, family: MTLGPUFamily) -> bool {
            match family {
                MTLGPUFamily::Common1 | MTLGPUFamily::Common2 | MTLGPUFamily::Common3 => true,
                MTLGPUFamily::Mac2 | MTLGPUFamily::Metal3 => true,
                family => config().unified && (MTLGPUFamily::Apple1..=MTLGPUFamily::Apple7).contains(&family),
            }
        }

        #[unsafe(method_id(newCommandQueue))]
        fn new_command_queue(&self) -> Option<Retained<SimQueue>> {
            SimQueue::new(COMMAND_BUFFERS)
        }

        #[unsafe(method_id(newCommandQueueWithMaxCommandBufferCount:))]
        fn new_command_queue_with(&self, most: usize) -> Option<Retained<SimQueue>> {
            SimQueue::new(most)
        }

        #[unsafe(method_id(newBufferWithLength:options:))]
        fn new_buffer(&self, length: usize, options: MTLResourceOptions) -> Option<Retained<SimBuffer>> {
            let fits = length <= MOST_BUFFER_BYTES && allocated() + length <= MEMORY;
            let bytes = if fits { Bytes::zeros(length) } else { None };
            bytes.map(|bytes| SimBuffer::own(bytes, options))
        }

        #[unsafe(method_id(newHeapWithDescriptor:))]
        fn new_heap(&self, descriptor: &SimHeapDescriptor) -> Option<Retained<SimHeap>> {
            if allocated() + descriptor.bytes() <= MEMORY { SimHeap::new(descriptor) } else { None }
        }

        #[unsafe(method(heapBufferSizeAndAlignWithLength:options:))]
        fn heap_buffer_size_and_align(&self, length: usize, _options: MTLResourceOptions) -> MTLSizeAndAlign {
            MTLSizeAndAlign { size: length.next_multiple_of(ALIGNMENT), align: ALIGNMENT }
        }

        #[unsafe(method_id(newSharedEvent))]
        fn new_shared_event(&self) -> Option<Retained<SimEvent>> {
            Some(SimEvent::new())
        }

        #[unsafe(method_id(newFence))]
        fn new_fence(&self) -> Option<Retained<SimFence>> {
            Some(SimFence::new())
        }

        #[unsafe(method_id(newLibraryWithSource:options:error:))]
        fn new_library(
            &self,
            source: &NSString,
            options: Option<&SimCompileOptions>,
            out: ErrorOut,
        ) -> Option<Retained<SimLibrary>> {
            let fast_math = options.is_none_or(SimCompileOptions::fast_math);
            if fast_math {
                broken(FAST_MATH, format_args!("newLibraryWithSource:options:error:"));
            }
            let compiled = if crate::faults::compilation_fails() {
                Err("the compiler's service has failed".to_owned())
            } else {
                Library::compile(&source.to_string(), &Options { fast_math })
            };
            match compiled {
                Ok(library) => Some(SimLibrary::new(library)),
                Err(text) => {
                    // SAFETY: the caller's place for an error.
                    unsafe { put_error(out, error("MTLLibraryErrorDomain", COMPILE_FAILURE, &text)) };
                    None
                }
            }
        }

        #[unsafe(method_id(newComputePipelineStateWithFunction:error:))]
        fn new_compute_pipeline_state(
            &self,
            function: &ProtocolObject<dyn MTLFunction>,
            out: ErrorOut,
        ) -> Option<Retained<SimPipeline>> {
            let function = super::ours::<SimFunction>(function.as_ref()).ivars();
            if function.max_threads > MOST_THREADS {
                let text = format!("{} asks for {} threads of {MOST_THREADS}", function.name, function.max_threads);
                // SAFETY: the caller's place for an error.
                unsafe { put_error(out, error("CompilerError", COMPILER_ERROR, &text)) };
                None
            } else {
                Some(SimPipeline::new(function.clone()))
            }
        }

        #[unsafe(method_id(newResidencySetWithDescriptor:error:))]
        fn new_residency_set(
            &self,
            _descriptor: &SimResidencySetDescriptor,
            _out: ErrorOut,
        ) -> Option<Retained<SimResidencySet>> {
            Some(SimResidencySet::new())
        }
    }
);

#[unsafe(export_name = "MTLCreateSystemDefaultDevice")]
extern "C-unwind" fn create_system_default_device() -> *mut ProtocolObject<dyn MTLDevice> {
    let device = object!(SimDevice, ());
    Retained::into_raw(ProtocolObject::<dyn MTLDevice>::from_retained(device))
}
