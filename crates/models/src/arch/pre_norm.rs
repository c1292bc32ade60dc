//! The encoder of newer families: layers of attention and feed-forward blocks that each normalise their input, and add
//! what they make of it; the last result is normalised too.

use super::attention::{Attention, AttentionBiases, AttentionNames, Heads};
use super::layers::{Embeddings, FeedForward, Norm, Normal, Stack, sum};
use super::rotary::{Rotary, Tables};
use super::{Architecture, Encoder, Limits};
use crate::error::Result;
use crate::packed::PackedBatch;
use crate::weights::Scope;
use thalweg_tensor::{Activation, AttentionOptions, DType, Result as TensorResult, Tensor};

/// Such an encoder, as a family's settings describe it.
pub(super) struct PreNorm {
    pub(super) limits: Limits,
    pub(super) layers: usize,
    pub(super) heads: Heads,
    /// The width of the feed-forward block, which has a gate.
    pub(super) intermediate: usize,
    pub(super) activation: Activation,
    pub(super) normal: Normal,
    pub(super) attention_biases: AttentionBiases,
    pub(super) feed_forward_biases: bool,
    /// Whether a token sees none after it.
    pub(super) causal: bool,
    /// The layers that see all of a sequence.
    pub(super) global: Rotary,
    /// The others, if there are any: how many positions to each side they see.
    pub(super) local: Option<(usize, Rotary)>,
    pub(super) kinds: Kinds,
    pub(super) names: &'static Names,
}

/// Which layers see all of a sequence.
pub(super) enum Kinds {
    /// The first and each so many after it.
    Every(usize),
    /// The first so many.
    First(usize),
    /// Those that are listed with true.
    Listed(Vec<bool>),
}

impl Kinds {
    fn is_global(&self, layer: usize) -> bool {
        match self {
            Self::Every(count) => layer.is_multiple_of(*count),
            Self::First(count) => layer < *count,
            Self::Listed(list) => list.get(layer).copied().unwrap_or(true),
        }
    }
}

/// The names of a family's tensors, without `.weight` and `.bias`.
pub(super) struct Names {
    pub(super) words: &'static str,
    /// The normalisation of what is looked up, in the place of that of the first layer.
    pub(super) embeddings_norm: Option<&'static str>,
    /// Before the index of a layer.
    pub(super) layers: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) attention: AttentionNames,
    pub(super) feed_forward_norm: &'static str,
    pub(super) wide: Stack,
    pub(super) narrow: &'static str,
    pub(super) last_norm: &'static str,
}

impl Architecture for PreNorm {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn load(&self, weights: &Scope<'_>) -> Result<Box<dyn Encoder>> {
        let (width, names) = (self.limits.width, self.names);
        let norm = names.embeddings_norm.map(|name| weights.norm(name, width, self.normal));
        let embeddings = Embeddings {
            words: weights.table(names.words, self.limits.vocabulary, width)?,
            positions: None,
            types: None,
            norm: norm.transpose()?,
        };
        // Grows as layers are found, because the count is not to be trusted before.
        let mut layers = Vec::new();
        for index in 0..self.layers {
            layers.push(self.layer(&weights.at(names.layers).at(index), index)?);
        }
        Ok(Box::new(Loaded {
            limits: self.limits.clone(),
            dtype: weights.dtype(),
            embeddings,
            global: self.global.clone().load(weights),
            local: self.local.as_ref().map(|(_, rotary)| rotary.clone().load(weights)),
            layers,
            norm: weights.norm(names.last_norm, width, self.normal)?,
        }))
    }
}

impl PreNorm {
    fn layer(&self, weights: &Scope<'_>, index: usize) -> Result<Layer> {
        let (width, wide, names, normal) = (self.limits.width, self.intermediate, self.names, self.normal);
        let mut options = AttentionOptions::new().causal(self.causal);
        let window = self.local.as_ref().filter(|_| !self.kinds.is_global(index)).map(|(window, _)| *window);
        if let Some(window) = window {
            options = options.window(window);
        }
        // The first layer's input is normalised already.
        let normalised = index == 0 && names.embeddings_norm.is_some();
        let attention_norm = (!normalised).then(|| weights.norm(names.attention_norm, width, normal));
        let biases = self.attention_biases;
        Ok(Layer {
            attention_norm: attention_norm.transpose()?,
            attention: Attention::load(weights, &names.attention, width, self.heads, biases, (normal, options))?,
            is_local: window.is_some(),
            feed_forward_norm: weights.norm(names.feed_forward_norm, width, normal)?,
            feed_forward: FeedForward {
                wide: weights.stack(&names.wide, &[wide; 2], width, self.feed_forward_biases)?,
                narrow: weights.dense(names.narrow, width, wide, self.feed_forward_biases)?,
                activation: self.activation,
                gated: true,
            },
        })
    }
}

/// The encoder with its weights.
struct Loaded {
    limits: Limits,
    dtype: DType,
    embeddings: Embeddings,
    global: Tables,
    local: Option<Tables>,
    layers: Vec<Layer>,
    norm: Norm,
}

/// One layer.
struct Layer {
    attention_norm: Option<Norm>,
    attention: Attention,
    is_local: bool,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

impl Encoder for Loaded {
    fn forward(&self, batch: &PackedBatch) -> TensorResult<Tensor> {
        let global = self.global.rotation(batch)?;
        let local = self.local.as_ref().map(|tables| tables.rotation(batch)).transpose()?;
        let mut hidden = self.embeddings.apply(batch)?;
        for layer in &self.layers {
            let rotation = local.as_ref().filter(|_| layer.is_local).unwrap_or(&global);
            let attended = match &layer.attention_norm {
                Some(norm) => layer.attention.apply(&norm.apply(&hidden)?, batch, Some(rotation))?,
                None => layer.attention.apply(&hidden, batch, Some(rotation))?,
            };
            hidden = sum(attended, &hidden)?;
            let fed = layer.feed_forward.apply(&layer.feed_forward_norm.apply(&hidden)?)?;
            hidden = sum(fed, &hidden)?;
        }
        self.norm.apply(&hidden)
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
