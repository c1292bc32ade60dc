//! `MTLResidencySet` and its descriptor: what is added or removed counts once it is committed.

use super::buffer::SimBuffer;
use super::heap::SimHeap;
use super::memory::AllocationId;
use crate::foundation::object;
use crate::rt::class::lock;
use crate::rules::{TWO_THREADS, broken};
use objc2::rc::{Allocated, Retained};
use objc2::runtime::{AnyObject, NSObject, NSObjectProtocol, ProtocolObject};
use objc2::{ClassType, DefinedClass, Message, define_class, msg_send};
use objc2_foundation::NSString;
use objc2_metal::{MTLAllocation, MTLResidencySet};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "MTLResidencySetDescriptor"]
    #[ivars = Cell<usize>]
    pub struct SimResidencySetDescriptor;

    unsafe impl NSObjectProtocol for SimResidencySetDescriptor {}

    impl SimResidencySetDescriptor {
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Retained<Self> {
            let this = this.set_ivars(Cell::new(0));
            // SAFETY: `init` of NSObject takes nothing and returns the receiver.
            unsafe { msg_send![super(this), init] }
        }

        #[unsafe(method(setLabel:))]
        fn set_label(&self, _label: Option<&NSString>) {}

        #[unsafe(method(setInitialCapacity:))]
        fn set_initial_capacity(&self, capacity: usize) {
            self.ivars().set(capacity);
        }

        #[unsafe(method(initialCapacity))]
        fn initial_capacity(&self) -> usize {
            self.ivars().get()
        }
    }
);

/// A set keeps what is in it.
enum Kept {
    Heap(#[expect(dead_code, reason = "held")] Retained<SimHeap>),
    Buffer(#[expect(dead_code, reason = "held")] Retained<SimBuffer>),
}

type Allocations = HashMap<AllocationId, Arc<Kept>>;

/// The set itself, which its queues know.
#[derive(Default)]
pub struct ResidencyState {
    /// As changed so far.
    changing: Mutex<Allocations>,
    /// As committed. Removed allocations are kept until the commit.
    committed: Mutex<Allocations>,
}

impl ResidencyState {
    /// Whether an allocation was in the set at its last commit.
    pub fn holds(&self, id: AllocationId) -> bool {
        lock(&self.committed).contains_key(&id)
    }

    fn changing(&self) -> MutexGuard<'_, Allocations> {
        match self.changing.try_lock() {
            Ok(allocations) => allocations,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => broken(TWO_THREADS, format_args!("a residency set")),
        }
    }
}

fn identity(allocation: &ProtocolObject<dyn MTLAllocation>) -> (AllocationId, Kept) {
    let object: &AnyObject = allocation.as_ref();
    match (object.downcast_ref::<SimHeap>(), object.downcast_ref::<SimBuffer>()) {
        (Some(heap), _) => (heap.ivars().id, Kept::Heap(heap.retain())),
        (_, Some(buffer)) => (buffer.ivars().place.id, Kept::Buffer(buffer.retain())),
        _ => panic!("{object:?} is neither {} nor {}", SimHeap::NAME, SimBuffer::NAME),
    }
}

define_class!(
    // SAFETY: as above.
    #[unsafe(super(NSObject))]
    #[name = "SimResidencySet"]
    #[ivars = Arc<ResidencyState>]
    pub struct SimResidencySet;

    unsafe impl NSObjectProtocol for SimResidencySet {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLResidencySet for SimResidencySet {
        #[unsafe(method(addAllocation:))]
        fn add_allocation(&self, allocation: &ProtocolObject<dyn MTLAllocation>) {
            let (id, kept) = identity(allocation);
            self.ivars().changing().entry(id).or_insert_with(|| Arc::new(kept));
        }

        #[unsafe(method(removeAllocation:))]
        fn remove_allocation(&self, allocation: &ProtocolObject<dyn MTLAllocation>) {
            self.ivars().changing().remove(&identity(allocation).0);
        }

        #[unsafe(method(removeAllAllocations))]
        fn remove_all_allocations(&self) {
            self.ivars().changing().clear();
        }

        #[unsafe(method(containsAllocation:))]
        fn contains_allocation(&self, allocation: &ProtocolObject<dyn MTLAllocation>) -> bool {
            self.ivars().changing().contains_key(&identity(allocation).0)
        }

        #[unsafe(method(allocationCount))]
        fn allocation_count(&self) -> usize {
            self.ivars().changing().len()
        }

        #[unsafe(method(commit))]
        fn commit(&self) {
            let allocations = self.ivars().changing().clone();
            let before = std::mem::replace(&mut *lock(&self.ivars().committed), allocations);
            drop(before);
        }

        #[unsafe(method(requestResidency))]
        fn request_residency(&self) {
            drop(self.ivars().changing());
        }

        #[unsafe(method(endResidency))]
        fn end_residency(&self) {
            drop(self.ivars().changing());
        }
    }
);

impl SimResidencySet {
    pub fn new() -> Retained<Self> {
        object!(SimResidencySet, Arc::default())
    }
}

/// Sets of a queue or a command buffer.
#[derive(Clone, Default)]
pub struct Sets(Vec<Arc<ResidencyState>>);

impl Sets {
    /// Adds a set; how many there are.
    pub fn add(&mut self, set: &ProtocolObject<dyn MTLResidencySet>) -> usize {
        let set = super::ours::<SimResidencySet>(set.as_ref()).ivars();
        if !self.0.iter().any(|it| Arc::ptr_eq(it, set)) {
            self.0.push(set.clone());
        }
        self.0.len()
    }

    pub fn remove(&mut self, set: &ProtocolObject<dyn MTLResidencySet>) {
        let set = super::ours::<SimResidencySet>(set.as_ref()).ivars();
        self.0.retain(|it| !Arc::ptr_eq(it, set));
    }

    /// Whether one of them holds an allocation.
    pub fn hold(&self, id: AllocationId) -> bool {
        self.0.iter().any(|set| set.holds(id))
    }
}

/// Allocations that need no set.
pub type Used = HashSet<AllocationId>;
