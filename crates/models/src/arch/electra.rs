//! ELECTRA: BERT with tables of a width of their own.

use super::config::{ConfigFile, ConfigKeys, read};
use super::heads::{Hidden, WordHead};
use super::layers::{NormKind, Normal};
use super::post_norm::PostNorm;
use super::roberta::dense_head;
use super::{Family, TaskHeads, bert};
use crate::error::Result;
use thalweg_tensor::Activation;

pub(super) static FAMILY: Family = Family {
    name: "electra",
    prefixes: &["electra."],
    keys: &KEYS,
    read: |config| {
        let table_width = table_width(config)?;
        Ok(Box::new(PostNorm { table_width, ..bert::settings(config)? }))
    },
    heads: TaskHeads { sequence: |_| Ok(dense_head(Activation::Gelu)), word: Some(word_head) },
};

static KEYS: ConfigKeys = ConfigKeys::new(read![bert, "embedding_size"]);

fn table_width(config: &ConfigFile) -> Result<usize> {
    Ok(config.get("embedding_size").size()?.unwrap_or(128))
}

fn word_head(config: &ConfigFile) -> Result<WordHead> {
    let norm = Normal { kind: NormKind::Layer { bias: true }, epsilon: config.epsilon("layer_norm_eps", 1e-12)? };
    let (name, norm) = ("generator_predictions.dense", Some(("generator_predictions.LayerNorm", norm)));
    Ok(WordHead {
        // The activation is no setting of this head.
        hidden: Hidden { name, bias: true, activation: Activation::Gelu, norm },
        width: table_width(config)?,
        decoder: "generator_lm_head",
        table: config.table("embeddings.word_embeddings")?,
        biases: &["generator_lm_head.bias"],
    })
}
