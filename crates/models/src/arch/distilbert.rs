//! DistilBERT: BERT without types, and with names of its own for nearly everything.

use super::config::{ConfigFile, ConfigKeys, read};
use super::post_norm::{Names, PostNorm};
use super::{Architecture, Family, Limits};
use crate::error::Result;
use crate::packed::Places;

pub(super) static FAMILY: Family =
    Family { name: "distilbert", prefixes: &["distilbert."], keys: &KEYS, read: settings };

static KEYS: ConfigKeys = ConfigKeys::new(read![
    "dim",
    "n_layers",
    "n_heads",
    "hidden_dim",
    "max_position_embeddings",
    "activation",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
]);

static NAMES: Names = Names {
    layers: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    intermediate: "ffn.lin1",
    output: "ffn.lin2",
    output_norm: "output_layer_norm",
};

fn settings(config: &ConfigFile) -> Result<Box<dyn Architecture>> {
    // The names that other families have are there too, and win.
    let [width, layers, heads] =
        [("hidden_size", "dim"), ("num_hidden_layers", "n_layers"), ("num_attention_heads", "n_heads")]
            .map(|(common, own)| if config.get(common).is_there() { common } else { own });
    let heads = config.heads(heads, width)?;
    let (width, positions) = (config.size(width)?, config.size("max_position_embeddings")?);
    let limits = Limits {
        width,
        vocabulary: config.size("vocab_size")?,
        types: None,
        positions,
        declared_positions: positions,
        places: Places::default(),
    };
    Ok(Box::new(PostNorm {
        limits,
        layers: config.size(layers)?,
        heads,
        intermediate: config.size("hidden_dim")?,
        activation: config.activation("activation", "gelu")?,
        // Not a setting of this family.
        epsilon: 1e-12,
        table_width: width,
        names: &NAMES,
    }))
}
