//! Other ways to see the same elements. Nothing here touches the device, except to make a view contiguous.

use crate::layout::{Axes, Layout};
use crate::ops;
use crate::{Error, Result, Tensor};

impl Tensor {
    pub(crate) fn with_layout(&self, layout: Layout) -> Self {
        Self { storage: self.storage.clone(), layout, dtype: self.dtype }
    }

    pub(crate) fn no_such(&self, operation: &'static str, what: String) -> Error {
        Error::Range { operation, what, shape: self.shape().to_vec() }
    }

    pub(crate) fn no_axis(&self, operation: &'static str, axis: usize) -> Error {
        self.no_such(operation, format!("axis {axis} was asked for"))
    }

    /// The elements in the same order with another shape. Copies if no strides put them into that order: what divides
    /// an axis, or joins axes that lie one after the other, needs none.
    ///
    /// # Errors
    /// If the shape holds another number of elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        let layout = Layout::contiguous("reshape", shape)?;
        if layout.elements() != self.elements() {
            let (given, expected) = (self.elements(), layout.elements());
            return Err(Error::Length { operation: "reshape", given, shape: shape.to_vec(), expected });
        }
        if let Some(view) = self.layout.reshaped(shape) {
            return Ok(self.with_layout(view));
        }
        let tensor = self.contiguous()?;
        Ok(tensor.with_layout(Layout { offset: tensor.layout.offset, ..layout }))
    }

    /// The axes in another order: axis `i` of the result is axis `order[i]` of this.
    ///
    /// # Errors
    /// If `order` is not a permutation of the axes.
    pub fn permute(&self, order: &[usize]) -> Result<Self> {
        let mut seen = Axes::from_elem(0, self.shape().len());
        order.iter().for_each(|axis| seen.iter_mut().skip(*axis).take(1).for_each(|count| *count += 1));
        if order.len() != seen.len() || seen.iter().any(|count| *count != 1) {
            return Err(self.no_such("permute", format!("{order:?} is no order of all its axes")));
        }
        let pick = |from: &Axes| order.iter().map(|axis| from[*axis]).collect();
        let Layout { shape, strides, offset } = &self.layout;
        Ok(self.with_layout(Layout { shape: pick(shape), strides: pick(strides), offset: *offset }))
    }

    /// Two axes exchanged.
    ///
    /// # Errors
    /// If there is no such axis.
    pub fn transpose(&self, first: usize, second: usize) -> Result<Self> {
        let mut order: Axes = (0..self.shape().len()).collect();
        if first.max(second) >= order.len() {
            return Err(self.no_such("transpose", format!("axes {first} and {second} were asked for")));
        }
        order.swap(first, second);
        self.permute(&order)
    }

    /// `len` entries of one axis, from `start`.
    ///
    /// # Errors
    /// If there is no such axis, or the range ends past it.
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Result<Self> {
        let end = start.checked_add(len);
        let length = self.shape().get(axis);
        if length.is_none_or(|length| end.is_none_or(|end| end > *length)) {
            return Err(self.no_such("narrow", format!("{len} entries from {start} of axis {axis} were asked for")));
        }
        let mut layout = self.layout.clone();
        layout.shape[axis] = len;
        // An empty view names no element, whichever axis is the empty one; leaving its offset keeps it inside the
        // storage.
        if layout.elements() > 0 {
            layout.offset += start * layout.strides[axis];
        }
        Ok(self.with_layout(layout))
    }

    /// The elements repeated to a larger shape: axes of length 1, and missing leading axes, take any length.
    ///
    /// # Errors
    /// If another axis would change, or the shape is too large.
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Self> {
        Ok(self.with_layout(self.layout.broadcast_to("broadcast_to", "the operand", shape)?))
    }

    /// The same values one after the other: this tensor if they lie so, else a copy.
    ///
    /// # Errors
    /// If there is no memory for the copy.
    pub fn contiguous(&self) -> Result<Self> {
        if self.layout.is_contiguous() { Ok(self.clone()) } else { ops::copy(self) }
    }
}
