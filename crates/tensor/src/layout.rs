//! Where a tensor's elements lie in its storage.

use crate::{DType, Error, Result};
use smallvec::SmallVec;
use thalweg_kernels::elementwise::View;

/// The most axes of a tensor.
pub const MAX_RANK: usize = 6;

/// Lengths or strides, outermost axis first.
pub(crate) type Axes = SmallVec<[usize; MAX_RANK]>;

/// Shape, strides and first element, all in elements. Invariants: at most [`MAX_RANK`] axes; the number of elements and
/// every element's index fit a `u32`, since kernels count in those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) shape: Axes,
    pub(crate) strides: Axes,
    pub(crate) offset: usize,
}

impl Layout {
    /// Elements one after the other.
    pub(crate) fn contiguous(operation: &'static str, shape: &[usize]) -> Result<Self> {
        let elements = shape.iter().try_fold(1usize, |product, axis| product.checked_mul(*axis));
        // The product of the axes that are not empty bounds the strides too.
        let strides_fit = shape.iter().filter(|axis| **axis != 0).try_fold(1usize, |p, axis| p.checked_mul(*axis));
        let fits = |count: Option<usize>| count.is_some_and(|count| u32::try_from(count).is_ok());
        if shape.len() > MAX_RANK || !fits(elements) || !fits(strides_fit) {
            return Err(Error::TooLarge { operation, shape: shape.to_vec() });
        }
        Ok(Self { shape: shape.into(), strides: contiguous_strides(shape), offset: 0 })
    }

    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The length of the elements one after the other.
    pub(crate) fn bytes(&self, dtype: DType) -> u64 {
        (self.elements() * dtype.bytes()) as u64
    }

    /// Whether the elements lie one after the other, in order.
    pub(crate) fn is_contiguous(&self) -> bool {
        let expected = contiguous_strides(&self.shape);
        let mut axes = self.shape.iter().zip(self.strides.iter().zip(&expected));
        self.elements() == 0 || axes.all(|(length, (stride, expected))| *length == 1 || stride == expected)
    }

    /// The view as kernels take it: six axes, leading ones of length 1.
    pub(crate) fn view(&self) -> View {
        let strides = leading(&self.strides, 0);
        View { offset: self.offset as u32, strides }
    }

    /// The shape as kernels take it.
    pub(crate) fn kernel_shape(&self) -> [u32; MAX_RANK] {
        leading(&self.shape, 1)
    }

    /// The same elements seen with a larger shape: axes of length 1, and missing leading ones, are repeated.
    pub(crate) fn broadcast_to(&self, operation: &'static str, what: &'static str, shape: &[usize]) -> Result<Self> {
        let target = Self::contiguous(operation, shape)?;
        let missing = shape.len().checked_sub(self.shape.len());
        let fits = |missing: usize| self.shape.iter().zip(&shape[missing..]).all(|(from, to)| from == to || *from == 1);
        let Some(missing) = missing.filter(|missing| fits(*missing)) else {
            let (given, expected) = (self.shape.to_vec(), format!("one that broadcasts to {shape:?}"));
            return Err(Error::Shape { operation, what, given, expected });
        };
        let mut strides = Axes::from_elem(0, missing);
        let own = self.shape.iter().zip(&self.strides).zip(&shape[missing..]);
        strides.extend(own.map(|((from, stride), to)| if from == to { *stride } else { 0 }));
        Ok(Self { strides, offset: self.offset, ..target })
    }
}

/// The shape that two operands broadcast to: axis by axis from the innermost, equal or one of them 1.
pub(crate) fn broadcast(operation: &'static str, a: &[usize], b: &[usize]) -> Result<Axes> {
    let rank = a.len().max(b.len());
    let axis = |shape: &[usize], at: usize| (at + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|at| match (axis(a, at), axis(b, at)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => {
                let expected = format!("one that broadcasts with {a:?}: each axis equal, or 1");
                Err(Error::Shape { operation, what: "the second operand", given: b.to_vec(), expected })
            }
        })
        .collect()
}

fn contiguous_strides(shape: &[usize]) -> Axes {
    let mut strides = Axes::from_elem(1, shape.len());
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1);
    }
    strides
}

fn leading(axes: &[usize], fill: u32) -> [u32; MAX_RANK] {
    let mut all = [fill; MAX_RANK];
    let first = MAX_RANK - axes.len();
    // The layout's invariant: they fit.
    all[first..].iter_mut().zip(axes).for_each(|(to, from)| *to = *from as u32);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_from_the_innermost_axis() {
        assert_eq!(broadcast("test", &[4, 1, 3], &[2, 1]).unwrap().as_slice(), [4, 2, 3]);
        assert_eq!(broadcast("test", &[], &[5]).unwrap().as_slice(), [5]);
        assert_eq!(broadcast("test", &[0, 3], &[1]).unwrap().as_slice(), [0, 3]);
        assert!(matches!(broadcast("test", &[4], &[3]), Err(Error::Shape { .. })));
    }

    #[test]
    fn shapes_that_overflow_are_refused() {
        for shape in [&[usize::MAX, 2][..], &[1 << 16, 1 << 16], &[1; 7], &[0, usize::MAX, 3]] {
            assert!(matches!(Layout::contiguous("test", shape), Err(Error::TooLarge { .. })), "{shape:?}");
        }
    }
}
