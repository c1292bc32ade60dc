//! What the families' layers are made of: weights on a device, and how each is read.

use crate::error::Result;
use crate::packed::PackedBatch;
use crate::weights::Scope;
use thalweg_tensor::{Activation, PackedMatrix, Result as TensorResult, Tensor};

/// A matrix and a bias.
pub(crate) struct Dense {
    weight: PackedMatrix,
    bias: Tensor,
}

impl Dense {
    /// `activation(input * weight^T + bias)`.
    pub(crate) fn apply(&self, input: &Tensor, activation: Activation) -> TensorResult<Tensor> {
        input.linear(&self.weight, &self.bias, activation)
    }
}

/// Weight and bias of a layer normalisation, `[width]` each.
pub(crate) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl Norm {
    /// The normalised rows.
    pub(crate) fn apply(&self, input: &Tensor) -> TensorResult<Tensor> {
        input.layer_norm(&self.weight, &self.bias, self.epsilon)
    }

    /// The normalised sum of the two.
    pub(crate) fn add(&self, input: &Tensor, residual: &Tensor) -> TensorResult<Tensor> {
        input.add_layer_norm(residual, &self.weight, &self.bias, self.epsilon)
    }
}

/// Rows to look up, `[rows, width]`.
pub(crate) struct Table {
    /// All rows in their order. Several where the device's longest binding is shorter than the table.
    parts: Vec<Tensor>,
}

/// What the layers start from: for each token the sum of a row of each table, normalised.
pub(crate) struct Embeddings {
    pub(crate) words: Table,
    pub(crate) positions: Table,
    pub(crate) types: Table,
    pub(crate) norm: Norm,
}

impl Embeddings {
    pub(crate) fn apply(&self, batch: &PackedBatch) -> TensorResult<Tensor> {
        let tables = [&self.words, &self.positions, &self.types].map(|table| &table.parts[0]);
        self.norm.apply(&Tensor::embed(tables, [&batch.ids, &batch.positions, &batch.types])?)
    }
}

impl Scope<'_> {
    /// A dense layer: `name.weight`, `[outputs, inputs]` as checkpoints have it, and `name.bias`.
    pub(crate) fn dense(&self, name: &str, outputs: usize, inputs: usize) -> Result<Dense> {
        self.joined(&[name], outputs, inputs)
    }

    /// Several dense layers of the same size and input as one: their outputs lie side by side.
    pub(crate) fn joined(&self, names: &[&str], outputs: usize, inputs: usize) -> Result<Dense> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            let part = self.at(name);
            part.read("weight", &[outputs, inputs], &mut weight)?;
            part.read("bias", &[outputs], &mut bias)?;
        }
        let outputs = names.len() * outputs;
        Ok(Dense { weight: self.pack(&weight, outputs, inputs)?, bias: self.freeze(&bias, &[outputs])? })
    }

    /// A layer normalisation: `name.weight` and `name.bias`.
    pub(crate) fn norm(&self, name: &str, width: usize, epsilon: f32) -> Result<Norm> {
        let part = self.at(name);
        Ok(Norm { weight: part.vector("weight", width)?, bias: part.vector("bias", width)?, epsilon })
    }

    /// A table: `name.weight`, `[rows, width]`.
    pub(crate) fn table(&self, name: &str, rows: usize, width: usize) -> Result<Table> {
        Ok(Table { parts: vec![self.at(name).rows("weight", [rows, width], 0..rows)?] })
    }

    /// A table of one row, which adds nothing.
    pub(crate) fn no_table(&self, width: usize) -> Result<Table> {
        Ok(Table { parts: vec![self.freeze(&vec![0.0; width], &[1, width])?] })
    }
}
