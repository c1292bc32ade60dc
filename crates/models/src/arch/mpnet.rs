//! MPNet: BERT without types, with a bias of the attention for each head and distance.

use super::attention::AttentionNames;
use super::config::{ConfigFile, ConfigKeys, read};
use super::layers::Stack;
use super::post_norm::{Names, Positions, PostNorm};
use super::roberta::after_padding;
use super::{Architecture, Family, Limits, bert, roberta};
use crate::error::Result;
use crate::weights::Scope;
use thalweg_tensor::Tensor;

pub(super) static FAMILY: Family =
    Family { name: "mpnet", prefixes: &["mpnet."], keys: &KEYS, read: settings, heads: roberta::HEADS };

static KEYS: ConfigKeys = ConfigKeys::new(read![bert, "relative_attention_num_buckets"]);

static NAMES: [Names; 1] = [Names {
    embeddings_norm: "embeddings.LayerNorm",
    layers: "encoder.layer",
    attention: AttentionNames {
        projections: Stack::apart(&["attention.attn.q", "attention.attn.k", "attention.attn.v"]),
        output: "attention.attn.o",
        norms: None,
    },
    attention_norm: "attention.LayerNorm",
    wide: Stack::apart(&["intermediate.dense"]),
    narrow: "output.dense",
    output_norm: "output.LayerNorm",
}];

/// The id of the token that pads, which is no setting of this family.
const PADDING: u32 = 1;
/// The ranges of distances that have a bias, half of them for each direction. There may be more in the weights, but
/// the transformers library always counts so.
const BUCKETS: usize = 32;

fn settings(config: &ConfigFile) -> Result<Box<dyn Architecture>> {
    let bert = bert::settings(config)?;
    let buckets = buckets(config)?;
    if buckets < BUCKETS {
        let expected = format!("at least {BUCKETS}: distances are divided into as many");
        return Err(config.get("relative_attention_num_buckets").wrong(expected));
    }
    let limits = Limits { types: None, ..after_padding(config, bert.limits.clone(), PADDING)? };
    let read = move |encoder: &PostNorm, weights: &Scope<'_>| relative_bias(encoder, weights, buckets);
    Ok(Box::new(PostNorm { limits, positions: Positions::Biased(Box::new(read)), names: &NAMES, ..bert }))
}

fn buckets(config: &ConfigFile) -> Result<usize> {
    Ok(config.get("relative_attention_num_buckets").size()?.unwrap_or(BUCKETS))
}

/// The biases of all heads, `[heads, 2 * reach + 1]`: in the middle that of a token itself, and to the right those of
/// the tokens after it.
fn relative_bias(encoder: &PostNorm, weights: &Scope<'_>, buckets: usize) -> Result<Tensor> {
    let heads = encoder.heads.count;
    let mut table = Vec::new();
    weights.at("encoder").read("relative_attention_bias.weight", &[buckets, heads], &mut table)?;
    // The table of positions has been read, and is longer.
    let reach = encoder.limits.lengths.most - 1;
    let distances =
        || (0..reach).rev().map(|before| bucket(before + 1, false)).chain((0..=reach).map(|after| bucket(after, true)));
    let bias: Vec<f32> = (0..heads)
        .flat_map(|head| distances().map(move |at| (at, head)))
        .map(|(at, head)| table[at * heads + head])
        .collect();
    weights.freeze(&bias, &[heads, 2 * reach + 1])
}

/// The range of a distance to a token before or after. Eight are of one distance each, and from there on the logarithm
/// is divided evenly: into two for each doubling.
fn bucket(distance: usize, after: bool) -> usize {
    const EXACT: usize = 8;
    let range = match distance {
        0..EXACT => distance,
        _ => EXACT + (distance * distance / (EXACT * EXACT)).ilog2() as usize,
    };
    range.min(BUCKETS / 2 - 1) + if after && distance > 0 { BUCKETS / 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the transformers library's `MPNetEncoder.relative_position_bucket` has them.
    #[test]
    fn ranges_of_distances() {
        let expected = [
            (0, 0),
            (1, 1),
            (7, 7),
            (8, 8),
            (11, 8),
            (12, 9),
            (15, 9),
            (16, 10),
            (22, 10),
            (23, 11),
            (31, 11),
            (32, 12),
            (45, 12),
            (46, 13),
            (63, 13),
            (64, 14),
            (90, 14),
            (91, 15),
            (127, 15),
            (128, 15),
            (200, 15),
        ];
        for (distance, range) in expected {
            assert_eq!(bucket(distance, false), range, "{distance}");
            assert_eq!(bucket(distance, true), if distance == 0 { 0 } else { 16 + range }, "{distance}");
        }
    }
}
