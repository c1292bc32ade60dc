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

    /// The same elements in the same order with another shape, of as many elements, where strides can say so.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let mut strides = contiguous_strides(shape);
        if self.elements() == 0 {
            return Some(Self { shape: shape.into(), strides, offset: self.offset });
        }
        // From the innermost axes on: as many of ours as lie at one distance of each other, and as many of the new that
        // together have as many elements.
        let mut new = shape.len();
        let mut own = self.shape.len();
        while own > 0 {
            own -= 1;
            let (stride, mut run) = (self.strides[own], self.shape[own]);
            if run == 1 {
                continue;
            }
            while own > 0 && (self.shape[own - 1] == 1 || self.strides[own - 1] == stride * run) {
                own -= 1;
                run *= self.shape[own];
            }
            let mut held = 1;
            while held < run {
                new -= 1; // there is one: both shapes have as many elements
                strides[new] = stride * held;
                held *= shape[new];
            }
            if held != run {
                return None;
            }
        }
        Some(Self { shape: shape.into(), strides, offset: self.offset })
    }

    /// With one more axis, of length 1. The shape is no longer than a tensor's.
    pub(crate) fn with_axis(&self, axis: usize) -> Self {
        let mut layout = self.clone();
        layout.shape.insert(axis, 1);
        layout.strides.insert(axis, 0);
        layout
    }

    /// The elements as rows, of those of `axis` and the ones behind it: from one row to the next, if it is the same
    /// distance everywhere, and the elements of a row lie one after the other.
    pub(crate) fn row_stride(&self, axis: usize) -> Option<usize> {
        let (mut row_stride, mut expected) = (0, Some(1));
        for at in (0..self.shape.len()).rev() {
            if at + 1 == axis {
                expected = None; // the innermost of the axes before decides
            }
            if self.shape[at] == 1 {
                continue;
            }
            if expected.is_some_and(|expected| expected != self.strides[at]) {
                return None;
            }
            if at < axis && expected.is_none() {
                row_stride = self.strides[at];
            }
            expected = Some(self.shape[at] * self.strides[at]);
        }
        Some(row_stride)
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
/// `what` is the second, for the error.
pub(crate) fn broadcast(operation: &'static str, what: &'static str, a: &[usize], b: &[usize]) -> Result<Axes> {
    let rank = a.len().max(b.len());
    let axis = |shape: &[usize], at: usize| (at + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|at| match (axis(a, at), axis(b, at)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => {
                let expected = format!("one that broadcasts with {a:?}: each axis equal, or 1");
                Err(Error::Shape { operation, what, given: b.to_vec(), expected })
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
        assert_eq!(broadcast("test", "it", &[4, 1, 3], &[2, 1]).unwrap().as_slice(), [4, 2, 3]);
        assert_eq!(broadcast("test", "it", &[], &[5]).unwrap().as_slice(), [5]);
        assert_eq!(broadcast("test", "it", &[0, 3], &[1]).unwrap().as_slice(), [0, 3]);
        assert!(matches!(broadcast("test", "it", &[4], &[3]), Err(Error::Shape { .. })));
    }

    #[test]
    fn rows_are_as_far_apart_as_their_axes_say() {
        let layout =
            |shape: &[usize], strides: &[usize]| Layout { shape: shape.into(), strides: strides.into(), offset: 5 };
        let whole = Layout::contiguous("test", &[4, 3, 2]).unwrap();
        assert_eq!([0, 1, 2].map(|axis| whole.row_stride(axis)), [Some(0), Some(6), Some(2)]);
        // Cut along the last axis; one row repeated; turned around.
        assert_eq!(layout(&[4, 3, 2], &[30, 10, 1]).row_stride(2), Some(10));
        assert_eq!(layout(&[4, 3, 2], &[30, 10, 1]).row_stride(1), None);
        assert_eq!(layout(&[4, 1, 2], &[0, 7, 1]).row_stride(1), Some(0));
        assert_eq!(layout(&[4, 3, 2], &[10, 40, 1]).row_stride(2), None);
        assert_eq!(layout(&[2, 3], &[1, 2]).row_stride(1), None);
    }

    /// Every index of a shape, the last axis fastest, and where the layout has it.
    fn places(layout: &Layout) -> Vec<usize> {
        let axes = layout.shape.iter().zip(&layout.strides);
        axes.fold(vec![layout.offset], |outer, (length, stride)| {
            outer.iter().flat_map(|at| (0..*length).map(move |i| at + i * stride)).collect()
        })
    }

    fn layout(shape: &[usize], strides: &[usize]) -> Layout {
        Layout { shape: shape.into(), strides: strides.into(), offset: 5 }
    }

    #[test]
    fn a_view_takes_another_shape_where_strides_can_say_so() {
        let views = [
            (layout(&[4, 6], &[18, 1]), &[4, 3, 2][..]),
            (layout(&[4, 1, 6], &[18, 6, 1]), &[4, 2, 3]),
            (layout(&[4, 1, 6], &[18, 6, 1]), &[2, 2, 1, 6, 1]),
            (layout(&[4, 2, 3], &[18, 3, 1]), &[4, 6]),
            (layout(&[2, 3, 5], &[90, 30, 2]), &[6, 5]),
            (layout(&[6], &[0]), &[2, 3]),
            (layout(&[1, 1], &[7, 9]), &[]),
            (layout(&[], &[]), &[1, 1]),
            (layout(&[2, 0], &[7, 9]), &[3, 0, 4]),
        ];
        for (view, shape) in views {
            let reshaped = view.reshaped(shape).unwrap();
            assert_eq!(reshaped.shape.as_slice(), shape);
            assert_eq!(places(&reshaped), places(&view), "{view:?} as {shape:?}");
        }
        for (view, shape) in [
            (layout(&[4, 6], &[18, 1]), &[24][..]),
            (layout(&[4, 6], &[18, 1]), &[8, 3]),
            (layout(&[4, 6], &[18, 1]), &[3, 8]),
            (layout(&[4, 6], &[1, 4]), &[2, 12]),
            (layout(&[2, 3], &[0, 1]), &[6]),
        ] {
            assert_eq!(view.reshaped(shape), None, "{view:?} as {shape:?}");
        }
    }

    #[test]
    fn shapes_that_overflow_are_refused() {
        for shape in [&[usize::MAX, 2][..], &[1 << 16, 1 << 16], &[1; 7], &[0, usize::MAX, 3]] {
            assert!(matches!(Layout::contiguous("test", shape), Err(Error::TooLarge { .. })), "{shape:?}");
        }
    }
}
