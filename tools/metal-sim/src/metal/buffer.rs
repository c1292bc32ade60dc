//! `MTLBuffer`: bytes of its own, or a place in a heap.

use super::heap::SimHeap;
use super::life::Alive;
use super::memory::{AllocationId, Bytes, allocation_id};
use crate::foundation::object;
use crate::rules::{PRIVATE_CONTENTS, broken};
use objc2::rc::Retained;
use objc2::runtime::{NSObject, NSObjectProtocol};
use objc2::{DefinedClass, define_class};
use objc2_foundation::NSString;
use objc2_metal::{MTLAllocation, MTLBuffer, MTLHazardTrackingMode, MTLResource, MTLResourceOptions, MTLStorageMode};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

/// Where a buffer's bytes are, for work that outlives the object.
#[derive(Debug)]
pub struct Place {
    pub bytes: Arc<Bytes>,
    pub offset: usize,
    pub length: usize,
    /// Whether Metal itself orders encoders that use it.
    pub tracked: bool,
    pub id: AllocationId,
    /// The heap that it is in.
    pub heap: Option<AllocationId>,
}

impl Place {
    /// The address of a byte of the buffer.
    pub fn at(&self, offset: usize) -> *mut u8 {
        self.bytes.at(self.offset + offset)
    }
}

/// What a buffer is made of.
pub struct Ivars {
    pub place: Arc<Place>,
    storage: MTLStorageMode,
    /// A buffer keeps its heap.
    #[expect(dead_code, reason = "held")]
    heap: Option<Retained<SimHeap>>,
    pub life: Alive,
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "SimBuffer"]
    #[ivars = Ivars]
    pub struct SimBuffer;

    unsafe impl NSObjectProtocol for SimBuffer {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLAllocation for SimBuffer {
        #[unsafe(method(allocatedSize))]
        fn allocated_size(&self) -> usize {
            self.ivars().place.length
        }
    }

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLResource for SimBuffer {
        #[unsafe(method(setLabel:))]
        fn set_label(&self, label: Option<&NSString>) {
            self.ivars().life.set_label(label);
        }

        #[unsafe(method(storageMode))]
        fn storage_mode(&self) -> MTLStorageMode {
            self.ivars().storage
        }

        #[unsafe(method(hazardTrackingMode))]
        fn hazard_tracking_mode(&self) -> MTLHazardTrackingMode {
            if self.ivars().place.tracked { MTLHazardTrackingMode::Tracked } else { MTLHazardTrackingMode::Untracked }
        }

        #[unsafe(method(heapOffset))]
        fn heap_offset(&self) -> usize {
            self.ivars().place.offset
        }
    }

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLBuffer for SimBuffer {
        #[unsafe(method(length))]
        fn length(&self) -> usize {
            self.ivars().place.length
        }

        #[unsafe(method(contents))]
        fn contents(&self) -> NonNull<c_void> {
            let it = self.ivars();
            if it.storage == MTLStorageMode::Private {
                broken(PRIVATE_CONTENTS, format_args!("{:?}", it.life));
            }
            NonNull::new(it.place.at(0).cast()).expect("no pages are at address zero")
        }

        #[unsafe(method(gpuAddress))]
        fn gpu_address(&self) -> u64 {
            self.ivars().place.at(0) as u64
        }
    }
);

/// The storage mode among a resource's options.
pub fn storage_of(options: MTLResourceOptions) -> MTLStorageMode {
    MTLStorageMode(options.0 >> 4 & 0xf)
}

/// The hazard tracking among a resource's options.
pub fn tracking_of(options: MTLResourceOptions) -> MTLHazardTrackingMode {
    MTLHazardTrackingMode(options.0 >> 8 & 3)
}

impl SimBuffer {
    /// A buffer with bytes of its own: ordered by Metal, unless it is asked not to.
    pub fn own(bytes: Arc<Bytes>, options: MTLResourceOptions) -> Retained<Self> {
        let tracked = tracking_of(options) != MTLHazardTrackingMode::Untracked;
        let length = bytes.length();
        let place = Arc::new(Place { bytes, offset: 0, length, tracked, id: allocation_id(), heap: None });
        object!(SimBuffer, Ivars { place, storage: storage_of(options), heap: None, life: Alive::new("MTLBuffer") })
    }

    /// A buffer in a heap.
    pub fn within(heap: Retained<SimHeap>, place: Place, storage: MTLStorageMode) -> Retained<Self> {
        let ivars = Ivars { place: Arc::new(place), storage, heap: Some(heap), life: Alive::new("MTLBuffer") };
        object!(SimBuffer, ivars)
    }
}
