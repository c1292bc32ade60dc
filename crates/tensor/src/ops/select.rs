//! Which elements: by a mask, or by their numbers. The operands may be any views.

use super::dispatch;
use super::kernels::moving;
use crate::layout::{Axes, Layout, broadcast};
use crate::{DType, Error, Result, Tensor};
use thalweg_kernels::elementwise::{SELECT, SelectParams};
use thalweg_kernels::gather::{GATHER, Params};

impl Tensor {
    /// `a` where the mask is not 0, `b` where it is, element by element, broadcasting: what other libraries call
    /// `where`. The mask is u32, as [`compare`](Self::compare) makes it; the others are of any type, and the same.
    ///
    /// # Errors
    /// If the shapes do not broadcast, or a type does not match.
    pub fn select(mask: &Self, a: &Self, b: &Self) -> Result<Self> {
        mask.expect_dtype("select", "the mask", DType::U32)?;
        b.expect_dtype("select", "the second operand", a.dtype)?;
        let shape = broadcast("select", "the second operand", a.shape(), b.shape())?;
        let shape = broadcast("select", "the mask", &shape, mask.shape())?;
        let layout = Layout::contiguous("select", &shape)?;
        let view =
            |operand: &Self, what| operand.layout.broadcast_to("select", what, &shape).map(|layout| layout.view());
        let params = SelectParams {
            shape: layout.kernel_shape(),
            mask: view(mask, "the mask")?,
            a: view(a, "the first operand")?,
            b: view(b, "the second operand")?,
        };
        let (source, elements) = (moving(&SELECT, a.dtype, "select")?, layout.elements());
        let operands = [mask.whole(), a.whole(), b.whole()];
        dispatch(source, &operands, a.device(), (layout, a.dtype), &params, elements)
    }

    /// Entries of one axis, by their numbers: entry `i` of the result is entry `indices[i]` of this. The indices are
    /// u32, one axis; any of them may be there more than once. This may be of any type.
    ///
    /// # Errors
    /// If there is no such axis, or the indices are of another type or shape; if the axis is empty, and there are some.
    /// An index beyond the axis fails when the data is read, which then says which it is.
    pub fn index_select(&self, axis: usize, indices: &Self) -> Result<Self> {
        let count = indices.expect_list("index_select", "the indices")?;
        let mut shape = Axes::from_slice(self.shape());
        *shape.get_mut(axis).ok_or_else(|| self.no_axis("index_select", axis))? = count;
        let mut strides = Axes::from_elem(0, shape.len());
        strides[axis] = indices.layout.strides[0];
        let places = Layout { shape, strides, offset: indices.layout.offset };
        self.gathered("index_select", axis, indices, &places)
    }

    /// Along one axis, for each index the element that it names: of two axes, and the first of them,
    /// `result[i, j] = self[indices[i, j], j]`. The indices are u32, and their shape is this one's but for the length
    /// of the axis. This may be of any type.
    ///
    /// # Errors
    /// As for [`index_select`](Self::index_select).
    pub fn gather(&self, axis: usize, indices: &Self) -> Result<Self> {
        let mut expected = Axes::from_slice(self.shape());
        *expected.get_mut(axis).ok_or_else(|| self.no_axis("gather", axis))? =
            indices.shape().get(axis).copied().unwrap_or(0);
        if indices.shape() != &*expected {
            let (given, own) = (indices.shape().to_vec(), self.shape());
            let expected = format!("{own:?} but for the length of axis {axis}");
            return Err(Error::Shape { operation: "gather", what: "the indices", given, expected });
        }
        self.gathered("gather", axis, indices, &indices.layout)
    }

    /// `places` is where the index of each element of the result lies.
    fn gathered(&self, name: &'static str, axis: usize, indices: &Self, places: &Layout) -> Result<Self> {
        indices.expect_dtype(name, "the indices", DType::U32)?;
        let layout = Layout::contiguous(name, &places.shape)?;
        let length = self.shape()[axis];
        if length == 0 && layout.elements() > 0 {
            let (given, expected) = (self.shape().to_vec(), format!("an axis {axis} of at least 1, for the indices"));
            return Err(Error::Shape { operation: name, what: "the operand", given, expected });
        }
        let mut from = self.layout.clone();
        from.strides[axis] = 0;
        let params = Params {
            // Within u32, by the layout.
            length: length as u32,
            stride: self.layout.strides[axis] as u32,
            shape: layout.kernel_shape(),
            from: from.view(),
            index: places.view(),
        };
        let (source, elements) = (moving(&GATHER, self.dtype, name)?, layout.elements());
        let operands = [self.whole(), indices.whole()];
        dispatch(source, &operands, self.device(), (layout, self.dtype), &params, elements)
    }
}
