//! From one stack to another, by hand: what a function has to keep for its caller goes to the stack that is left.

/// Saves where this fiber is, and goes on where another was.
///
/// # Safety
/// - `save` is valid for a write.
/// - `to` is what an earlier call saved, and has not been gone on with since; or what [`prepare`] gave.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn switch(save: *mut *mut u8, to: *mut u8) {
    core::arch::naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        // Not by `ret`: the processor would predict the way back to where this one was called.
        "pop rcx",
        "jmp rcx",
    )
}

/// Saves where this fiber is, and goes on where another was.
///
/// # Safety
/// - `save` is valid for a write.
/// - `to` is what an earlier call saved, and has not been gone on with since; or what [`prepare`] gave.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn switch(save: *mut *mut u8, to: *mut u8) {
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-160]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mov x9, sp",
        "str x9, [x0]",
        "mov sp, x1",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #160",
        "br x30",
    )
}

/// Words that [`switch`] takes from a stack, where the address to go on at lies among them, and the words that lie
/// above so that the stack is aligned as it is in a function that was called.
#[cfg(target_arch = "x86_64")]
const FRAME: (usize, usize, usize) = (7, 6, 1);
#[cfg(target_arch = "aarch64")]
const FRAME: (usize, usize, usize) = (20, 1, 0);

/// Makes an unused stack ready for [`switch`], which will go to `start`.
///
/// # Safety
/// - Below `top`, which is aligned to 16 bytes, lies a stack that nobody uses.
pub(super) unsafe fn prepare(top: *mut u8, start: extern "C" fn() -> !) -> *mut u8 {
    let (words, address, above) = FRAME;
    // SAFETY: a stack has more bytes than that.
    let stack = unsafe { top.cast::<usize>().sub(words + above) };
    // SAFETY: the stack is the caller's.
    unsafe {
        stack.write_bytes(0, words + above);
        stack.add(address).write(start as *const () as usize);
    }
    stack.cast()
}
