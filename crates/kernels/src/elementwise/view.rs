//! Strided views of up to six axes, and how a kernel reads one in blocks.

use crate::kernel::Outcome;
use crate::params::params;
use thalweg_hal::KernelFailure;

/// The most axes.
pub const MAX_RANK: usize = 6;

/// The lengths of the axes, outermost first. A shape of lower rank has leading axes of length 1.
pub type Shape = [u32; MAX_RANK];

params! {
    /// Where the elements of an operand lie in its binding: element `[i0, .., i5]` is at `offset` plus the sum of
    /// `strides[axis] * i[axis]`, in elements. A stride of 0 repeats (broadcasts) the element along its axis.
    #[derive(PartialEq, Eq)]
    pub struct View {
        /// The first element.
        pub offset: u32,
        /// From one element of an axis to the next.
        pub strides: [u32; MAX_RANK],
    }
}

impl View {
    /// The view of a contiguous operand.
    ///
    /// # Panics
    /// If the shape has more elements than a `u32` counts.
    pub fn contiguous(shape: Shape) -> Self {
        let mut strides = [0; MAX_RANK];
        let mut stride = 1u32;
        for axis in (0..MAX_RANK).rev() {
            strides[axis] = stride;
            stride = stride.checked_mul(shape[axis]).expect("a shape's elements are counted by u32");
        }
        Self { offset: 0, strides }
    }
}

/// The number of elements.
pub(crate) fn elements(shape: Shape) -> u128 {
    // Saturation cannot make two numbers equal that a u32 holds.
    shape.iter().fold(1u128, |product, axis| product.saturating_mul(u128::from(*axis)))
}

/// An operand with its axes merged as far as possible.
pub(crate) struct Operand<'a, T> {
    pub(crate) data: &'a [T],
    offset: usize,
    rank: usize,
    shape: [usize; MAX_RANK],
    strides: [usize; MAX_RANK],
}

impl<'a, T: Copy> Operand<'a, T> {
    /// Fails if an element is outside of `data`.
    pub(crate) fn new(what: &str, view: View, shape: Shape, data: &'a [T]) -> Outcome<Self> {
        if !shape.contains(&0) {
            let reach: u128 = shape.iter().zip(view.strides).map(|(n, s)| u128::from(n - 1) * u128::from(s)).sum();
            let last = u128::from(view.offset) + reach;
            if last >= data.len() as u128 {
                let message =
                    format!("{what} of shape {shape:?} reaches element {last}, the binding has {}", data.len());
                return Err(KernelFailure::new(message));
            }
        }
        let mut merged =
            Self { data, offset: view.offset as usize, rank: 0, shape: [1; MAX_RANK], strides: [0; MAX_RANK] };
        for (length, stride) in shape.into_iter().zip(view.strides).filter(|(length, _)| *length != 1) {
            let (length, stride) = (length as usize, stride as usize);
            let last = merged.rank.wrapping_sub(1);
            if merged.rank > 0 && merged.strides[last] == stride * length {
                merged.shape[last] *= length;
                merged.strides[last] = stride;
            } else {
                merged.shape[merged.rank] = length;
                merged.strides[merged.rank] = stride;
                merged.rank += 1;
            }
        }
        merged.rank = merged.rank.max(1); // a single element is an axis of length 1
        Ok(merged)
    }

    /// The elements `start..start + buffer.len()` in row-major order: straight from the operand where they lie
    /// together, else gathered into `buffer`.
    #[inline(always)]
    pub(super) fn block<'b>(&self, start: usize, buffer: &'b mut [T]) -> &'b [T]
    where
        'a: 'b,
    {
        let mut walk = self.walk(start);
        if self.stride() == 1 && self.left(&walk) >= buffer.len() {
            return &self.data[walk.at..walk.at + buffer.len()];
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let run = self.left(&walk).min(buffer.len() - filled);
            self.take(walk.at, &mut buffer[filled..filled + run]);
            filled += run;
            self.advance(&mut walk, run);
        }
        buffer
    }

    /// Copies the elements from `at` on that are the operand's stride apart.
    #[inline(always)]
    pub(crate) fn take(&self, at: usize, to: &mut [T]) {
        match self.stride() {
            0 => to.fill(self.data[at]),
            1 => to.copy_from_slice(&self.data[at..at + to.len()]),
            stride => to.iter_mut().enumerate().for_each(|(i, to)| *to = self.data[at + i * stride]),
        }
    }

    /// A walk over the elements in row-major order, from number `start` on, which there is.
    #[inline(always)]
    pub(crate) fn walk(&self, start: usize) -> Walk {
        let mut walk = Walk { index: [0; MAX_RANK], at: self.offset };
        let mut rest = start;
        for axis in (0..self.rank).rev() {
            walk.index[axis] = rest % self.shape[axis];
            rest /= self.shape[axis];
            walk.at += walk.index[axis] * self.strides[axis];
        }
        walk
    }

    /// From one element of a run to the next.
    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        self.strides[self.rank - 1]
    }

    /// How many elements of the run are left.
    #[inline(always)]
    pub(crate) fn left(&self, walk: &Walk) -> usize {
        self.shape[self.rank - 1] - walk.index[self.rank - 1]
    }

    /// On by as many elements as are left of the run, or fewer.
    #[inline(always)]
    pub(crate) fn advance(&self, walk: &mut Walk, by: usize) {
        let inner = self.rank - 1;
        walk.index[inner] += by;
        walk.at += by * self.strides[inner];
        if walk.index[inner] < self.shape[inner] {
            return;
        }
        // The inner axis back to its start, the next outer one a step on.
        walk.at -= walk.index[inner] * self.strides[inner];
        walk.index[inner] = 0;
        for axis in (0..inner).rev() {
            walk.index[axis] += 1;
            walk.at += self.strides[axis];
            if walk.index[axis] < self.shape[axis] {
                break;
            }
            walk.at -= walk.index[axis] * self.strides[axis];
            walk.index[axis] = 0;
        }
    }
}

/// Where a walk over an operand is. It goes by runs: elements of the innermost axis, all one stride apart.
pub(crate) struct Walk {
    index: [usize; MAX_RANK],
    /// Where the next element lies.
    pub(crate) at: usize,
}
