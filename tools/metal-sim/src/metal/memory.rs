//! Bytes of the device: pages of their own, so that an access after the last release is a segmentation fault.

use crate::faults;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of all heaps and buffers.
pub fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

/// What a residency set knows an allocation by.
pub type AllocationId = u64;

/// A number that no other allocation has.
pub fn allocation_id() -> AllocationId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Pages of a heap, or of a buffer that has no heap.
#[derive(Debug)]
pub struct Bytes {
    start: *mut u8,
    length: usize,
}

// SAFETY: who may use the bytes is for the program to say, by barriers, fences and events.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// `None` if there is no memory.
    pub fn new(length: usize) -> Option<Arc<Self>> {
        if length == 0 || faults::allocation_fails() {
            return None;
        }
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: new pages, at an address that the system chooses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        ALLOCATED.fetch_add(length, Ordering::Relaxed);
        Some(Arc::new(Self { start: start.cast(), length }))
    }

    pub fn length(&self) -> usize {
        self.length
    }

    /// The address of a byte.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.length);
        // SAFETY: within the pages, or one past them.
        unsafe { self.start.add(offset) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        ALLOCATED.fetch_sub(self.length, Ordering::Relaxed);
        // SAFETY: the pages that `new` mapped.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}
