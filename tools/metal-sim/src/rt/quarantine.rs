//! Where dead objects and blocks lie for a while: their memory is intact, so that a later use is noticed.

use super::class::lock;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Mutex;

/// What lies here at most; then the oldest is freed.
const BYTES: usize = 64 << 20;

#[derive(Default)]
struct Dead {
    memory: VecDeque<(usize, usize)>,
    bytes: usize,
}

/// Takes memory of `malloc`'s after its owner's death.
///
/// # Safety
/// The memory is as long, and nobody frees it.
pub unsafe fn bury(memory: *mut c_void, bytes: usize) {
    static DEAD: Mutex<Dead> = Mutex::new(Dead { memory: VecDeque::new(), bytes: 0 });
    let mut dead = lock(&DEAD);
    dead.memory.push_back((memory as usize, bytes));
    dead.bytes += bytes;
    while dead.bytes > BYTES {
        let Some((oldest, bytes)) = dead.memory.pop_front() else { break };
        dead.bytes -= bytes;
        // SAFETY: promised when it was buried; a later use has had its time to be noticed.
        unsafe { libc::free(oldest as *mut c_void) };
    }
}
