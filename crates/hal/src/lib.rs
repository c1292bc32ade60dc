//! The hardware abstraction layer: what a device has to do for Thalweg, and nothing else.
//!
//! # Design choices
//!
//! - **Object-safe.** [`Device`], [`Queue`], [`Timeline`], [`Doorbell`], [`Memory`] and [`Pipeline`] are traits behind
//!   `Arc<dyn _>` and `Box<dyn _>`, so that nothing above has a type parameter for the backend.
//! - **Lists, not encoders.** Work reaches a device as a sealed [`List`]: plain data that nobody can append to.
//!   [`Queue::submit`] is the only call that turns one into a driver's commands, from beginning to end, on one thread.
//! - **Timelines, not fences.** Completion is a `u64` that only rises, one for each queue. A wait names a value that
//!   has been submitted already, so the device never waits for the host. What the host raises is another object, a
//!   [`Doorbell`].
//! - **The caller orders.** A device may run the commands between two barriers in any order, may overlap the lists of
//!   one queue, and may overlap queues. [`Command::Barrier`] and the waits of a [`Submission`] are all the order there
//!   is. A barrier orders against every earlier command of its queue, so one at the start of a list orders that list
//!   after the queue's earlier lists.
//! - **Reports travel with the value.** What a list has to say of its commands, a failure or a time, is on its timeline
//!   before the value can be seen ([`Timeline::take_reports`]). A [`Command::Timestamp`] is a command like others, and
//!   barriers say where it stands.
//! - **The caller checks.** What a command has to be is one set of rules ([`check`]), which whoever records applies
//!   once. A device takes it for granted.
//! - **The caller counts.** A queue has a limit on lists in flight ([`Limits::max_lists_in_flight`]), and a device is not
//!   asked to notice when it is passed.
//! - **Bindings are ranges.** Memory, byte offset and length; a kernel cannot reach a byte outside its bindings,
//!   because its indices are clamped, or because its declaration promises so ([`Wgsl::unchecked`]). Element
//!   offsets and strides travel in the parameters.
//! - **Kernels say what they use.** A module gets what it declares of what not every device has ([`Features`]), and a
//!   device refuses a pipeline for what it lacks ([`DeviceInfo::support`]).
//! - **Transfers are commands.** Memory has a kind ([`MemoryKind`]): what kernels use, and what the host reads and
//!   writes. Copies between the two, and the zeros of new memory, are commands like others. [`Device::read`] and
//!   [`Device::write`] are the only ways of the host to a memory's bytes, and reach only what it sees.
//!
//! # What is behind the calls
//!
//! The last column is what a backend for Metal would call: it is not built, and nothing of it has been tried.
//!
//! | call | CPU | Vulkan | Metal (not built) |
//! |---|---|---|---|
//! | [`Device::info`] | what the system says of processors and memory | `VkPhysicalDeviceProperties`, memory types, queue family | `MTLDevice`: `name`, `recommendedMaxWorkingSetSize`, `maxBufferLength` |
//! | [`Device::create_queue`] | a lane of lists for the process's pool of workers | a `VkQueue` of its own, or a shared one; a `VkCommandPool` | `newCommandQueueWithMaxCommandBufferCount:` |
//! | [`Queue::timeline`] | a counter and a condition variable | `VkSemaphore` of type timeline | a counter, raised by the completion handler once the failure words are read; `newSharedEvent` for the waits of other lists |
//! | [`Device::create_doorbell`] | a counter | a `VkSemaphore` that `vkSignalSemaphore` raises | a counter |
//! | [`Device::create_pipeline`] | takes the host form | WGSL to SPIR-V (`shader`), `vkCreateComputePipelines` with a `VkPipelineCache` kept on disk | WGSL to Metal's language, `newLibraryWithSource:options:error:`, `newComputePipelineStateWithFunction:error:`; `MTLBinaryArchive` on disk |
//! | [`Device::prepare`] | nothing | a command buffer that stays with the list | nothing: a command buffer runs once; an `MTLIndirectCommandBuffer` could be kept |
//! | [`Device::allocate`] | zeroed memory of the system's | `VkBuffer` over a `VkDeviceMemory` of its own, of a memory type for its kind | a buffer of an `MTLHeap` with untracked hazards, shared with the host |
//! | [`Device::read`], [`Device::write`] | a copy | a copy where the memory is mapped, else an error | a copy from and to `contents` |
//! | [`Device::wait_any`] | a condition variable of the pool | `vkWaitSemaphores` for any of them | a condition variable of the device |
//! | [`Queue::submit`] | the lane; a worker runs it | a command buffer, encoded anew unless the list was prepared, and `vkQueueSubmit` | `commandBufferWithUnretainedReferences`, one encoder of concurrent dispatches where there is no copy, `commit` |
//! | a wait of a [`Submission`] | the lane is looked at again when the value is reached | the semaphore and its value, in the submission | `encodeWaitForEvent:value:` |
//! | its signal | by the worker, when the list has run | the same | `encodeSignalEvent:value:` |
//! | [`Command::Dispatch`] | the host form, whole or in ranges of items | push descriptors, push constants, `vkCmdDispatch` | `setBuffer:offset:atIndex:`, `setBytes:length:atIndex:` for parameters and lengths, `setThreadgroupMemoryLength:atIndex:` for each variable of the workgroup, `dispatchThreadgroups:threadsPerThreadgroup:` |
//! | [`Command::Copy`], [`Command::Fill`] | a copy, a loop | `vkCmdCopyBuffer`, `vkCmdFillBuffer` | `MTLBlitCommandEncoder`; it fills with one byte only, so a kernel fills with words |
//! | [`Command::Run`] | its commands, one after the other | `vkCmdExecuteCommands` of a secondary command buffer if the list was prepared, else its commands encoded in place | its commands encoded in place |
//! | [`Command::Barrier`] | nothing: commands run in order | `vkCmdPipelineBarrier` with a memory barrier | `memoryBarrierWithScope:` inside an encoder, an `MTLFence` between two |
//! | [`Command::Timestamp`] | the host's clock | `vkCmdWriteTimestamp` | `MTLCounterSampleBuffer`, which Apple's GPUs fill at the borders of encoders; `GPUStartTime` and `GPUEndTime` of a list cost nothing ([`Timestamps::ByList`]) |
//! | [`Timeline::completed`] | an atomic load | `vkGetSemaphoreCounterValue` | an atomic load |
//! | [`Timeline::wait`] | a condition variable | `vkWaitSemaphores`, a slice of time after the other | the device's condition variable |
//! | [`Timeline::interrupt`] | wakes who waits | a flag, seen at the next slice | wakes who waits |
//! | [`Doorbell::ring`] | raises the counter, and wakes who listens | `vkSignalSemaphore` | raises the counter, and wakes who listens |
//! | [`Timeline::take_reports`] | what the host forms returned | words that kernels wrote, `vkGetQueryPoolResults` | words that kernels wrote, `resolveCounterRange:`, the command buffer's `error` |
//! | [`Pipeline::check`] | always | `maxComputeWorkGroupCount`, the sizes of the declared types | the sizes of the declared types |
//! | the drop of a [`Memory`] | gives it back | `vkDestroyBuffer`, `vkFreeMemory` | lets go of the `MTLBuffer` |
//!
//! # Doubles
//!
//! [`mock`] is a device as weak as the contract allows: it reorders, overlaps, completes late, takes few lists if told
//! so, and hands out memory full of NaN. [`validate`] wraps any device and checks each submission against a
//! happens-before model of its own. [`faulty`] wraps any device and takes protections out, to show that something then
//! notices.

pub mod check;
mod command;
mod device;
mod error;
pub mod faulty;
pub mod host;
mod kernel;
mod list;
pub mod mock;
pub mod process;
#[cfg(any(feature = "spirv", feature = "msl"))]
pub mod shader;
pub mod validate;

pub use command::{Access, Binding, Command, Span};
pub use device::{
    BINDING_ALIGNMENT, Device, DeviceInfo, DeviceKind, Doorbell, HostAccess, KernelSupport, Limits, Listener,
    MAX_BINDINGS, MAX_PARAMETER_BYTES, Memory, MemoryKind, Pipeline, Queue, Report, Reported, Submission, Timeline,
    TimelinePoint, Timestamps, unique_id,
};
pub use error::{Error, KernelFailure, Result, Violation};
pub use kernel::{
    Bounds, Features, Groups, HostCall, HostFn, HostInputs, HostOutputs, KernelSource, MAX_GROUPS, Wgsl, WgslModule,
};
pub use list::{List, PARAMETER_ALIGNMENT, Prepared, Step};
