//! Attention with its projections.

use super::config::ConfigFile;
use super::layers::{Dense, Norm, Normal, Stack};
use super::rotary::Rotation;
use crate::error::Result;
use crate::packed::PackedBatch;
use crate::weights::Scope;
use thalweg_tensor::{Activation, AttentionOptions, Result as TensorResult, Tensor};

/// How the projections are divided.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    /// Of queries.
    pub(crate) count: usize,
    /// Of keys, and of values. Divides the count: each serves as many neighbouring heads of the queries.
    pub(crate) of_keys: usize,
    /// The elements of one.
    pub(crate) width: usize,
}

impl Heads {
    /// As many of each, which divide the encoder's width.
    pub(crate) fn dividing(config: &ConfigFile, heads: &str, width: &str) -> Result<Self> {
        let setting = config.get(heads);
        let (count, width_is) = (setting.required_size()?, config.size(width)?);
        if width_is.is_multiple_of(count) {
            Ok(Self { count, of_keys: count, width: width_is / count })
        } else {
            Err(setting.wrong(format!("a divisor of {width}, which is {width_is}")))
        }
    }

    /// The width of a head, which rotary positions divide into two halves. `key` is a setting that decides it.
    pub(crate) fn rotary_width(&self, config: &ConfigFile, key: &str) -> Result<usize> {
        // Scaling takes 2 from it.
        if self.width.is_multiple_of(2) && self.width > 2 {
            return Ok(self.width);
        }
        let expected = format!("what makes heads of an even width above 2; with it they have {}", self.width);
        Err(config.get(key).wrong(expected))
    }
}

/// The names of its tensors, without `.weight` and `.bias`.
pub(crate) struct AttentionNames {
    /// Queries, keys and values.
    pub(crate) projections: Stack,
    pub(crate) output: &'static str,
    /// Of the queries' and the keys' heads, where they are normalised.
    pub(crate) norms: Option<[&'static str; 2]>,
}

/// Which biases it has.
#[derive(Clone, Copy)]
pub(crate) struct AttentionBiases {
    pub(crate) projections: bool,
    pub(crate) output: bool,
}

/// Attention with its weights.
pub(crate) struct Attention {
    /// Queries, keys and values side by side, so that one product makes all three.
    projections: Dense,
    heads: Heads,
    norms: Option<[Norm; 2]>,
    options: AttentionOptions,
    output: Dense,
}

impl Attention {
    /// Reads the weights, for rows of `width` elements.
    pub(crate) fn load(
        weights: &Scope<'_>,
        names: &AttentionNames,
        width: usize,
        heads: Heads,
        biases: AttentionBiases,
        (normal, options): (Normal, AttentionOptions),
    ) -> Result<Self> {
        let (queries, keys) = (heads.count * heads.width, heads.of_keys * heads.width);
        let norms = match names.norms {
            Some([query, key]) => {
                Some([weights.norm(query, heads.width, normal)?, weights.norm(key, heads.width, normal)?])
            }
            None => None,
        };
        Ok(Self {
            projections: weights.stack(&names.projections, &[queries, keys, keys], width, biases.projections)?,
            heads,
            norms,
            options,
            output: weights.dense(names.output, width, queries, biases.output)?,
        })
    }

    /// What each row takes from the others of its sequence, mixed over the heads, `[n, width]`.
    pub(crate) fn apply(
        &self,
        input: &Tensor,
        batch: &PackedBatch,
        rotation: Option<&Rotation>,
    ) -> TensorResult<Tensor> {
        let Heads { count, of_keys, width } = self.heads;
        let product = self.projections.apply(input, Activation::None)?;
        let n = input.shape()[0];
        // Heads `begin..end`, without a copy.
        let heads = |begin: usize, end: usize| {
            product.narrow(1, begin * width, (end - begin) * width)?.reshape(&[n, end - begin, width])
        };
        let values = heads(count + of_keys, count + 2 * of_keys)?;
        let (queries, keys) = match (&self.norms, rotation) {
            (Some([query, key]), rotation) => {
                let queries = query.apply(&heads(0, count)?)?;
                let keys = key.apply(&heads(count, count + of_keys)?)?;
                match rotation {
                    Some(rotation) => (rotation.apply(&queries)?, rotation.apply(&keys)?),
                    None => (queries, keys),
                }
            }
            (None, Some(rotation)) => {
                let both = rotation.apply(&heads(0, count + of_keys)?)?;
                (both.narrow(1, 0, count)?, both.narrow(1, count, of_keys)?)
            }
            (None, None) => (heads(0, count)?, heads(count, count + of_keys)?),
        };
        let mixed = queries.attention(&keys, &values, &batch.offsets, &self.options)?;
        drop((queries, keys, values, product));
        self.output.apply(&mixed, Activation::None)
    }
}
