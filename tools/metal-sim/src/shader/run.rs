//! A dispatch: its groups one after the other, on the calling thread.

mod order;

use super::Function;
use crate::fiber;
use crate::rules::{self, broken};
use order::Order;
use std::ffi::c_void;

/// Bytes that a buffer argument is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Where they start.
    pub start: *mut u8,
    /// How many there are, to the buffer's end.
    pub bytes: usize,
}

/// What a dispatch has bound, and how large it is.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// By buffer index; `None` where nothing is bound.
    pub buffers: &'a [Option<Span>],
    /// Bytes set for each threadgroup argument.
    pub threadgroup: &'a [usize],
    /// Groups along each axis.
    pub grid: [u32; 3],
    /// Threads of a group along each axis.
    pub size: [u32; 3],
}

/// What a kernel's caller reads, `sim::call` in the shim.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Call {
    buffers: *const *mut c_void,
    threadgroups: *const *mut c_void,
    grid: [u32; 3],
    pub(crate) size: [u32; 3],
}

/// Where a thread is, `sim::at` in the shim.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct At {
    pub(crate) group: [u32; 3],
    pub(crate) in_group: [u32; 3],
    pub(crate) index: u32,
}

/// What threadgroup memory holds before anybody has written it: NaN in floats, and an index that is past any end.
const POISON: u8 = 0xff;

/// The buffers that Metal has room for.
pub(super) const BUFFERS: usize = 31;

/// The memory of a threadgroup argument. Behind it are words that nobody writes.
struct Shared {
    words: Vec<u128>,
}

impl Shared {
    /// Words behind the argument.
    const BEHIND: usize = 4;

    fn new(bytes: usize) -> Self {
        let mut shared = Self { words: vec![0; bytes.div_ceil(size_of::<u128>()) + Self::BEHIND] };
        shared.poison();
        shared
    }

    fn start(&mut self) -> *mut c_void {
        self.words.as_mut_ptr().cast()
    }

    fn poison(&mut self) {
        self.words.fill(u128::from_ne_bytes([POISON; 16]));
    }

    fn is_whole(&self) -> bool {
        let behind = &self.words[self.words.len() - Self::BEHIND..];
        behind.iter().all(|word| *word == u128::from_ne_bytes([POISON; 16]))
    }
}

impl Function {
    /// Runs a dispatch on this thread, to its end.
    ///
    /// # Safety
    /// - Each span is valid for reads, and for writes where the kernel writes, until this returns.
    /// - Nobody else uses these bytes in a way that races with the kernel.
    /// - The kernel stays inside of what is bound: nothing here checks an index.
    pub unsafe fn run(&self, launch: &Launch<'_>) {
        let threads = launch.size.iter().map(|axis| u64::from(*axis)).product::<u64>();
        if threads > u64::from(self.max_threads) {
            broken(rules::DISPATCH_SIZE, format_args!("{}: {threads}, at most {}", self.name, self.max_threads));
        }
        let mut buffers = [std::ptr::null_mut::<c_void>(); BUFFERS];
        for argument in &self.buffers {
            let index = argument.index as usize;
            match launch.buffers.get(index).copied().flatten() {
                Some(span) if span.bytes >= argument.bytes as usize => buffers[index] = span.start.cast(),
                span => broken(
                    rules::SHORT_ARGUMENT,
                    format_args!("{}: buffer {index} needs {} bytes; bound is {span:?}", self.name, argument.bytes),
                ),
            }
        }
        let mut memory: Vec<Shared> = Vec::new();
        for (index, least) in self.threadgroup.iter().enumerate() {
            match launch.threadgroup.get(index) {
                Some(bytes) if *bytes >= *least as usize => memory.push(Shared::new(*bytes)),
                bytes => broken(
                    rules::THREADGROUP_MEMORY,
                    format_args!("{}: argument {index} needs {least} bytes; set are {bytes:?}", self.name),
                ),
            }
        }
        let pointers: Vec<*mut c_void> = memory.iter_mut().map(Shared::start).collect();
        let (grid, size) = (launch.grid, launch.size);
        let call = Call { buffers: buffers.as_ptr(), threadgroups: pointers.as_ptr(), grid, size };
        if threads == 0 {
            return;
        }
        let order = Order::next_of(grid.iter().map(|axis| u64::from(*axis)).product(), crate::config().seed);
        let (x, y) = (u64::from(grid[0]), u64::from(grid[1]));
        for group in order {
            memory.iter_mut().for_each(Shared::poison);
            let group = [(group % x) as u32, (group / x % y) as u32, (group / x / y) as u32];
            let at = At { group, ..At::default() };
            if self.meets {
                // SAFETY: by the caller's promise, the call has all that the kernel takes.
                unsafe { fiber::run(self.code, &call, at, &self.name, order.backwards) };
            } else {
                // SAFETY: as above.
                unsafe { (self.code)(&raw const call, &raw const at) };
            }
            if let Some(index) = memory.iter().position(|memory| !memory.is_whole()) {
                broken(
                    rules::THREADGROUP_MEMORY,
                    format_args!("{}: threadgroup {group:?} wrote past the end of argument {index}", self.name),
                );
            }
        }
        if self.meets {
            fiber::check_stacks(&self.name);
        }
    }
}
