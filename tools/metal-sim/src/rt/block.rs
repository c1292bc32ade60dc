//! Blocks: copied from the stack once, then counted in their flags.

use super::quarantine::bury;
use crate::rules::{USE_AFTER_RELEASE, broken};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

#[repr(C)]
struct Descriptor {
    reserved: usize,
    size: usize,
    copy: Option<unsafe extern "C-unwind" fn(*mut Block, *const Block)>,
    dispose: Option<unsafe extern "C-unwind" fn(*mut Block)>,
}

#[repr(C)]
pub struct Block {
    isa: *const c_void,
    flags: AtomicU32,
    reserved: c_int,
    invoke: *const c_void,
    descriptor: *const Descriptor,
}

/// The bits of the count; the lowest bit says that the block is being deallocated.
const COUNT: u32 = 0xfffe;
const ONE: u32 = 2;
const ON_HEAP: u32 = 1 << 24;
const HAS_HELPERS: u32 = 1 << 25;
const GLOBAL: u32 = 1 << 28;

#[unsafe(export_name = "_NSConcreteGlobalBlock")]
static GLOBAL_BLOCK: [usize; 32] = [0; 32];
#[unsafe(export_name = "_NSConcreteStackBlock")]
static STACK_BLOCK: [usize; 32] = [0; 32];
static HEAP_BLOCK: [usize; 32] = [0; 32];

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Blocks on the heap.
pub fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn _Block_copy(block: *mut Block) -> *mut Block {
    // SAFETY: a block, or null.
    let Some(it) = (unsafe { block.as_ref() }) else { return block };
    let flags = it.flags.load(Ordering::Relaxed);
    if flags & GLOBAL != 0 {
        return block;
    }
    if flags & ON_HEAP != 0 {
        if it.flags.fetch_add(ONE, Ordering::Relaxed) & COUNT == 0 {
            broken(USE_AFTER_RELEASE, format_args!("copy of a dead block"));
        }
        return block;
    }
    // SAFETY: a block on the stack is as long as its descriptor says; its helper copies what is no plain data.
    unsafe {
        let size = (*it.descriptor).size;
        let copy = libc::malloc(size).cast::<Block>();
        assert!(!copy.is_null(), "no memory for a block");
        std::ptr::copy_nonoverlapping(block.cast::<u8>(), copy.cast::<u8>(), size);
        (*copy).isa = (&raw const HEAP_BLOCK).cast();
        (*copy).flags = AtomicU32::new((flags & !COUNT) | ON_HEAP | ONE);
        if let Some(helper) = (*it.descriptor).copy.filter(|_| flags & HAS_HELPERS != 0) {
            helper(copy, block);
        }
        LIVE.fetch_add(1, Ordering::Relaxed);
        copy
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn _Block_release(block: *mut Block) {
    // SAFETY: a block, or null.
    let Some(it) = (unsafe { block.as_ref() }) else { return };
    let flags = it.flags.load(Ordering::Relaxed);
    if flags & GLOBAL != 0 || flags & ON_HEAP == 0 {
        return;
    }
    let before = if flags & COUNT == 0 { 0 } else { it.flags.fetch_sub(ONE, Ordering::AcqRel) & COUNT };
    if before == 0 {
        broken(USE_AFTER_RELEASE, format_args!("release of a dead block"));
    }
    if before == ONE {
        // SAFETY: the last count is this thread's; `_Block_copy` allocated it.
        unsafe {
            if let Some(helper) = (*it.descriptor).dispose.filter(|_| flags & HAS_HELPERS != 0) {
                helper(block);
            }
            bury(block.cast(), (*it.descriptor).size);
        }
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}
