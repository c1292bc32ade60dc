//! `MTLFence`: orders the encoders of one queue that memory alone does not.

use super::life::Alive;
use crate::engine::Done;
use crate::foundation::object;
use crate::rt::class::lock;
use crate::rules::{FENCE_QUEUES, broken};
use objc2::rc::Retained;
use objc2::runtime::{NSObject, NSObjectProtocol};
use objc2::{DefinedClass, define_class};
use objc2_foundation::NSString;
use objc2_metal::MTLFence;
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Inner {
    /// The queue of the encoders that it orders.
    queue: Option<u64>,
    /// The encoder of the last update that was committed.
    updated: Option<Done>,
}

/// The fence itself, which the queue knows.
#[derive(Default)]
pub struct FenceState(Mutex<Inner>);

impl FenceState {
    /// An encoder that waits was committed: what it waits for.
    pub fn awaited(&self, queue: u64) -> Option<Done> {
        self.of(queue);
        lock(&self.0).updated.clone()
    }

    /// An encoder that updates was committed.
    pub fn update(&self, queue: u64, done: Done) {
        self.of(queue);
        lock(&self.0).updated = Some(done);
    }

    fn of(&self, queue: u64) {
        let other = *lock(&self.0).queue.get_or_insert(queue);
        if other != queue {
            broken(FENCE_QUEUES, format_args!("a fence of queue {other} is used on queue {queue}"));
        }
    }
}

/// What a fence is made of.
pub struct Ivars {
    pub state: Arc<FenceState>,
    pub life: Alive,
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "SimFence"]
    #[ivars = Ivars]
    pub struct SimFence;

    unsafe impl NSObjectProtocol for SimFence {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLFence for SimFence {
        #[unsafe(method(setLabel:))]
        fn set_label(&self, label: Option<&NSString>) {
            self.ivars().life.set_label(label);
        }
    }
);

impl SimFence {
    pub fn new() -> Retained<Self> {
        object!(SimFence, Ivars { state: Arc::default(), life: Alive::new("MTLFence") })
    }
}
