//! DistilBERT: BERT without types, and with names of its own for nearly everything.

use super::attention::{AttentionNames, Heads};
use super::config::{ConfigFile, ConfigKeys, read};
use super::heads::{Hidden, SequenceHead, WordHead};
use super::layers::{NormKind, Normal, Stack};
use super::post_norm::{Biases, Names, Positions, PostNorm};
use super::{Architecture, Family, Limits, TaskHeads};
use crate::config::Lengths;
use crate::error::Result;
use crate::packed::Places;
use thalweg_tensor::{Activation, Pooling};

pub(super) static FAMILY: Family = Family {
    name: "distilbert",
    prefixes: &["distilbert."],
    keys: &KEYS,
    read: settings,
    heads: TaskHeads { sequence: |_| Ok(sequence_head()), word: Some(word_head) },
};

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

static NAMES: [Names; 1] = [Names {
    embeddings_norm: "embeddings.LayerNorm",
    layers: "transformer.layer",
    attention: AttentionNames {
        projections: Stack::apart(&["attention.q_lin", "attention.k_lin", "attention.v_lin"]),
        output: "attention.out_lin",
        norms: None,
    },
    attention_norm: "sa_layer_norm",
    wide: Stack::apart(&["ffn.lin1"]),
    narrow: "ffn.lin2",
    output_norm: "output_layer_norm",
}];

/// The epsilon is no setting of this family.
const NORMAL: Normal = Normal { kind: NormKind::Layer { bias: true }, epsilon: 1e-12 };

fn settings(config: &ConfigFile) -> Result<Box<dyn Architecture>> {
    config.check_bidirectional()?;
    // The names that other families have are there too, and win.
    let width = config.named("hidden_size", "dim");
    let heads = Heads::dividing(config, config.named("num_attention_heads", "n_heads"), width)?;
    let (width, positions) = (config.size(width)?, config.size("max_position_embeddings")?);
    let limits = Limits {
        width,
        vocabulary: config.size("vocab_size")?,
        types: None,
        lengths: Lengths { most: positions, declared: positions },
        places: Places::default(),
    };
    Ok(Box::new(PostNorm {
        limits,
        layers: config.size(config.named("num_hidden_layers", "n_layers"))?,
        heads,
        intermediate: config.size("hidden_dim")?,
        activation: config.activation("activation", "gelu")?,
        gated: false,
        normal: NORMAL,
        biases: Biases::ALL,
        table_width: width,
        positions: Positions::Table,
        names: &NAMES,
    }))
}

fn sequence_head() -> SequenceHead {
    let hidden = Hidden { name: "pre_classifier", bias: true, activation: Activation::Relu, norm: None };
    SequenceHead { pooling: Pooling::Cls, hidden: Some(hidden), output: "classifier", output_bias: true, padding: None }
}

fn word_head(config: &ConfigFile) -> Result<WordHead> {
    let activation = config.activation("activation", "gelu")?;
    let norm = Some(("vocab_layer_norm", NORMAL));
    Ok(WordHead {
        hidden: Hidden { name: "vocab_transform", bias: true, activation, norm },
        width: config.size(config.named("hidden_size", "dim"))?,
        decoder: "vocab_projector",
        table: config.table("embeddings.word_embeddings")?,
        biases: &["vocab_projector.bias"],
    })
}
