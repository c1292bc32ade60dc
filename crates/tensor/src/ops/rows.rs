//! Along the last axis. Views are made contiguous first. Where the result has the operand's shape, an empty operand has
//! an empty result, also if it is the last axis that is empty.

use super::kernels::kernel;
use super::{bindable, dispatch};
use crate::layout::{Axes, Layout};
use crate::{Activation, Error, Result, Tensor};
use bytemuck::Pod;
use thalweg_kernels::{Kernels, gated, norm, pool, softmax};

impl Tensor {
    /// Softmax over the last axis, f32 or f16. A row of nothing but -inf becomes NaN.
    ///
    /// # Errors
    /// If the tensor is of another type or has no axis.
    pub fn softmax(&self) -> Result<Self> {
        let width = self.row_width("softmax")?;
        self.by_rows("softmax", &softmax::SOFTMAX, &[], &softmax::Params { width })
    }

    /// Rows scaled to Euclidean length 1, or left 0, f32 or f16: `x / max(|x|, 1e-12)`.
    ///
    /// # Errors
    /// If the tensor is of another type or has no axis.
    pub fn normalize(&self) -> Result<Self> {
        let width = self.row_width("normalize")?;
        self.by_rows("normalize", &pool::NORMALIZE, &[], &pool::NormalizeParams { width })
    }

    /// Layer normalisation over the last axis, f32 or f16; `weight` and `bias` are `[width]`, of the same type. Without
    /// a bias (`None`) nothing is added.
    ///
    /// # Errors
    /// If a type or shape does not match.
    pub fn layer_norm<'a>(&self, weight: &Self, bias: impl Into<Option<&'a Self>>, epsilon: f32) -> Result<Self> {
        let width = self.row_width("layer_norm")?;
        let params = norm::Params { width, epsilon };
        weight.expect_shape("layer_norm", "the weight", &[width as usize])?;
        let Some(bias) = bias.into() else {
            let others = &[(weight, "the weight")];
            return self.by_rows("layer_norm", &norm::LAYER_NORM_UNBIASED, others, &params);
        };
        bias.expect_shape("layer_norm", "the bias", &[width as usize])?;
        let others = &[(weight, "the weight"), (bias, "the bias")];
        self.by_rows("layer_norm", &norm::LAYER_NORM, others, &params)
    }

    /// Normalisation by the root mean square over the last axis, f32 or f16: `x / sqrt(mean(x^2) + epsilon) * weight`;
    /// `weight` is `[width]`, of the same type.
    ///
    /// # Errors
    /// If a type or shape does not match.
    pub fn rms_norm(&self, weight: &Self, epsilon: f32) -> Result<Self> {
        let width = self.row_width("rms_norm")?;
        weight.expect_shape("rms_norm", "the weight", &[width as usize])?;
        self.by_rows("rms_norm", &norm::RMS_NORM, &[(weight, "the weight")], &norm::Params { width, epsilon })
    }

    /// What a gated feed-forward block does between its dense layers: `activation(first half) * second half` of the
    /// last axis, `[.., 2 * width]` to `[.., width]`, f32 or f16.
    ///
    /// # Errors
    /// If the tensor is of another type, or the last axis is odd or empty.
    pub fn gated(&self, activation: Activation) -> Result<Self> {
        let both = self.row_width("gated")?;
        if both == 0 || both % 2 == 1 {
            let (given, expected) = (self.shape().to_vec(), "a last axis of two halves".to_owned());
            return Err(Error::Shape { operation: "gated", what: "the operand", given, expected });
        }
        let width = both / 2;
        let mut shape = Axes::from_slice(self.shape());
        shape.pop();
        let rows = shape.iter().product();
        shape.push(width as usize);
        let layout = Layout::contiguous("gated", &shape)?;
        let source = kernel(&gated::GATED, self.dtype, "gated", "the operand")?;
        let params = gated::Params { width, activation: activation as u32 };
        let x = bindable(self)?;
        dispatch(source, &[x.exact()], self.device(), (layout, self.dtype), &params, rows)
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
        let others = &[(residual, "the residual"), (weight, "the weight"), (bias, "the bias")];
        self.by_rows("add_layer_norm", &norm::ADD_LAYER_NORM, others, &norm::Params { width, epsilon })
    }

    /// The length of the last axis of a floating-point tensor.
    fn row_width(&self, operation: &'static str) -> Result<u32> {
        self.expect_float(operation, "the operand")?;
        match self.shape().last() {
            Some(width) => Ok(*width as u32), // within u32, by the layout
            None => {
                let (given, expected) = (self.shape().to_vec(), "at least one axis".to_owned());
                Err(Error::Shape { operation, what: "the operand", given, expected })
            }
        }
    }

    /// A kernel from rows to rows of the same length.
    fn by_rows(
        &self,
        operation: &'static str,
        kernels: &'static Kernels,
        others: &[(&Self, &'static str)],
        params: &impl Pod,
    ) -> Result<Self> {
        let layout = Layout::contiguous(operation, self.shape())?;
        let mut operands = smallvec::SmallVec::<[Self; 4]>::new();
        operands.push(bindable(self)?);
        for (operand, what) in others {
            operand.expect_dtype(operation, what, self.dtype)?;
            operands.push(bindable(operand)?);
        }
        let inputs: smallvec::SmallVec<[_; 4]> = operands.iter().map(Self::exact).collect();
        let rows = self.shape().split_last().map_or(1, |(_, rows)| rows.iter().product());
        let source = kernel(kernels, self.dtype, operation, "the operand")?;
        dispatch(source, &inputs, self.device(), (layout, self.dtype), params, rows)
    }
}
