//! `MTLHeap` and its descriptor. Only placement heaps hand out buffers.

use super::buffer::{Place, SimBuffer, storage_of, tracking_of};
use super::life::Alive;
use super::memory::{AllocationId, Bytes, allocation_id};
use crate::foundation::object;
use crate::rules::{PLACEMENT, broken};
use objc2::rc::{Allocated, Retained};
use objc2::runtime::{NSObject, NSObjectProtocol};
use objc2::{DefinedClass, Message, define_class, msg_send};
use objc2_foundation::NSString;
use objc2_metal::{MTLAllocation, MTLHazardTrackingMode, MTLHeap, MTLHeapType, MTLResourceOptions, MTLStorageMode};
use std::cell::Cell;
use std::sync::Arc;

/// What buffers in heaps are aligned to.
pub const ALIGNMENT: usize = 256;

/// What a heap is to be.
#[derive(Clone, Copy)]
pub struct Wanted {
    size: usize,
    kind: MTLHeapType,
    storage: MTLStorageMode,
    tracking: MTLHazardTrackingMode,
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "MTLHeapDescriptor"]
    #[ivars = Cell<Wanted>]
    pub struct SimHeapDescriptor;

    unsafe impl NSObjectProtocol for SimHeapDescriptor {}

    impl SimHeapDescriptor {
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Retained<Self> {
            let (kind, storage) = (MTLHeapType::Automatic, MTLStorageMode::Private);
            let wanted = Wanted { size: 0, kind, storage, tracking: MTLHazardTrackingMode::Default };
            let this = this.set_ivars(Cell::new(wanted));
            // SAFETY: `init` of NSObject takes nothing and returns the receiver.
            unsafe { msg_send![super(this), init] }
        }

        #[unsafe(method(setSize:))]
        fn set_size(&self, size: usize) {
            self.ivars().set(Wanted { size, ..self.ivars().get() });
        }

        #[unsafe(method(size))]
        fn size(&self) -> usize {
            self.ivars().get().size
        }

        #[unsafe(method(setType:))]
        fn set_type(&self, kind: MTLHeapType) {
            self.ivars().set(Wanted { kind, ..self.ivars().get() });
        }

        #[unsafe(method(type))]
        fn kind(&self) -> MTLHeapType {
            self.ivars().get().kind
        }

        #[unsafe(method(setStorageMode:))]
        fn set_storage_mode(&self, storage: MTLStorageMode) {
            self.ivars().set(Wanted { storage, ..self.ivars().get() });
        }

        #[unsafe(method(storageMode))]
        fn storage_mode(&self) -> MTLStorageMode {
            self.ivars().get().storage
        }

        #[unsafe(method(setHazardTrackingMode:))]
        fn set_hazard_tracking_mode(&self, tracking: MTLHazardTrackingMode) {
            self.ivars().set(Wanted { tracking, ..self.ivars().get() });
        }

        #[unsafe(method(hazardTrackingMode))]
        fn hazard_tracking_mode(&self) -> MTLHazardTrackingMode {
            self.ivars().get().tracking
        }
    }
);

/// What a heap is made of.
pub struct Ivars {
    bytes: Arc<Bytes>,
    wanted: Wanted,
    pub id: AllocationId,
    pub life: Alive,
}

define_class!(
    // SAFETY: as above.
    #[unsafe(super(NSObject))]
    #[name = "SimHeap"]
    #[ivars = Ivars]
    pub struct SimHeap;

    unsafe impl NSObjectProtocol for SimHeap {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLAllocation for SimHeap {
        #[unsafe(method(allocatedSize))]
        fn allocated_size(&self) -> usize {
            self.ivars().bytes.length()
        }
    }

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLHeap for SimHeap {
        #[unsafe(method(setLabel:))]
        fn set_label(&self, label: Option<&NSString>) {
            self.ivars().life.set_label(label);
        }

        #[unsafe(method(size))]
        fn size(&self) -> usize {
            self.ivars().bytes.length()
        }

        #[unsafe(method(currentAllocatedSize))]
        fn current_allocated_size(&self) -> usize {
            self.ivars().bytes.length()
        }

        #[unsafe(method(type))]
        fn kind(&self) -> MTLHeapType {
            self.ivars().wanted.kind
        }

        #[unsafe(method(storageMode))]
        fn storage_mode(&self) -> MTLStorageMode {
            self.ivars().wanted.storage
        }

        #[unsafe(method(hazardTrackingMode))]
        fn hazard_tracking_mode(&self) -> MTLHazardTrackingMode {
            if self.tracked(MTLHazardTrackingMode::Default) {
                MTLHazardTrackingMode::Tracked
            } else {
                MTLHazardTrackingMode::Untracked
            }
        }

        #[unsafe(method_id(newBufferWithLength:options:offset:))]
        fn new_buffer(&self, length: usize, options: MTLResourceOptions, offset: usize) -> Option<Retained<SimBuffer>> {
            let it = self.ivars();
            let size = it.bytes.length();
            if it.wanted.kind != MTLHeapType::Placement {
                broken(PLACEMENT, format_args!("a heap of type {:?} places nothing", it.wanted.kind));
            }
            if length == 0 || offset.checked_add(length).is_none_or(|end| end > size) {
                broken(PLACEMENT, format_args!("{length} bytes at {offset} of a heap of {size}"));
            }
            if !offset.is_multiple_of(ALIGNMENT) {
                broken(PLACEMENT, format_args!("offset {offset} is no multiple of {ALIGNMENT}"));
            }
            if storage_of(options) != it.wanted.storage {
                broken(PLACEMENT, format_args!("{:?} in a heap of {:?}", storage_of(options), it.wanted.storage));
            }
            let tracked = self.tracked(tracking_of(options));
            let place =
                Place { bytes: it.bytes.clone(), offset, length, tracked, id: allocation_id(), heap: Some(it.id) };
            Some(SimBuffer::within(self.retain(), place, it.wanted.storage))
        }
    }
);

impl SimHeapDescriptor {
    /// Bytes of the heap.
    pub fn bytes(&self) -> usize {
        self.ivars().get().size
    }
}

impl SimHeap {
    /// `None` if there is no memory.
    pub fn new(descriptor: &SimHeapDescriptor) -> Option<Retained<Self>> {
        let wanted = descriptor.ivars().get();
        let bytes = Bytes::poison(wanted.size);
        bytes.map(|bytes| object!(SimHeap, Ivars { bytes, wanted, id: allocation_id(), life: Alive::new("MTLHeap") }))
    }

    /// Whether Metal orders what uses a resource of the heap: a heap's are untracked unless the heap was asked to track
    /// them.
    fn tracked(&self, asked: MTLHazardTrackingMode) -> bool {
        self.ivars().wanted.tracking == MTLHazardTrackingMode::Tracked && asked != MTLHazardTrackingMode::Untracked
    }
}
