//! The stacks of a thread's fibers: one mapping, kept for reuse.

use std::ffi::c_void;

/// A fiber's stack. No power of two: else the tops of all stacks would compete for the same few lines of the caches.
///
/// There is no guard between two of them: the compiler refuses functions that need much of it, and a word at each
/// stack's end tells of any that went further.
pub(crate) const STACK_BYTES: usize = (32 << 10) + 5 * 64;

/// What a stack's last word holds until somebody has gone past the end.
const CANARY: u64 = 0x7374_6163_6b20_656e;

/// Stacks for some fibers.
#[derive(Debug)]
pub(super) struct Stacks {
    start: *mut u8,
    count: usize,
}

impl Stacks {
    pub(super) const fn new() -> Self {
        Self { start: std::ptr::null_mut(), count: 0 }
    }

    /// Makes sure that there are as many. Nothing may run on those that there were.
    pub(super) fn reserve(&mut self, count: usize) {
        if count <= self.count {
            return;
        }
        *self = Self::new();
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, of memory that nobody has.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), count * STACK_BYTES, protection, flags, -1, 0) };
        assert!(start != libc::MAP_FAILED, "no memory for the stacks of {count} threads");
        *self = Self { start: start.cast(), count };
        for index in 0..count {
            // SAFETY: inside of the mapping, and nothing runs there.
            unsafe { self.end(index).write(CANARY) };
        }
    }

    /// Behind the last byte of a stack. Aligned to 16 bytes.
    pub(super) fn top(&self, index: usize) -> *mut u8 {
        assert!(index < self.count);
        // SAFETY: inside of the mapping, or its end.
        unsafe { self.start.add((index + 1) * STACK_BYTES) }
    }

    /// The word at the end of a stack, which is its lowest.
    fn end(&self, index: usize) -> *mut u64 {
        assert!(index < self.count);
        // SAFETY: inside of the mapping.
        unsafe { self.start.add(index * STACK_BYTES).cast() }
    }

    /// Whether nobody has gone past the end of a stack.
    pub(super) fn are_whole(&self) -> bool {
        // SAFETY: inside of the mapping, and no fiber runs.
        (0..self.count).all(|index| unsafe { self.end(index).read() } == CANARY)
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        if !self.start.is_null() {
            // SAFETY: the mapping is ours, and no fiber runs.
            unsafe { libc::munmap(self.start.cast::<c_void>(), self.count * STACK_BYTES) };
        }
    }
}
