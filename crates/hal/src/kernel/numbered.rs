//! Kernels that are part of the program.

use super::KernelSource;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A kernel that is a `static` of the program. It has a number of its own, by which what was made of it is found
/// without a look at the kernel.
#[derive(Debug)]
pub struct StaticKernel {
    source: KernelSource,
    number: OnceLock<usize>,
}

impl StaticKernel {
    /// For a `static`.
    pub const fn new(source: KernelSource) -> Self {
        Self { source, number: OnceLock::new() }
    }

    /// Its number: those of the kernels that were asked for theirs are 0, 1, 2 and so on.
    pub fn number(&'static self) -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: it orders nothing.
        *self.number.get_or_init(|| NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// What the kernel is.
    pub const fn source(&self) -> &KernelSource {
        &self.source
    }
}

impl Deref for StaticKernel {
    type Target = KernelSource;

    fn deref(&self) -> &KernelSource {
        &self.source
    }
}
