//! Rows of several heads, as a view of a binding: what attention and rotary embedding take.

use crate::kernel::Outcome;
use crate::params::params;
use thalweg_hal::KernelFailure;

params! {
    /// Where the elements of `[n, heads, d]` lie in a binding: that of a row, a head and a column is at `offset + row *
    /// row_stride + head * head_stride + column`.
    #[derive(PartialEq, Eq)]
    pub struct Heads {
        /// The first element.
        pub offset: u32,
        /// From a row to the next.
        pub row_stride: u32,
        /// From a head to the next.
        pub head_stride: u32,
    }
}

impl Heads {
    /// The view of a contiguous operand.
    pub fn contiguous(heads: u32, head_dim: u32) -> Self {
        Self { offset: 0, row_stride: heads.saturating_mul(head_dim), head_stride: head_dim }
    }

    /// Whether each four columns lie together at a multiple of four elements, where a head has a multiple of four.
    pub fn is_wide(self) -> bool {
        [self.offset, self.row_stride, self.head_stride].iter().all(|step| step.is_multiple_of(4))
    }

    /// Fails if an element of `[n, heads, d]` is outside of a binding of `len` elements.
    pub(crate) fn check(self, what: &str, [n, heads, head_dim]: [usize; 3], len: usize) -> Outcome {
        if n == 0 {
            return Ok(());
        }
        let steps = |count: usize, stride: u32| (count as u128 - 1) * u128::from(stride);
        let last =
            u128::from(self.offset) + steps(n, self.row_stride) + steps(heads, self.head_stride) + steps(head_dim, 1);
        if last < len as u128 {
            return Ok(());
        }
        let message = format!("{what} of [{n}, {heads}, {head_dim}] reaches element {last}, the binding has {len}");
        Err(KernelFailure::new(message))
    }

    /// The binding from the first column of a row's head on.
    #[inline(always)]
    pub(crate) fn from(self, data: &[f32], row: usize, head: usize) -> &[f32] {
        &data[self.offset as usize + row * self.row_stride as usize + head * self.head_stride as usize..]
    }
}
