//! Working memory of a thread that outlives the call, so that a kernel allocates nothing in the long run.

use bytemuck::{Pod, Zeroable};
use std::cell::Cell;

/// A cache line: what a vector load wants its address to be a multiple of.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static KEPT: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// The most that a thread keeps between calls, in bytes; more is given back to the system.
const KEPT_BYTES: usize = 4 << 20;

/// Floats that start at a multiple of 64 bytes, of unspecified value. The thread's own when it has them.
pub(crate) struct Scratch(Vec<Line>);

impl Scratch {
    /// At least `len` floats.
    pub(crate) fn new(len: usize) -> Self {
        let mut lines = KEPT.take();
        let needed = len.div_ceil(16);
        if lines.len() < needed {
            lines.resize(needed, Line::zeroed());
        }
        Self(lines)
    }

    /// All of it.
    pub(crate) fn as_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.len() * size_of::<Line>() <= KEPT_BYTES {
            // A thread that is ending has no place to keep it.
            let lines = std::mem::take(&mut self.0);
            let _ = KEPT.try_with(|kept| kept.set(lines));
        }
    }
}

/// Takes the next `len` floats, rounded up to a whole cache line, off the front.
pub(crate) fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (taken, left) = std::mem::take(rest).split_at_mut(round_up(len));
    *rest = left;
    &mut taken[..len]
}

/// The floats that [`take`] uses up.
pub(crate) fn round_up(len: usize) -> usize {
    len.next_multiple_of(16)
}
