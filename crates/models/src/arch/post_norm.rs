//! The encoder that most families have: embeddings, then layers of attention and feed-forward blocks, each added to
//! its input and normalised (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019).

use super::layers::{Dense, Embeddings, Norm};
use super::{Architecture, Encoder, Limits};
use crate::error::Result;
use crate::packed::PackedBatch;
use crate::weights::Scope;
use thalweg_tensor::{Activation, AttentionOptions, DType, Result as TensorResult, Tensor};

/// Such an encoder, as a family's settings describe it.
pub(super) struct PostNorm {
    pub(super) limits: Limits,
    pub(super) layers: usize,
    /// Divides the width.
    pub(super) heads: usize,
    /// The width of the feed-forward block.
    pub(super) intermediate: usize,
    pub(super) activation: Activation,
    pub(super) epsilon: f32,
    /// The width of the tables. Where it is not that of the layers, a dense layer is between.
    pub(super) table_width: usize,
    pub(super) names: &'static Names,
}

/// The names of a family's tensors, without `.weight` and `.bias`.
pub(super) struct Names {
    /// Before the index of a layer.
    pub(super) layers: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) attention_output: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) intermediate: &'static str,
    pub(super) output: &'static str,
    pub(super) output_norm: &'static str,
}

impl Architecture for PostNorm {
    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    fn load(&self, weights: &Scope<'_>) -> Result<Box<dyn Encoder>> {
        let (width, table_width) = (self.limits.width, self.table_width);
        let tables = weights.at("embeddings");
        let embeddings = Embeddings {
            words: tables.table("word_embeddings", self.limits.vocabulary, table_width)?,
            positions: tables.table("position_embeddings", self.limits.declared_positions, table_width)?,
            types: match self.limits.types {
                Some(types) => tables.table("token_type_embeddings", types, table_width)?,
                None => tables.no_table(table_width)?,
            },
            norm: tables.norm("LayerNorm", table_width, self.epsilon)?,
        };
        let projection = match table_width == width {
            true => None,
            false => Some(weights.dense("embeddings_project", width, table_width)?),
        };
        // Grows as layers are found, because the count is not to be trusted before.
        let mut layers = Vec::new();
        for index in 0..self.layers {
            layers.push(self.layer(&weights.at(self.names.layers).at(index))?);
        }
        let (limits, dtype, heads, activation) = (self.limits(), weights.dtype(), self.heads, self.activation);
        Ok(Box::new(Loaded { limits, dtype, embeddings, projection, layers, heads, activation }))
    }
}

impl PostNorm {
    fn layer(&self, weights: &Scope<'_>) -> Result<Layer> {
        let (width, names) = (self.limits.width, self.names);
        Ok(Layer {
            qkv: weights.joined(&[names.query, names.key, names.value], width, width)?,
            attention_output: weights.dense(names.attention_output, width, width)?,
            attention_norm: weights.norm(names.attention_norm, width, self.epsilon)?,
            intermediate: weights.dense(names.intermediate, self.intermediate, width)?,
            output: weights.dense(names.output, width, self.intermediate)?,
            output_norm: weights.norm(names.output_norm, width, self.epsilon)?,
        })
    }
}

/// The encoder with its weights.
struct Loaded {
    limits: Limits,
    dtype: DType,
    embeddings: Embeddings,
    projection: Option<Dense>,
    layers: Vec<Layer>,
    heads: usize,
    activation: Activation,
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

impl Encoder for Loaded {
    fn forward(&self, batch: &PackedBatch) -> TensorResult<Tensor> {
        let mut hidden = self.embeddings.apply(batch)?;
        if let Some(projection) = &self.projection {
            hidden = projection.apply(&hidden, Activation::None)?;
        }
        for layer in &self.layers {
            hidden = self.layer(layer, hidden, &batch.offsets)?;
        }
        Ok(hidden)
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }
}

impl Loaded {
    /// One layer. Intermediate results are dropped as soon as they are used, so that the next operation can have their
    /// memory.
    fn layer(&self, layer: &Layer, input: Tensor, offsets: &Tensor) -> TensorResult<Tensor> {
        let mixed = {
            let product = layer.qkv.apply(&input, Activation::None)?;
            let (n, width) = (input.shape()[0], self.limits.width);
            let part = |at: usize| product.narrow(1, at * width, width)?.reshape(&[n, self.heads, width / self.heads]);
            part(0)?.attention(&part(1)?, &part(2)?, offsets, &AttentionOptions::new())?
        };
        let mixed = layer.attention_output.apply(&mixed, Activation::None)?;
        let attended = layer.attention_norm.add(&mixed, &input)?;
        drop((mixed, input));
        let wide = layer.intermediate.apply(&attended, self.activation)?;
        let narrow = layer.output.apply(&wide, Activation::None)?;
        drop(wide);
        layer.output_norm.add(&narrow, &attended)
    }
}
