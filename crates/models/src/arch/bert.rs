//! BERT, and the settings and names that others have from it.

use super::attention::{AttentionNames, Heads};
use super::config::{ConfigFile, ConfigKeys, read};
use super::heads::{Hidden, SequenceHead, WordHead};
use super::layers::{NormKind, Normal, Stack};
use super::post_norm::{Biases, Names, Positions, PostNorm};
use super::{Family, Limits, TaskHeads};
use crate::config::Lengths;
use crate::error::Result;
use crate::packed::Places;
use thalweg_tensor::{Activation, Pooling};

pub(super) static FAMILY: Family = Family {
    name: "bert",
    prefixes: &["bert."],
    keys: &KEYS,
    read: |config| Ok(Box::new(settings(config)?)),
    heads: TaskHeads { sequence: |_| Ok(after_pooler()), word: Some(word_head) },
};

static KEYS: ConfigKeys = ConfigKeys::new(read![bert]);

static NAMES: [Names; 1] = [Names {
    embeddings_norm: "embeddings.LayerNorm",
    layers: "encoder.layer",
    attention: AttentionNames {
        projections: Stack::apart(&["attention.self.query", "attention.self.key", "attention.self.value"]),
        output: "attention.output.dense",
        norms: None,
    },
    attention_norm: "attention.output.LayerNorm",
    wide: Stack::apart(&["intermediate.dense"]),
    narrow: "output.dense",
    output_norm: "output.LayerNorm",
}];

/// Reads the settings.
pub(super) fn settings(config: &ConfigFile) -> Result<PostNorm> {
    config.check_bidirectional()?;
    let width = config.size("hidden_size")?;
    let positions = config.size("max_position_embeddings")?;
    let limits = Limits {
        width,
        vocabulary: config.size("vocab_size")?,
        types: Some(config.get("type_vocab_size").size()?.unwrap_or(2)),
        lengths: Lengths { most: positions, declared: positions },
        places: Places::default(),
    };
    let epsilon = config.epsilon("layer_norm_eps", 1e-12)?;
    Ok(PostNorm {
        limits,
        layers: config.size("num_hidden_layers")?,
        heads: Heads::dividing(config, "num_attention_heads", "hidden_size")?,
        intermediate: config.size("intermediate_size")?,
        activation: config.activation("hidden_act", "gelu")?,
        gated: false,
        normal: Normal { kind: NormKind::Layer { bias: true }, epsilon },
        biases: Biases::ALL,
        table_width: width,
        positions: Positions::Table,
        names: &NAMES,
    })
}

/// The head after the pooler, a layer that looks at the first vector.
pub(super) fn after_pooler() -> SequenceHead {
    let hidden = Hidden { name: "pooler.dense", bias: true, activation: Activation::Tanh, norm: None };
    SequenceHead { pooling: Pooling::Cls, hidden: Some(hidden), output: "classifier", output_bias: true, padding: None }
}

fn word_head(config: &ConfigFile) -> Result<WordHead> {
    let norm = Normal { kind: NormKind::Layer { bias: true }, epsilon: config.epsilon("layer_norm_eps", 1e-12)? };
    let activation = config.activation("hidden_act", "gelu")?;
    let (name, norm) = ("cls.predictions.transform.dense", Some(("cls.predictions.transform.LayerNorm", norm)));
    Ok(WordHead {
        hidden: Hidden { name, bias: true, activation, norm },
        width: config.size("hidden_size")?,
        decoder: "cls.predictions.decoder",
        table: config.table("embeddings.word_embeddings")?,
        biases: &["cls.predictions.decoder.bias", "cls.predictions.bias"],
    })
}
