//! Along the last axis. Views are made contiguous first.

use super::{bindable, dispatch};
use crate::layout::Layout;
use crate::{DType, Error, Result, Tensor};
use bytemuck::Pod;
use thalweg_hal::KernelSource;
use thalweg_kernels::reduce::Reduction;
use thalweg_kernels::{norm, pool, reduce, softmax};

impl Tensor {
    /// Softmax over the last axis, f32. A row of nothing but -inf becomes NaN.
    ///
    /// # Errors
    /// If the tensor is not f32 or has no axis.
    pub fn softmax(&self) -> Result<Self> {
        let width = self.row_width("softmax")?;
        self.by_rows("softmax", &softmax::SOFTMAX, &[], &softmax::Params { width })
    }

    /// Rows scaled to Euclidean length 1, or left 0, f32: `x / max(|x|, 1e-12)`.
    ///
    /// # Errors
    /// If the tensor is not f32 or has no axis.
    pub fn normalize(&self) -> Result<Self> {
        let width = self.row_width("normalize")?;
        self.by_rows("normalize", &pool::NORMALIZE, &[], &pool::NormalizeParams { width })
    }

    /// Layer normalisation over the last axis, f32; `weight` and `bias` are `[width]`.
    ///
    /// # Errors
    /// If a type or shape does not match.
    pub fn layer_norm(&self, weight: &Self, bias: &Self, epsilon: f32) -> Result<Self> {
        let width = self.row_width("layer_norm")?;
        weight.expect_shape("layer_norm", "the weight", &[width as usize])?;
        bias.expect_shape("layer_norm", "the bias", &[width as usize])?;
        self.by_rows("layer_norm", &norm::LAYER_NORM, &[weight, bias], &norm::Params { width, epsilon })
    }

    /// Layer normalisation of the sum with `residual`, which has this tensor's shape, in one pass.
    ///
    /// # Errors
    /// If a type or shape does not match.
    pub fn add_layer_norm(&self, residual: &Self, weight: &Self, bias: &Self, epsilon: f32) -> Result<Self> {
        let width = self.row_width("add_layer_norm")?;
        residual.expect_shape("add_layer_norm", "the residual", self.shape())?;
        weight.expect_shape("add_layer_norm", "the weight", &[width as usize])?;
        bias.expect_shape("add_layer_norm", "the bias", &[width as usize])?;
        let others = &[residual, weight, bias];
        self.by_rows("add_layer_norm", &norm::ADD_LAYER_NORM, others, &norm::Params { width, epsilon })
    }

    /// The last axis reduced to one value and left out, f32.
    ///
    /// # Errors
    /// If the tensor is not f32, or has no axis or an empty last one.
    pub fn reduce(&self, reduction: Reduction) -> Result<Self> {
        let width = self.row_width("reduce")?;
        let layout = Layout::contiguous("reduce", &self.shape()[..self.shape().len() - 1])?;
        let params = reduce::Params { reduction: reduction as u32, width };
        let items = layout.elements();
        let x = bindable(self)?;
        dispatch(&reduce::REDUCE, &[x.exact()], self.device(), (layout, DType::F32), &params, items)
    }

    /// The length of the last axis of an f32 tensor.
    fn row_width(&self, operation: &'static str) -> Result<u32> {
        self.expect_dtype(operation, "the operand", DType::F32)?;
        match self.shape().last() {
            Some(width) if *width > 0 => Ok(*width as u32), // within u32, by the layout
            _ => {
                let (given, expected) = (self.shape().to_vec(), "a last axis of at least 1".to_owned());
                Err(Error::Shape { operation, what: "the operand", given, expected })
            }
        }
    }

    /// A kernel from rows to rows of the same length.
    fn by_rows(
        &self,
        operation: &'static str,
        source: &KernelSource,
        others: &[&Self],
        params: &impl Pod,
    ) -> Result<Self> {
        let layout = Layout::contiguous(operation, self.shape())?;
        let mut operands = smallvec::SmallVec::<[Self; 4]>::new();
        for operand in std::iter::once(&self).chain(others) {
            operand.expect_dtype(operation, "an operand", DType::F32)?;
            operands.push(bindable(operand)?);
        }
        let inputs: smallvec::SmallVec<[_; 4]> = operands.iter().map(Self::exact).collect();
        let rows = layout.elements() / self.shape().last().copied().unwrap_or(1);
        dispatch(source, &inputs, self.device(), (layout, DType::F32), params, rows)
    }
}
