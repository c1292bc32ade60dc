//! The tensors of a checkpoint under a prefix.

use super::Weights;
use crate::error::Result;
use std::fmt::Display;
use std::ops::Range;
use thalweg_runtime::Pool;
use thalweg_tensor::{DType, PackedMatrix, Tensor, f16};

/// The tensors with names that begin with a prefix, and the memory that they are to be frozen in. Each is read once,
/// converted to what the device computes in, and dropped on the host.
///
/// What it makes of them beyond plain tensors (`dense`, `norm`, `table` and others) is beside the types of these, in
/// `arch::layers`.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    weights: &'a Weights,
    pool: &'a Pool,
    prefix: String,
    /// What the device computes in.
    dtype: DType,
}

impl<'a> Scope<'a> {
    /// All tensors.
    pub(super) fn new(weights: &'a Weights, pool: &'a Pool) -> Self {
        Self { weights, pool, prefix: String::new(), dtype: weights.dtype }
    }

    /// Those of a part.
    pub(crate) fn at(&self, part: impl Display) -> Self {
        Self { prefix: format!("{}{part}.", self.prefix), ..self.clone() }
    }

    /// The same, for a device that computes with them in another type.
    pub(crate) fn computing_in(&self, dtype: DType) -> Self {
        Self { dtype, ..self.clone() }
    }

    /// What the device computes in.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The memory that tensors are frozen in.
    pub(crate) fn pool(&self) -> &'a Pool {
        self.pool
    }

    /// The device's longest binding, in bytes.
    pub(crate) fn longest_binding(&self) -> u64 {
        self.pool.device().info().limits.max_binding_bytes
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.weights.tensors.contains_key(&self.full(name))
    }

    /// Appends the elements of some rows of a tensor of exactly this shape.
    pub(crate) fn read_rows(
        &self,
        name: &str,
        shape: &[usize],
        rows: Range<usize>,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        self.weights.read(&self.full(name), shape, rows, values)
    }

    /// Appends the elements of a tensor of exactly this shape.
    pub(crate) fn read(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<()> {
        self.weights.read(&self.full(name), shape, 0..shape[0], values)
    }

    /// Some rows of a matrix of exactly this shape, frozen. The matrix may be most of a model: host memory has the rows
    /// once, in the type that the device computes in.
    pub(crate) fn rows(&self, name: &str, [count, width]: [usize; 2], rows: Range<usize>) -> Result<Tensor> {
        const AT_ONCE: usize = 1 << 16;
        let (name, shape, frozen) = (self.full(name), [count, width], [rows.len(), width]);
        let mut values = Vec::new();
        if self.dtype() != DType::F16 {
            self.weights.read(&name, &shape, rows, &mut values)?;
            return Ok(Tensor::frozen_in(self.pool, &values, &frozen)?);
        }
        let (step, mut narrowed) = ((AT_ONCE / width).max(1), Vec::new());
        for begin in rows.clone().step_by(step) {
            values.clear();
            self.weights.read(&name, &shape, begin..rows.end.min(begin + step), &mut values)?;
            narrowed.extend(values.iter().map(|value| f16::from_f32(*value)));
        }
        Ok(Tensor::frozen_in(self.pool, &narrowed, &frozen)?)
    }

    /// A tensor of one dimension, frozen.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<Tensor> {
        let mut values = Vec::new();
        self.read(name, &[length], &mut values)?;
        self.freeze(&values, &[length])
    }

    /// Values of this shape, frozen.
    pub(crate) fn freeze(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        Ok(match self.dtype() {
            DType::F16 => {
                let values: Vec<_> = values.iter().map(|value| f16::from_f32(*value)).collect();
                Tensor::frozen_in(self.pool, &values, shape)?
            }
            _ => Tensor::frozen_in(self.pool, values, shape)?,
        })
    }

    /// A matrix `[outputs, inputs]`, packed for products and frozen.
    pub(crate) fn pack(&self, values: &[f32], outputs: usize, inputs: usize) -> Result<PackedMatrix> {
        Ok(PackedMatrix::frozen_in(self.pool, values, outputs, inputs, self.dtype())?)
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
