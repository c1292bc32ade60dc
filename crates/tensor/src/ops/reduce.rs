//! Axes to one value. Where the axes are not the last ones of a contiguous tensor, it is first copied so that they are.

use super::kernels::kernel;
use super::{bindable, dispatch};
use crate::layout::{Axes, Layout};
use crate::{DType, Error, Result, Tensor};
use bytemuck::Pod;
use thalweg_hal::StaticKernel;
use thalweg_kernels::reduce::{ARG_REDUCE, ArgParams, Params, REDUCE, Reduction};

impl Tensor {
    /// The last axis reduced to one value and left out, f32 or f16.
    ///
    /// # Errors
    /// If the tensor is of another type, or has no axis or an empty last one.
    pub fn reduce(&self, reduction: Reduction) -> Result<Self> {
        let Some(last) = self.shape().len().checked_sub(1) else {
            self.expect_float("reduce", "the operand")?;
            let (given, expected) = (self.shape().to_vec(), "at least one axis".to_owned());
            return Err(Error::Shape { operation: "reduce", what: "the operand", given, expected });
        };
        self.reduced("reduce", reduction, &[last], false)
    }

    /// Some axes, in any order, reduced to one value, f32 or f16: they are left out, or with `keepdim` have length 1.
    /// With no axes every element is a value by itself. Sums are f32. Costs a copy beside, unless the axes are the last
    /// ones of a contiguous tensor.
    ///
    /// # Errors
    /// If the tensor is of another type, there is no such axis, one is there twice, or one is empty.
    pub fn reduce_axes(&self, reduction: Reduction, axes: &[usize], keepdim: bool) -> Result<Self> {
        self.reduced("reduce_axes", reduction, axes, keepdim)
    }

    /// Where the greatest value of an axis is, u32; of any type. The first of equals, and of the first NaN if there is
    /// one. The axis is left out, or with `keepdim` has length 1. Costs as [`reduce_axes`](Self::reduce_axes).
    ///
    /// # Errors
    /// If there is no such axis, or it is empty.
    pub fn argmax(&self, axis: usize, keepdim: bool) -> Result<Self> {
        self.place("argmax", axis, keepdim, 0)
    }

    /// Where the least value of an axis is; see [`argmax`](Self::argmax).
    ///
    /// # Errors
    /// As for [`argmax`](Self::argmax).
    pub fn argmin(&self, axis: usize, keepdim: bool) -> Result<Self> {
        self.place("argmin", axis, keepdim, 1)
    }

    fn place(&self, name: &'static str, axis: usize, keepdim: bool, least: u32) -> Result<Self> {
        let source = kernel(&ARG_REDUCE, self.dtype, name, "the operand")?;
        self.by_axes(name, source, &[axis], keepdim, DType::U32, |width| ArgParams { least, width })
    }

    fn reduced(&self, name: &'static str, reduction: Reduction, axes: &[usize], keepdim: bool) -> Result<Self> {
        let source = kernel(&REDUCE, self.dtype, name, "the operand")?;
        let reduction = reduction as u32;
        self.by_axes(name, source, axes, keepdim, self.dtype, |width| Params { reduction, width })
    }

    /// A kernel from rows to a value each; `params` are made of the length of a row.
    fn by_axes<P: Pod>(
        &self,
        name: &'static str,
        source: &'static StaticKernel,
        axes: &[usize],
        keepdim: bool,
        dtype: DType,
        params: impl FnOnce(u32) -> P,
    ) -> Result<Self> {
        let rank = self.shape().len();
        let goes = |axis: &usize| axes.contains(axis);
        let (gone, kept): (Axes, Axes) = (0..rank).partition(goes);
        if gone.len() != axes.len() {
            return Err(self.no_such(name, format!("axes {axes:?} were asked for, expected different ones of it")));
        }
        let width: usize = gone.iter().map(|axis| self.shape()[*axis]).product();
        if width == 0 {
            let (given, expected) = (self.shape().to_vec(), format!("axes {axes:?} of at least 1"));
            return Err(Error::Shape { operation: name, what: "the operand", given, expected });
        }
        let length = |axis: usize| if !goes(&axis) { Some(self.shape()[axis]) } else { keepdim.then_some(1) };
        let shape: Axes = (0..rank).filter_map(length).collect();
        let layout = Layout::contiguous(name, &shape)?;
        let order: Axes = kept.into_iter().chain(gone).collect();
        let x = bindable(&self.permute(&order)?)?;
        let items = layout.elements();
        // Within u32, by the layout, which counts no empty axis.
        dispatch(source, &[x.exact()], self.device(), (layout, dtype), &params(width as u32), items)
    }
}

macro_rules! reductions {
    ($($method:ident, $reduction:ident, $what:literal;)*) => {
        impl Tensor {
            $(
                #[doc = concat!($what, " over some axes; see [`reduce_axes`](Self::reduce_axes).")]
                ///
                /// # Errors
                /// As for [`reduce_axes`](Self::reduce_axes).
                pub fn $method(&self, axes: &[usize], keepdim: bool) -> Result<Self> {
                    self.reduced(stringify!($method), Reduction::$reduction, axes, keepdim)
                }
            )*
        }
    };
}
reductions! {
    sum, Sum, "The sum";
    mean, Mean, "The mean";
    max, Max, "The greatest value, NaN if there is one,";
    min, Min, "The smallest value, NaN if there is one,";
    product, Product, "The product";
}
