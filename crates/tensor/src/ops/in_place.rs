//! Element by element, on memory that nobody else can name.
//!
//! A tensor that shares its memory refuses. One that does not may still be a view: the other handles are gone, its
//! elements change where they are, and what lies around them nobody can see any more.

use super::kernels::kernel;
use super::record;
use crate::tensor::pattern;
use crate::{DType, Element, Error, Result, Tensor};
use std::sync::Arc;
use thalweg_kernels::elementwise::{
    BINARY_IN_PLACE, Binary, BinaryInPlaceParams, UNARY_IN_PLACE, Unary, UnaryInPlaceParams,
};
use thalweg_runtime::{Operand, Storage, Stream, Work};

/// Records `target[first..] = target[first..] op other`, in `other`'s shape, on a target of `items` elements.
pub(crate) fn change_with(
    name: &'static str,
    operation: Binary,
    other: &Tensor,
    stream: &Stream,
    (target, first, items): (Operand<'_>, usize, usize),
) -> Result<()> {
    let source = kernel(&BINARY_IN_PLACE, other.dtype, name, "the second operand")?;
    let (shape, b) = (other.layout.kernel_shape(), other.layout.view());
    // `Layout` keeps counts within u32.
    let params = BinaryInPlaceParams { operation: operation as u32, first: first as u32, shape, b };
    Ok(record(stream, source, &[other.whole()], target, &params, items)?)
}

impl Tensor {
    /// `self = self op other`, element by element, in this tensor's own memory. `other` broadcasts to this tensor's
    /// shape. Integers wrap.
    ///
    /// ```
    /// # use thalweg_tensor::{Result, Tensor};
    /// fn grow(sum: &mut Tensor, more: &Tensor) -> Result<()> {
    ///     sum.add_in_place(more)
    /// }
    /// ```
    ///
    /// What others can see does not change, so a shared reference is not enough; this does not compile:
    ///
    /// ```compile_fail,E0596
    /// # use thalweg_tensor::{Result, Tensor};
    /// fn grow(sum: &Tensor, more: &Tensor) -> Result<()> {
    ///     sum.add_in_place(more)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shared`] while a clone or a view shares the memory, [`Error::Strided`] if this is a view with elements
    /// that do not lie one after the other, the runtime's `Frozen` for frozen tensors; if `other` does not broadcast to
    /// this shape or has another type. Nothing has changed then. An integer division by zero fails when the data is
    /// read, all of it.
    pub fn binary_in_place(&mut self, operation: Binary, other: &Self) -> Result<()> {
        self.changed_with("binary_in_place", operation, other)
    }

    /// `name` is the operator that was called, for errors.
    pub(super) fn changed_with(&mut self, name: &'static str, operation: Binary, other: &Self) -> Result<()> {
        other.expect_dtype(name, "the second operand", self.dtype)?;
        let layout = other.layout.broadcast_to(name, "the second operand", self.shape())?;
        let (other, first) = (other.with_layout(layout), self.layout.offset);
        self.change(name, |stream, storage| {
            let items = elements_of(storage, other.dtype);
            change_with(name, operation, &other, stream, (Operand::update(storage), first, items))
        })
    }

    /// A function of each element in this tensor's own memory; f32 or f16.
    ///
    /// # Errors
    /// If the tensor is of another type, or as for [`binary_in_place`](Self::binary_in_place).
    pub fn unary_in_place(&mut self, operation: Unary) -> Result<()> {
        let source = kernel(&UNARY_IN_PLACE, self.dtype, "unary_in_place", "the operand")?;
        let dtype = self.dtype;
        let (first, elements) = (self.layout.offset as u32, self.elements() as u32); // within u32, by the layout
        let params = UnaryInPlaceParams { operation: operation as u32, first, elements };
        self.change("unary_in_place", |stream, storage| {
            let items = elements_of(storage, dtype);
            Ok(record(stream, source, &[], Operand::update(storage), &params, items)?)
        })
    }

    /// Every element becomes `value`, in this tensor's own memory; also in a view with elements that do not lie one
    /// after the other. What was there before does not matter, even if the work that made it failed. Of a view, costs a
    /// pass over the whole memory that it is a view of.
    ///
    /// # Errors
    /// [`Error::Shared`] while a clone or a view shares the memory, the runtime's `Frozen` for frozen tensors; if
    /// the tensor has another type.
    pub fn fill<T: Element>(&mut self, value: T) -> Result<()> {
        self.expect_dtype("fill", "the tensor", T::DTYPE)?;
        // All of the memory: nobody can see what is around the view.
        self.own("fill", |stream, storage| Ok(stream.record(&Work::Fill(pattern(value)), &[Operand::write(storage)])?))
    }

    /// Records an operation on the memory; its elements lie one after the other.
    fn change(
        &mut self,
        operation: &'static str,
        record: impl FnOnce(&Stream, &mut Storage) -> Result<()>,
    ) -> Result<()> {
        if !self.layout.is_contiguous() {
            return Err(Error::Strided { operation, shape: self.shape().to_vec() });
        }
        self.own(operation, record)
    }

    /// Records an operation on the memory if it is this tensor's alone. Nothing is recorded for an empty tensor.
    fn own(&mut self, operation: &'static str, record: impl FnOnce(&Stream, &mut Storage) -> Result<()>) -> Result<()> {
        let empty = self.elements() == 0;
        if self.storage.is_frozen() {
            // Shared or not: dropping the others would not help.
            return Err(thalweg_runtime::Error::Frozen { operand: 0 }.into());
        }
        // An exclusive reference to the only handle: no other can appear while the operation is being recorded.
        let storage = Arc::get_mut(&mut self.storage).ok_or(Error::Shared { operation })?;
        if !empty {
            record(&Stream::current(storage.device())?, storage)?;
        }
        Ok(())
    }
}

/// How many elements a storage holds.
fn elements_of(storage: &Storage, dtype: DType) -> usize {
    storage.bytes() as usize / dtype.bytes()
}
