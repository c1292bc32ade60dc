//! RoBERTa, XLM-RoBERTa and CamemBERT: BERT with positions that begin after that of padding.

use super::config::{ConfigFile, ConfigKeys, read};
use super::post_norm::PostNorm;
use super::{Architecture, Family, Limits, bert};
use crate::config::Lengths;
use crate::error::Result;
use crate::packed::Places;

pub(super) static ROBERTA: Family = family("roberta");
pub(super) static XLM_ROBERTA: Family = family("xlm-roberta");
pub(super) static CAMEMBERT: Family = family("camembert");

const fn family(name: &'static str) -> Family {
    Family { name, prefixes: &["roberta."], keys: &KEYS, read: settings }
}

static KEYS: ConfigKeys = ConfigKeys::new(read![bert, "pad_token_id"]);

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
