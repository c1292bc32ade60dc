//! RoBERTa, XLM-RoBERTa and CamemBERT: BERT with positions that begin after that of padding.

use super::config::{ConfigFile, ConfigKeys, read};
use super::heads::{Hidden, SequenceHead, WordHead};
use super::layers::{NormKind, Normal};
use super::post_norm::PostNorm;
use super::{Architecture, Family, Limits, TaskHeads, bert};
use crate::config::Lengths;
use crate::error::Result;
use crate::packed::Places;
use thalweg_tensor::{Activation, Pooling};

pub(super) static ROBERTA: Family = family("roberta");
pub(super) static XLM_ROBERTA: Family = family("xlm-roberta");
pub(super) static CAMEMBERT: Family = family("camembert");

const fn family(name: &'static str) -> Family {
    Family { name, prefixes: &["roberta."], keys: &KEYS, read: settings, heads: HEADS }
}

static KEYS: ConfigKeys = ConfigKeys::new(read![bert, "pad_token_id"]);

pub(super) const HEADS: TaskHeads = TaskHeads {
    sequence: |_| Ok(dense_head(Activation::Tanh)),
    word: Some(|config| word_head(config, "lm_head.layer_norm")),
};

fn settings(config: &ConfigFile) -> Result<Box<dyn Architecture>> {
    let bert = bert::settings(config)?;
    let limits = after_padding(config, bert.limits.clone(), config.padding(1)?)?;
    Ok(Box::new(PostNorm { limits, ..bert }))
}

/// The limits where the first token's position is the padding token's id and one, and a padding token in a text is at
/// its id.
pub(super) fn after_padding(config: &ConfigFile, limits: Limits, padding: u32) -> Result<Limits> {
    let first = padding + 1;
    let Lengths { declared, .. } = limits.lengths;
    let most = declared.checked_sub(first as usize).filter(|positions| *positions > 0);
    let most = most.ok_or_else(|| {
        let expected = format!("more than {first}: the first {first} positions are for padding");
        config.get("max_position_embeddings").wrong(expected)
    })?;
    Ok(Limits { lengths: Lengths { most, declared }, places: Places { first, padding: Some(padding) }, ..limits })
}

/// The head of two layers over the first vector.
pub(super) fn dense_head(activation: Activation) -> SequenceHead {
    let hidden = Hidden { name: "classifier.dense", bias: true, activation, norm: None };
    SequenceHead {
        pooling: Pooling::Cls,
        hidden: Some(hidden),
        output: "classifier.out_proj",
        output_bias: true,
        padding: None,
    }
}

/// The head that scores words; its normalisation has several names.
pub(super) fn word_head(config: &ConfigFile, norm_name: &'static str) -> Result<WordHead> {
    let norm = Normal { kind: NormKind::Layer { bias: true }, epsilon: config.epsilon("layer_norm_eps", 1e-12)? };
    Ok(WordHead {
        // The activation is no setting of this head.
        hidden: Hidden {
            name: "lm_head.dense",
            bias: true,
            activation: Activation::Gelu,
            norm: Some((norm_name, norm)),
        },
        width: config.size("hidden_size")?,
        decoder: "lm_head.decoder",
        table: config.table("embeddings.word_embeddings")?,
        biases: &["lm_head.decoder.bias", "lm_head.bias"],
    })
}
