//! What goes wrong on purpose: command buffers that the device kills, memory that is not there, texts that do not
//! compile.
//!
//! Everything is set by a call, with a count, for the whole process; nothing is by the environment.

use crate::rt::class::lock;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

static COMMAND_BUFFERS: Mutex<VecDeque<(isize, u64)>> = Mutex::new(VecDeque::new());
static REJECTIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static COMPILATIONS: AtomicU64 = AtomicU64::new(0);

/// `MTLCommandBufferErrorTimeout`.
pub const TIMEOUT: isize = 2;
/// `MTLCommandBufferErrorPageFault`.
pub const PAGE_FAULT: isize = 3;
/// `MTLCommandBufferErrorAccessRevoked`, which is what a process gets once its submissions are ignored.
pub const SUBMISSIONS_IGNORED: isize = 4;
/// `MTLCommandBufferErrorOutOfMemory`.
pub const OUT_OF_MEMORY: isize = 8;

/// So many of the next command buffers that are committed are killed: some of the work is done, the signals never
/// happen, the status is `Error` and the error has this code. Calls add up, in order. `u64::MAX` is for ever.
pub fn kill_command_buffers(code: isize, count: u64) {
    lock(&COMMAND_BUFFERS).push_back((code, count));
}

/// So many of the next command buffers that are committed are refused for want of memory: nothing of them begins, and
/// their handlers are called at once, whatever of their queue still runs.
pub fn reject_command_buffers(count: u64) {
    REJECTIONS.store(count, Ordering::SeqCst);
}

/// From now on, the system ignores what this process submits.
pub fn ignore_submissions() {
    kill_command_buffers(SUBMISSIONS_IGNORED, u64::MAX);
}

/// So many of the next heaps and buffers with bytes of their own are nil.
pub fn fail_allocations(count: u64) {
    ALLOCATIONS.store(count, Ordering::SeqCst);
}

/// So many of the next compilations fail.
pub fn fail_compilations(count: u64) {
    COMPILATIONS.store(count, Ordering::SeqCst);
}

/// Nothing goes wrong any more.
pub fn clear() {
    lock(&COMMAND_BUFFERS).clear();
    reject_command_buffers(0);
    fail_allocations(0);
    fail_compilations(0);
}

/// The error of a command buffer that is being committed.
pub(crate) fn command_buffer_fails() -> Option<isize> {
    let mut all = lock(&COMMAND_BUFFERS);
    while all.front().is_some_and(|(_, count)| *count == 0) {
        all.pop_front();
    }
    let (code, count) = all.front_mut()?;
    *count -= u64::from(*count != u64::MAX);
    Some(*code)
}

fn take(count: &AtomicU64) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

pub(crate) fn command_buffer_is_rejected() -> bool {
    take(&REJECTIONS)
}

pub(crate) fn allocation_fails() -> bool {
    take(&ALLOCATIONS)
}

pub(crate) fn compilation_fails() -> bool {
    take(&COMPILATIONS)
}

/// What Metal says of a command buffer's error.
pub(crate) fn description(code: isize) -> String {
    let (text, name) = match code {
        TIMEOUT => ("Caused GPU Timeout Error", "Timeout"),
        PAGE_FAULT => ("Caused GPU Address Fault Error", "PageFault"),
        SUBMISSIONS_IGNORED => ("Ignored (for causing prior/excessive GPU errors)", "SubmissionsIgnored"),
        OUT_OF_MEMORY => ("Insufficient Memory", "OutOfMemory"),
        _ => ("Internal Error", "Hang"),
    };
    format!("{text} ({code:08x}:kIOGPUCommandBufferCallbackError{name})")
}
