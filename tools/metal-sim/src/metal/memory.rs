//! Bytes of the device: pages of their own, so that an access after the last release is a segmentation fault.

use crate::faults;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

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

/// Bytes that are poisoned by one mapping.
const POISON_BYTES: usize = 2 << 20;

/// A file in memory of nothing but poison: mapped as often as it takes, it costs no time per byte.
fn poison() -> Option<libc::c_int> {
    static FILE: OnceLock<Option<libc::c_int>> = OnceLock::new();
    *FILE.get_or_init(|| {
        let bytes = vec![0xffu8; POISON_BYTES];
        // SAFETY: a new file, which lives as long as the process; the bytes are as long.
        unsafe {
            let file = libc::memfd_create(c"metal-sim-poison".as_ptr(), libc::MFD_CLOEXEC);
            let written = libc::write(file, bytes.as_ptr().cast(), bytes.len());
            (usize::try_from(written) == Ok(bytes.len())).then_some(file)
        }
    })
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
    /// Zeros, as a buffer's own bytes are. `None` if there is no memory.
    pub fn zeros(length: usize) -> Option<Arc<Self>> {
        Self::new(length)
    }

    /// What lies in a heap before anybody has written it: NaN in floats, and an index that is past any end. `None` if
    /// there is no memory.
    pub fn poison(length: usize) -> Option<Arc<Self>> {
        let bytes = Self::new(length)?;
        for offset in (0..length).step_by(POISON_BYTES) {
            let (access, kind) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE);
            let length = POISON_BYTES.min(length - offset);
            // SAFETY: pages of ours that nobody uses yet; writes make copies of the file's.
            let mapped = unsafe { libc::mmap(bytes.at(offset).cast(), length, access, kind, poison()?, 0) };
            if mapped == libc::MAP_FAILED {
                return None;
            }
        }
        Some(bytes)
    }

    fn new(length: usize) -> Option<Arc<Self>> {
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
