//! `MTLComputePipelineState`.

use super::life::Alive;
use crate::foundation::object;
use crate::shader::Function;
use objc2::rc::Retained;
use objc2::runtime::{NSObject, NSObjectProtocol};
use objc2::{DefinedClass, define_class};
use objc2_metal::{MTLAllocation, MTLComputePipelineState};
use std::sync::Arc;

/// What a pipeline is made of.
pub struct Ivars {
    pub function: Arc<Function>,
    pub life: Alive,
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "SimComputePipelineState"]
    #[ivars = Ivars]
    pub struct SimPipeline;

    unsafe impl NSObjectProtocol for SimPipeline {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLAllocation for SimPipeline {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLComputePipelineState for SimPipeline {
        #[unsafe(method(maxTotalThreadsPerThreadgroup))]
        fn max_total_threads_per_threadgroup(&self) -> usize {
            self.ivars().function.max_threads as usize
        }

        #[unsafe(method(threadExecutionWidth))]
        fn thread_execution_width(&self) -> usize {
            32
        }

        #[unsafe(method(staticThreadgroupMemoryLength))]
        fn static_threadgroup_memory_length(&self) -> usize {
            0
        }
    }
);

impl SimPipeline {
    pub fn new(function: Arc<Function>) -> Retained<Self> {
        object!(SimPipeline, Ivars { function, life: Alive::new("MTLComputePipelineState") })
    }
}
