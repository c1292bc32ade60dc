//! What the families' layers are made of: weights on a device, and how each is read.

use crate::error::Result;
use crate::packed::PackedBatch;
use crate::weights::Scope;
use thalweg_tensor::{Activation, PackedMatrix, Result as TensorResult, Tensor};

/// A matrix and a bias.
pub(crate) struct Dense {
    weight: PackedMatrix,
    /// Zeros where the layer has none.
    bias: Tensor,
}

impl Dense {
    /// How many outputs it has.
    pub(super) fn outputs(&self) -> usize {
        self.weight.outputs()
    }

    /// `activation(input * weight^T + bias)`.
    pub(crate) fn apply(&self, input: &Tensor, activation: Activation) -> TensorResult<Tensor> {
        input.linear(&self.weight, &self.bias, activation)
    }
}

/// How a family normalises.
#[derive(Clone, Copy)]
pub(crate) struct Normal {
    pub(crate) kind: NormKind,
    pub(crate) epsilon: f32,
}

/// What is taken off a row, and what it is divided by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// The mean, and the standard deviation; then a weight, and a bias if it has one.
    Layer { bias: bool },
    /// Nothing, and the root of the mean square; then a weight.
    RootMeanSquare,
}

/// A normalisation.
pub(crate) struct Norm {
    /// `[width]`.
    weight: Tensor,
    /// `[width]`.
    bias: Option<Tensor>,
    normal: Normal,
}

impl Norm {
    /// The normalised rows.
    pub(crate) fn apply(&self, input: &Tensor) -> TensorResult<Tensor> {
        match self.normal.kind {
            NormKind::Layer { .. } => input.layer_norm(&self.weight, self.bias.as_ref(), self.normal.epsilon),
            NormKind::RootMeanSquare => input.rms_norm(&self.weight, self.normal.epsilon),
        }
    }

    /// The normalised sum of the two.
    pub(crate) fn add(&self, input: Tensor, residual: &Tensor) -> TensorResult<Tensor> {
        match &self.bias {
            Some(bias) => input.add_layer_norm(residual, &self.weight, bias, self.normal.epsilon),
            None => self.apply(&sum(input, residual)?),
        }
    }
}

/// The sum of the two, in the memory of the first.
pub(crate) fn sum(mut first: Tensor, second: &Tensor) -> TensorResult<Tensor> {
    first.add_in_place(second)?;
    Ok(first)
}

/// Rows to look up, `[rows, width]`.
pub(crate) struct Table {
    /// All rows in their order; several where the device's longest binding is shorter than the table.
    parts: Vec<Tensor>,
}

impl Table {
    fn rows(&self, ids: &Tensor) -> TensorResult<Tensor> {
        Tensor::embedding(&self.parts.iter().collect::<Vec<_>>(), ids)
    }

    fn whole(&self) -> Option<&Tensor> {
        if let [whole] = &self.parts[..] { Some(whole) } else { None }
    }
}

/// What the layers start from: for each token the sum of a row of each table, normalised.
pub(crate) struct Embeddings {
    pub(crate) words: Table,
    pub(crate) positions: Option<Table>,
    pub(crate) types: Option<Table>,
    pub(crate) norm: Option<Norm>,
}

impl Embeddings {
    pub(crate) fn apply(&self, batch: &PackedBatch) -> TensorResult<Tensor> {
        let summed = self.summed(batch)?;
        self.norm.as_ref().map_or(Ok(summed.clone()), |norm| norm.apply(&summed))
    }

    fn summed(&self, batch: &PackedBatch) -> TensorResult<Tensor> {
        let others = [(&self.positions, &batch.positions), (&self.types, &batch.types)];
        if let Some(words) = self.words.whole()
            && let [Some(positions), Some(types)] = others.map(|(table, _)| table.as_ref().and_then(Table::whole))
        {
            let ids = [&batch.ids, &batch.positions, &batch.types];
            return Tensor::embed([words, positions, types], ids);
        }
        let mut summed = self.words.rows(&batch.ids)?;
        for (table, ids) in others {
            if let Some(table) = table {
                summed = sum(summed, &table.rows(ids)?)?;
            }
        }
        Ok(summed)
    }
}

/// Two dense layers, with an activation between them, or a gate.
pub(crate) struct FeedForward {
    pub(crate) wide: Dense,
    pub(crate) narrow: Dense,
    pub(crate) activation: Activation,
    /// Whether the wide layer makes two halves, of which the first, through the activation, is the second's gate.
    pub(crate) gated: bool,
}

impl FeedForward {
    pub(crate) fn apply(&self, input: &Tensor) -> TensorResult<Tensor> {
        let wide = match self.gated {
            true => self.wide.apply(input, Activation::None)?.gated(self.activation)?,
            false => self.wide.apply(input, self.activation)?,
        };
        self.narrow.apply(&wide, Activation::None)
    }
}

/// The names of dense layers that have the same input, and are one here: their outputs lie side by side.
pub(crate) struct Stack {
    /// Each, in the order of the outputs.
    pub(crate) apart: &'static [&'static str],
    /// Where checkpoints have them as one: its name, and the place in it of each.
    pub(crate) whole: Option<(&'static str, &'static [usize])>,
}

impl Stack {
    /// Of layers that checkpoints have apart.
    pub(crate) const fn apart(apart: &'static [&'static str]) -> Self {
        Self { apart, whole: None }
    }

    /// Of layers that checkpoints have as one.
    pub(crate) const fn whole(name: &'static str, places: &'static [usize]) -> Self {
        Self { apart: &[], whole: Some((name, places)) }
    }
}

impl Scope<'_> {
    /// A dense layer: `name.weight`, `[outputs, inputs]` as checkpoints have it, and `name.bias`, if it has one.
    pub(crate) fn dense(&self, name: &str, outputs: usize, inputs: usize, bias: bool) -> Result<Dense> {
        self.joined(&[name], &[outputs], inputs, bias)
    }

    /// Several dense layers as one, with so many outputs each.
    pub(crate) fn stack(&self, names: &Stack, outputs: &[usize], inputs: usize, bias: bool) -> Result<Dense> {
        let stored_whole = |(name, _): &(&str, &[usize])| names.apart.is_empty() || self.has(&format!("{name}.weight"));
        let Some((name, places)) = names.whole.filter(stored_whole) else {
            return self.joined(names.apart, outputs, inputs, bias);
        };
        let (total, part) = (outputs.iter().sum(), self.at(name));
        let (mut weight, mut biases) = (Vec::new(), Vec::new());
        for (place, count) in places.iter().zip(outputs) {
            let before: usize = places.iter().zip(outputs).filter(|(other, _)| *other < place).map(|(_, n)| n).sum();
            let rows = before..before + count;
            part.read_rows("weight", &[total, inputs], rows.clone(), &mut weight)?;
            if bias {
                part.read_rows("bias", &[total], rows, &mut biases)?;
            }
        }
        self.packed(&weight, biases, total, inputs)
    }

    fn joined(&self, names: &[&str], outputs: &[usize], inputs: usize, bias: bool) -> Result<Dense> {
        let (mut weight, mut biases) = (Vec::new(), Vec::new());
        for (name, outputs) in names.iter().zip(outputs) {
            let part = self.at(name);
            part.read("weight", &[*outputs, inputs], &mut weight)?;
            if bias {
                part.read("bias", &[*outputs], &mut biases)?;
            }
        }
        self.packed(&weight, biases, outputs.iter().sum(), inputs)
    }

    /// A dense layer of these values; without biases, if there are none.
    pub(super) fn packed(&self, weight: &[f32], mut bias: Vec<f32>, outputs: usize, inputs: usize) -> Result<Dense> {
        bias.resize(outputs, 0.0);
        Ok(Dense { weight: self.pack(weight, outputs, inputs)?, bias: self.freeze(&bias, &[outputs])? })
    }

    /// A normalisation: `name.weight`, and `name.bias` where it has one.
    pub(crate) fn norm(&self, name: &str, width: usize, normal: Normal) -> Result<Norm> {
        let part = self.at(name);
        let bias = normal.kind == NormKind::Layer { bias: true };
        let bias = bias.then(|| part.vector("bias", width)).transpose()?;
        Ok(Norm { weight: part.vector("weight", width)?, bias, normal })
    }

    /// A table: `name.weight`, `[rows, width]`.
    pub(crate) fn table(&self, name: &str, rows: usize, width: usize) -> Result<Table> {
        let most = (self.longest_binding() / (width * self.dtype().bytes()) as u64).max(1);
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(rows);
        let part = |begin: usize| self.at(name).rows("weight", [rows, width], begin..rows.min(begin + most));
        Ok(Table { parts: (0..rows).step_by(most).map(part).collect::<Result<_>>()? })
    }
}
