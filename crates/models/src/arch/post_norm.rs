//! The encoder that most families have: embeddings, then layers of attention and feed-forward blocks, each added to
//! its input and normalised (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019).

use super::attention::{Attention, AttentionBiases, AttentionNames, Heads};
use super::layers::{Dense, Embeddings, FeedForward, Norm, Normal, Stack};
use super::rotary::{Rotary, Rotation, Tables};
use super::{Architecture, Encoder, Limits};
use crate::error::Result;
use crate::packed::PackedBatch;
use crate::weights::Scope;
use thalweg_tensor::{Activation, AttentionOptions, DType, Result as TensorResult, Tensor};

/// Such an encoder, as a family's settings describe it.
pub(super) struct PostNorm {
    pub(super) limits: Limits,
    pub(super) layers: usize,
    pub(super) heads: Heads,
    /// The width of the feed-forward block.
    pub(super) intermediate: usize,
    pub(super) activation: Activation,
    /// Whether the activation is a gate's.
    pub(super) gated: bool,
    pub(super) normal: Normal,
    pub(super) biases: Biases,
    /// The width of the tables. Where it is not that of the layers, a dense layer is between.
    pub(super) table_width: usize,
    pub(super) positions: Positions,
    /// As the family's checkpoints have them, each as some do.
    pub(super) names: &'static [Names],
}

/// Reads the bias of the attention, `[heads, 2 * reach + 1]`.
pub(super) type ReadBias = Box<dyn Fn(&PostNorm, &Scope<'_>) -> Result<Tensor>>;

/// How an encoder knows the order of tokens.
pub(super) enum Positions {
    /// By a table of vectors, which are added to those of words.
    Table,
    /// By a table, and a bias of the attention, which is read with the weights.
    Biased(ReadBias),
    Rotary(Rotary),
}

/// Which dense layers have a bias.
#[derive(Clone, Copy)]
pub(super) struct Biases {
    pub(super) attention: AttentionBiases,
    /// The first of the feed-forward block.
    pub(super) wide: bool,
    /// The second of the feed-forward block.
    pub(super) narrow: bool,
}

impl Biases {
    pub(super) const ALL: Self =
        Self { attention: AttentionBiases { projections: true, output: true }, wide: true, narrow: true };
}

/// The names of a family's tensors, without `.weight` and `.bias`.
pub(super) struct Names {
    /// The normalisation of what is looked up.
    pub(super) embeddings_norm: &'static str,
    /// Before the index of a layer.
    pub(super) layers: &'static str,
    pub(super) attention: AttentionNames,
    pub(super) attention_norm: &'static str,
    pub(super) wide: Stack,
    pub(super) narrow: &'static str,
    pub(super) output_norm: &'static str,
}

impl Architecture for PostNorm {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn load(&self, weights: &Scope<'_>) -> Result<Box<dyn Encoder>> {
        let Limits { width, vocabulary, types, lengths, .. } = self.limits;
        let is_there = |names: &&Names| weights.has(&format!("{}.weight", names.embeddings_norm));
        let names = self.names.iter().find(is_there).unwrap_or(&self.names[0]);
        let (tables, table_width) = (weights.at("embeddings"), self.table_width);
        let types = types.map(|types| tables.table("token_type_embeddings", types, table_width));
        let embeddings = Embeddings {
            words: tables.table("word_embeddings", vocabulary, table_width)?,
            positions: match &self.positions {
                Positions::Rotary(_) => None,
                _ => Some(tables.table("position_embeddings", lengths.declared, table_width)?),
            },
            types: types.transpose()?,
            norm: Some(weights.norm(names.embeddings_norm, table_width, self.normal)?),
        };
        let projection = match table_width == width {
            true => None,
            false => Some(weights.dense("embeddings_project", width, table_width, true)?),
        };
        let options = match &self.positions {
            Positions::Biased(read) => AttentionOptions::new().relative_bias(&read(self, weights)?),
            _ => AttentionOptions::new(),
        };
        // Grows as layers are found, because the count is not to be trusted before.
        let mut layers = Vec::new();
        for index in 0..self.layers {
            layers.push(self.layer(&weights.at(names.layers).at(index), names, options.clone())?);
        }
        let rotary = match &self.positions {
            Positions::Rotary(rotary) => Some(rotary.clone().load(weights)),
            _ => None,
        };
        let (limits, dtype) = (self.limits.clone(), weights.dtype());
        Ok(Box::new(Loaded { limits, dtype, embeddings, projection, rotary, layers }))
    }
}

impl PostNorm {
    fn layer(&self, weights: &Scope<'_>, names: &Names, options: AttentionOptions) -> Result<Layer> {
        let (width, wide, biases) = (self.limits.width, self.intermediate, self.biases);
        let attention = (self.normal, options);
        let outputs = [wide; 2];
        let outputs = if self.gated { &outputs[..] } else { &outputs[..1] };
        Ok(Layer {
            attention: Attention::load(weights, &names.attention, width, self.heads, biases.attention, attention)?,
            attention_norm: weights.norm(names.attention_norm, width, self.normal)?,
            feed_forward: FeedForward {
                wide: weights.stack(&names.wide, outputs, width, biases.wide)?,
                narrow: weights.dense(names.narrow, width, wide, biases.narrow)?,
                activation: self.activation,
                gated: self.gated,
            },
            output_norm: weights.norm(names.output_norm, width, self.normal)?,
        })
    }
}

/// The encoder with its weights.
struct Loaded {
    limits: Limits,
    dtype: DType,
    embeddings: Embeddings,
    projection: Option<Dense>,
    rotary: Option<Tables>,
    layers: Vec<Layer>,
}

/// One layer.
struct Layer {
    attention: Attention,
    attention_norm: Norm,
    feed_forward: FeedForward,
    output_norm: Norm,
}

impl Layer {
    /// Intermediate results are dropped as soon as they are used, so that the next operation can have their memory.
    fn apply(&self, input: Tensor, batch: &PackedBatch, rotation: Option<&Rotation>) -> TensorResult<Tensor> {
        let attended = self.attention_norm.add(self.attention.apply(&input, batch, rotation)?, &input)?;
        drop(input);
        self.output_norm.add(self.feed_forward.apply(&attended)?, &attended)
    }
}

impl Encoder for Loaded {
    fn forward(&self, batch: &PackedBatch) -> TensorResult<Tensor> {
        let mut hidden = self.embeddings.apply(batch)?;
        if let Some(projection) = &self.projection {
            hidden = projection.apply(&hidden, Activation::None)?;
        }
        let rotation = self.rotary.as_ref().map(|tables| tables.rotation(batch)).transpose()?;
        self.layers.iter().try_fold(hidden, |hidden, layer| layer.apply(hidden, batch, rotation.as_ref()))
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
