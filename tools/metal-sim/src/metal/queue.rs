//! `MTLCommandQueue`.

use super::command_buffer::{SimCommandBuffer, SimCommandBufferDescriptor};
use crate::engine::QueueState;
use crate::foundation::object;
use crate::rt::class::lock;
use crate::rules::{RESIDENCY_SETS, broken};
use objc2::rc::Retained;
use objc2::runtime::{NSObject, NSObjectProtocol, ProtocolObject};
use objc2::{DefinedClass, define_class};
use objc2_foundation::NSString;
use objc2_metal::{MTLCommandQueue, MTLResidencySet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Queues that a process gets; of a real system it is known that some hundreds are too many.
const MOST_QUEUES: usize = 512;
/// Residency sets that a queue takes.
const MOST_SETS: usize = 32;

static QUEUES: AtomicUsize = AtomicUsize::new(0);

/// The object's share of the queue: when it goes, the threads end once the work is done.
pub struct Owner(Arc<QueueState>);

impl Drop for Owner {
    fn drop(&mut self) {
        QUEUES.fetch_sub(1, Ordering::Relaxed);
        self.0.close();
    }
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "SimCommandQueue"]
    #[ivars = Owner]
    pub struct SimQueue;

    unsafe impl NSObjectProtocol for SimQueue {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLCommandQueue for SimQueue {
        #[unsafe(method(setLabel:))]
        fn set_label(&self, label: Option<&NSString>) {
            *lock(&self.ivars().0.label) = label.map(ToString::to_string).unwrap_or_default();
        }

        #[unsafe(method_id(commandBuffer))]
        fn command_buffer(&self) -> Option<Retained<SimCommandBuffer>> {
            Some(SimCommandBuffer::new(&self.ivars().0, true))
        }

        #[unsafe(method_id(commandBufferWithUnretainedReferences))]
        fn command_buffer_with_unretained_references(&self) -> Option<Retained<SimCommandBuffer>> {
            Some(SimCommandBuffer::new(&self.ivars().0, false))
        }

        #[unsafe(method_id(commandBufferWithDescriptor:))]
        fn command_buffer_with_descriptor(
            &self,
            descriptor: &SimCommandBufferDescriptor,
        ) -> Option<Retained<SimCommandBuffer>> {
            Some(SimCommandBuffer::new(&self.ivars().0, descriptor.retains()))
        }

        #[unsafe(method(addResidencySet:))]
        fn add_residency_set(&self, set: &ProtocolObject<dyn MTLResidencySet>) {
            if lock(&self.ivars().0.sets).add(set) > MOST_SETS {
                broken(RESIDENCY_SETS, format_args!("a queue takes {MOST_SETS}"));
            }
        }

        #[unsafe(method(removeResidencySet:))]
        fn remove_residency_set(&self, set: &ProtocolObject<dyn MTLResidencySet>) {
            lock(&self.ivars().0.sets).remove(set);
        }
    }
);

impl SimQueue {
    /// `None` if the process has too many.
    pub fn new(most_command_buffers: usize) -> Option<Retained<Self>> {
        if QUEUES.fetch_add(1, Ordering::Relaxed) >= MOST_QUEUES {
            QUEUES.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(object!(SimQueue, Owner(QueueState::new(most_command_buffers))))
    }
}
