//! BERT, and the settings and names that others have from it.

use super::config::{ConfigFile, ConfigKeys, read};
use super::post_norm::{Names, PostNorm};
use super::{Family, Limits};
use crate::error::Result;
use crate::packed::Places;

pub(super) static FAMILY: Family =
    Family { name: "bert", prefixes: &["bert."], keys: &KEYS, read: |config| Ok(Box::new(settings(config)?)) };

/// The keys that BERT and its nearest kin have; no other changes a token's vector.
static KEYS: ConfigKeys = ConfigKeys::new(read![
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_act",
    "layer_norm_eps",
]);

static NAMES: Names = Names {
    layers: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    intermediate: "intermediate.dense",
    output: "output.dense",
    output_norm: "output.LayerNorm",
};

/// Reads the settings.
pub(super) fn settings(config: &ConfigFile) -> Result<PostNorm> {
    let width = config.size("hidden_size")?;
    let positions = config.size("max_position_embeddings")?;
    let limits = Limits {
        width,
        vocabulary: config.size("vocab_size")?,
        types: Some(config.get("type_vocab_size").size()?.unwrap_or(2)),
        positions,
        declared_positions: positions,
        places: Places::default(),
    };
    Ok(PostNorm {
        limits,
        layers: config.size("num_hidden_layers")?,
        heads: config.heads("num_attention_heads", "hidden_size")?,
        intermediate: config.size("intermediate_size")?,
        activation: config.activation("hidden_act", "gelu")?,
        epsilon: config.epsilon("layer_norm_eps", 1e-12)?,
        table_width: width,
        names: &NAMES,
    })
}
