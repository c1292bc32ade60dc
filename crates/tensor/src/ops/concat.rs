//! Tensors one after the other.

use super::dispatch;
use super::kernels::moving;
use crate::layout::{Axes, Layout};
use crate::{Error, Result, Tensor};
use thalweg_kernels::concat::{CONCAT, MAX_PIECES, Params};

impl Tensor {
    /// The tensors one after the other along an axis, in new memory. They are of one type, any, and of one shape, but
    /// for the length of that axis. At most 7 are copied at a time: of more, those copies are copied once more, and so
    /// on. Views are copied as they are if their rows, the elements from the axis on, lie together and equally far
    /// apart, and else made contiguous first.
    ///
    /// # Errors
    /// If there are none, there is no such axis, or a type or shape differs from the first's; if the result is too
    /// large.
    pub fn concat(tensors: &[&Self], axis: usize) -> Result<Self> {
        let first = tensors.first().ok_or(Error::NoOperands { operation: "concat" })?;
        if axis >= first.shape().len() {
            return Err(first.no_axis("concat", axis));
        }
        for (at, tensor) in tensors.iter().enumerate() {
            tensor.expect_dtype("concat", "one of the tensors", first.dtype)?;
            let same = |(at, (own, other))| at == axis || own == other;
            let mut axes = tensor.shape().iter().zip(first.shape()).enumerate();
            if tensor.shape().len() != first.shape().len() || !axes.all(same) {
                let expected = format!("{:?} but for axis {axis}, as tensor 0; it is number {at}", first.shape());
                let given = tensor.shape().to_vec();
                return Err(Error::Shape { operation: "concat", what: "one of the tensors", given, expected });
            }
        }
        Self::joined("concat", tensors.iter().map(|tensor| (*tensor).clone()).collect(), axis)
    }

    /// The tensors as the entries of a new axis, in new memory: entry `i` of axis `axis` is tensor `i`. They are of one
    /// type, any, and of one shape. Costs what [`concat`](Self::concat) does.
    ///
    /// # Errors
    /// As for [`concat`](Self::concat).
    pub fn stack(tensors: &[&Self], axis: usize) -> Result<Self> {
        let first = tensors.first().ok_or(Error::NoOperands { operation: "stack" })?;
        if axis > first.shape().len() {
            return Err(first.no_axis("stack", axis));
        }
        let mut shape = Axes::from_slice(first.shape());
        shape.insert(axis, 1);
        Layout::contiguous("stack", &shape)?;
        let entry = |(at, tensor): (usize, &&Self)| {
            tensor.expect_dtype("stack", "one of the tensors", first.dtype)?;
            if tensor.shape() != first.shape() {
                let expected = format!("{:?}, as tensor 0; it is number {at}", first.shape());
                let given = tensor.shape().to_vec();
                return Err(Error::Shape { operation: "stack", what: "one of the tensors", given, expected });
            }
            Ok(tensor.with_layout(tensor.layout.with_axis(axis)))
        };
        Self::joined("stack", tensors.iter().enumerate().map(entry).collect::<Result<_>>()?, axis)
    }

    /// At least one tensor, with shapes that fit.
    fn joined(name: &'static str, mut pieces: Vec<Self>, axis: usize) -> Result<Self> {
        // Before anything is copied.
        let layout = Self::length_of_all(name, &pieces, axis)?;
        let device = pieces[0].device().clone();
        let dtype = pieces[0].dtype;
        pieces.retain(|piece| piece.elements() > 0);
        while pieces.len() > MAX_PIECES {
            let together = |pieces: &[Self]| match pieces {
                [one] => Ok(one.clone()),
                _ => Self::joined(name, pieces.to_vec(), axis),
            };
            pieces = pieces.chunks(MAX_PIECES).map(together).collect::<Result<_>>()?;
        }
        let mut params = Params { offsets: [0; MAX_PIECES], row_strides: [0; MAX_PIECES], widths: [0; MAX_PIECES] };
        for (at, piece) in pieces.iter_mut().enumerate() {
            let width: usize = piece.shape()[axis..].iter().product();
            let row_stride = match piece.layout.row_stride(axis) {
                Some(stride) => stride,
                None => {
                    *piece = piece.contiguous()?;
                    width
                }
            };
            // Within u32, by the layouts.
            params.offsets[at] = piece.layout.offset as u32;
            (params.row_strides[at], params.widths[at]) = (row_stride as u32, width as u32);
        }
        // Bindings that are not used have a width of 0.
        let operands: Vec<_> = pieces.iter().cycle().take(MAX_PIECES).map(Self::whole).collect();
        let (source, elements) = (moving(&CONCAT, dtype, name)?, layout.elements());
        dispatch(source, &operands, &device, (layout, dtype), &params, elements)
    }

    /// The layout of the pieces one after the other.
    fn length_of_all(name: &'static str, pieces: &[Self], axis: usize) -> Result<Layout> {
        let mut shape = Axes::from_slice(pieces[0].shape());
        shape[axis] = pieces.iter().fold(0, |length, piece| length.saturating_add(piece.shape()[axis]));
        Layout::contiguous(name, &shape)
    }
}
