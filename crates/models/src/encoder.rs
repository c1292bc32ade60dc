//! The BERT encoder: embeddings, then layers of attention and feed-forward blocks, each added to its input and
//! normalised (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019).

use crate::config::Config;
use crate::error::Result;
use crate::packed::PackedBatch;
use crate::weights::Weights;
use thalweg_runtime::Pool;
use thalweg_tensor::{Activation, AttentionOptions, DType, PackedMatrix, Result as TensorResult, Tensor, f16};

/// The weights of an encoder, frozen on a device.
pub(crate) struct Encoder {
    /// `[vocabulary, width]`.
    words: Tensor,
    /// `[positions, width]`.
    positions: Tensor,
    /// `[types, width]`.
    types: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
    activation: Activation,
    epsilon: f32,
}

/// One layer.
struct Layer {
    /// Query, key and value side by side, so that one product makes all three: width to `3 * width`.
    qkv: Dense,
    /// What attention gives, mixed over the heads: width to width.
    attention_output: Dense,
    attention_norm: Norm,
    /// Width to intermediate.
    intermediate: Dense,
    /// Intermediate to width.
    output: Dense,
    output_norm: Norm,
}

/// A matrix and a bias.
struct Dense {
    weight: PackedMatrix,
    bias: Tensor,
}

/// Weight and bias of a layer normalisation, `[width]` each.
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Encoder {
    /// Reads the weights, converts each once to the device's form, and freezes it.
    pub(crate) fn load(pool: &Pool, config: &Config, weights: &mut Weights, dtype: DType) -> Result<Self> {
        let width = config.width;
        let mut load = Loader { pool, weights, dtype };
        let words = load.table("embeddings.word_embeddings.weight", config.vocabulary, width)?;
        let positions = load.table("embeddings.position_embeddings.weight", config.positions, width)?;
        let types = load.table("embeddings.token_type_embeddings.weight", config.types, width)?;
        let norm = load.norm("embeddings.LayerNorm", width)?;
        // Grows as layers are found, because the count is not to be trusted before.
        let mut layers = Vec::new();
        for index in 0..config.layers {
            layers.push(load.layer(&format!("encoder.layer.{index}"), config)?);
        }
        let (heads, activation, epsilon) = (config.heads, config.activation, config.epsilon);
        Ok(Self { words, positions, types, norm, layers, heads, activation, epsilon })
    }

    /// A vector for each token, `[tokens, width]`, of the weights' type. Records the work; does not wait for it.
    pub(crate) fn forward(&self, batch: &PackedBatch) -> TensorResult<Tensor> {
        let tables = [&self.words, &self.positions, &self.types];
        let embedded = Tensor::embed(tables, [&batch.ids, &batch.positions, &batch.types])?;
        let mut hidden = embedded.layer_norm(&self.norm.weight, &self.norm.bias, self.epsilon)?;
        for layer in &self.layers {
            hidden = self.layer(layer, hidden, &batch.offsets)?;
        }
        Ok(hidden)
    }

    /// One layer. Intermediate results are dropped as soon as they are used, so that the next operation can have their
    /// memory.
    fn layer(&self, layer: &Layer, input: Tensor, offsets: &Tensor) -> TensorResult<Tensor> {
        let mixed = {
            let product = layer.qkv.apply(&input, Activation::None)?;
            let (n, width) = (input.shape()[0], self.width());
            let part = |at: usize| product.narrow(1, at * width, width)?.reshape(&[n, self.heads, width / self.heads]);
            part(0)?.attention(&part(1)?, &part(2)?, offsets, &AttentionOptions::new())?
        };
        let mixed = layer.attention_output.apply(&mixed, Activation::None)?;
        let attended = layer.attention_norm.add(&mixed, &input, self.epsilon)?;
        drop((mixed, input));
        let wide = layer.intermediate.apply(&attended, self.activation)?;
        let narrow = layer.output.apply(&wide, Activation::None)?;
        drop(wide);
        layer.output_norm.add(&narrow, &attended, self.epsilon)
    }

    /// What it computes in.
    pub(crate) fn dtype(&self) -> DType {
        self.words.dtype()
    }

    /// How many layers it has.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The length of a token's vector.
    pub(crate) fn width(&self) -> usize {
        self.words.shape()[1]
    }

    /// The number of token ids.
    pub(crate) fn vocabulary(&self) -> usize {
        self.words.shape()[0]
    }

    /// The number of type ids.
    pub(crate) fn types(&self) -> usize {
        self.types.shape()[0]
    }
}

impl Dense {
    fn apply(&self, input: &Tensor, activation: Activation) -> TensorResult<Tensor> {
        input.linear(&self.weight, &self.bias, activation)
    }
}

impl Norm {
    /// The normalised sum of the two.
    fn add(&self, input: &Tensor, residual: &Tensor, epsilon: f32) -> TensorResult<Tensor> {
        input.add_layer_norm(residual, &self.weight, &self.bias, epsilon)
    }
}

/// Moves tensors from the file to the device, one at a time.
struct Loader<'a> {
    /// Where they all lie.
    pool: &'a Pool,
    weights: &'a mut Weights,
    /// What the device computes in.
    dtype: DType,
}

impl Loader<'_> {
    fn layer(&mut self, name: &str, config: &Config) -> Result<Layer> {
        let width = config.width;
        Ok(Layer {
            qkv: self.joined(name, &["query", "key", "value"], width)?,
            attention_output: self.dense(&format!("{name}.attention.output.dense"), width, width)?,
            attention_norm: self.norm(&format!("{name}.attention.output.LayerNorm"), width)?,
            intermediate: self.dense(&format!("{name}.intermediate.dense"), config.intermediate, width)?,
            output: self.dense(&format!("{name}.output.dense"), width, config.intermediate)?,
            output_norm: self.norm(&format!("{name}.output.LayerNorm"), width)?,
        })
    }

    fn table(&mut self, name: &str, rows: usize, width: usize) -> Result<Tensor> {
        let values = self.weights.read(name, &[rows, width])?;
        self.frozen(&values, &[rows, width])
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        Ok(Norm {
            weight: self.vector(&format!("{name}.weight"), width)?,
            bias: self.vector(&format!("{name}.bias"), width)?,
        })
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor> {
        let values = self.weights.read(name, &[length])?;
        self.frozen(&values, &[length])
    }

    /// A matrix `[out, input]`, as the file has it, and its bias.
    fn dense(&mut self, name: &str, out: usize, input: usize) -> Result<Dense> {
        let weight = self.weights.read(&format!("{name}.weight"), &[out, input])?;
        let weight = PackedMatrix::frozen_in(self.pool, &weight, out, input, self.dtype)?;
        Ok(Dense { weight, bias: self.vector(&format!("{name}.bias"), out)? })
    }

    /// The square projections of self-attention, one below the other.
    fn joined(&mut self, layer: &str, parts: &[&str], width: usize) -> Result<Dense> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in parts {
            let name = format!("{layer}.attention.self.{part}");
            self.weights.read_into(&format!("{name}.weight"), &[width, width], &mut weight)?;
            self.weights.read_into(&format!("{name}.bias"), &[width], &mut bias)?;
        }
        let out = parts.len() * width;
        let weight = PackedMatrix::frozen_in(self.pool, &weight, out, width, self.dtype)?;
        Ok(Dense { weight, bias: self.frozen(&bias, &[out])? })
    }

    fn frozen(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        Ok(match self.dtype {
            DType::F16 => {
                let values: Vec<_> = values.iter().map(|value| f16::from_f32(*value)).collect();
                Tensor::frozen_in(self.pool, &values, shape)?
            }
            _ => Tensor::frozen_in(self.pool, values, shape)?,
        })
    }
}
