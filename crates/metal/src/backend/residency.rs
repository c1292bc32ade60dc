//! Which memory the device must have at hand: one set a device, that every command queue has.
//!
//! Where there are no such sets (before macOS 15) each encoder names the heaps that its list uses.

use super::{Object, refused};
use crate::sync::lock;
use objc2::runtime::{NSObjectProtocol, ProtocolObject};
use objc2::sel;
use objc2_metal::{MTLCommandQueue, MTLDevice, MTLHeap, MTLResidencySet, MTLResidencySetDescriptor};
use std::sync::Mutex;
use thalweg_hal::Result;

/// The set, if the system has such.
pub struct Residency(Option<Mutex<Set>>);

struct Set(Object<dyn MTLResidencySet>);

// SAFETY: the set may be used from any thread, by one at a time: it is behind the mutex.
unsafe impl Send for Set {}

impl Residency {
    /// # Errors
    /// What Metal says.
    pub fn new(device: &ProtocolObject<dyn MTLDevice>) -> Result<Self> {
        if !device.respondsToSelector(sel!(newResidencySetWithDescriptor:error:)) {
            return Ok(Self(None));
        }
        let set = device
            .newResidencySetWithDescriptor_error(&MTLResidencySetDescriptor::new())
            .map_err(|error| refused("newResidencySetWithDescriptor:error:", &error))?;
        set.requestResidency();
        Ok(Self(Some(Mutex::new(Set(set)))))
    }

    /// Whether encoders have to name the heaps that they use.
    pub fn is_by_encoder(&self) -> bool {
        self.0.is_none()
    }

    /// Has every list of a command queue find what is in the set.
    pub fn serve(&self, queue: &ProtocolObject<dyn MTLCommandQueue>) {
        self.change(|set| queue.addResidencySet(set));
    }

    /// Enters a heap. Lists that are submitted from now on may use it.
    pub fn enter(&self, heap: &ProtocolObject<dyn MTLHeap>) {
        self.change(|set| {
            set.addAllocation(ProtocolObject::from_ref(heap));
            set.commit();
        });
    }

    /// Takes a heap out, which nothing uses any more.
    pub fn leave(&self, heap: &ProtocolObject<dyn MTLHeap>) {
        self.change(|set| {
            set.removeAllocation(ProtocolObject::from_ref(heap));
            set.commit();
        });
    }

    fn change(&self, change: impl FnOnce(&ProtocolObject<dyn MTLResidencySet>)) {
        if let Some(set) = &self.0 {
            change(&lock(set).0);
        }
    }
}
