//! ModernBERT: rotary positions, gates, normalisation before each block; most layers see a window of neighbours alone.

use super::attention::{AttentionBiases, AttentionNames, Heads};
use super::config::{ConfigFile, ConfigKeys, read};
use super::heads::{Hidden, SequenceHead, WordHead};
use super::layers::{NormKind, Normal, Stack};
use super::pre_norm::{Kinds, Names, PreNorm};
use super::rotary::{MOST_POSITIONS, Rotary};
use super::{Architecture, Family, Limits, TaskHeads};
use crate::config::Lengths;
use crate::error::Result;
use crate::json::Json;
use crate::packed::Places;
use thalweg_tensor::Pooling;

pub(super) static FAMILY: Family = Family {
    name: "modernbert",
    prefixes: &["model."],
    keys: &KEYS,
    read: settings,
    heads: TaskHeads { sequence: sequence_head, word: Some(word_head) },
};

static KEYS: ConfigKeys = ConfigKeys::new(read![
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "hidden_activation",
    "norm_eps",
    "norm_bias",
    "attention_bias",
    "mlp_bias",
    "layer_types",
    "global_attn_every_n_layers",
    "local_attention",
    "sliding_window",
    "rope_parameters",
    "rope_scaling",
    "global_rope_theta",
    "local_rope_theta",
    "classifier_pooling",
    "classifier_bias",
    "classifier_activation",
    "decoder_bias",
]);

static NAMES: Names = Names {
    words: "embeddings.tok_embeddings",
    embeddings_norm: Some("embeddings.norm"),
    layers: "layers",
    attention_norm: "attn_norm",
    attention: AttentionNames { projections: Stack::whole("attn.Wqkv", &[0, 1, 2]), output: "attn.Wo", norms: None },
    feed_forward_norm: "mlp_norm",
    // The gate is the first half.
    wide: Stack::whole("mlp.Wi", &[0, 1]),
    narrow: "mlp.Wo",
    last_norm: "final_norm",
};

fn settings(config: &ConfigFile) -> Result<Box<dyn Architecture>> {
    let heads = Heads::dividing(config, "num_attention_heads", "hidden_size")?;
    let declared = config.size("max_position_embeddings")?;
    let limits = Limits {
        width: config.size("hidden_size")?,
        vocabulary: config.size("vocab_size")?,
        types: None,
        lengths: Lengths { most: MOST_POSITIONS, declared },
        places: Places::default(),
    };
    let layers = config.size("num_hidden_layers")?;
    let kinds = match layer_types(config, layers)? {
        Some(list) => Kinds::Listed(list),
        None => Kinds::Every(config.get("global_attn_every_n_layers").size()?.unwrap_or(3)),
    };
    config.get("rope_scaling").only(&[], "null: write it into `rope_parameters`, for each kind of layer")?;
    let width = heads.rotary_width(config, "num_attention_heads")?;
    let rotary = |kind: &'static str, old: &'static str, base: f64| {
        let base = Rotary::base(config.get(old), base)?;
        let setting = config.get("rope_parameters");
        Rotary::of(setting, Some(kind), width, base, declared)
    };
    let attention = config.flag("attention_bias", false)?;
    Ok(Box::new(PreNorm {
        limits,
        layers,
        heads,
        intermediate: config.size("intermediate_size")?,
        activation: config.activation("hidden_activation", "gelu")?,
        normal: normal(config)?,
        attention_biases: AttentionBiases { projections: attention, output: attention },
        feed_forward_biases: config.flag("mlp_bias", false)?,
        causal: false,
        global: rotary("full_attention", "global_rope_theta", 160_000.0)?,
        local: Some((window(config)?, rotary("sliding_attention", "local_rope_theta", 10_000.0)?)),
        kinds,
        names: &NAMES,
    }))
}

fn normal(config: &ConfigFile) -> Result<Normal> {
    let kind = NormKind::Layer { bias: config.flag("norm_bias", false)? };
    Ok(Normal { kind, epsilon: config.epsilon("norm_eps", 1e-5)? })
}

/// The layer that both heads begin with.
fn hidden(config: &ConfigFile) -> Result<Hidden> {
    Ok(Hidden {
        name: "head.dense",
        bias: config.flag("classifier_bias", false)?,
        activation: config.activation("classifier_activation", "gelu")?,
        norm: Some(("head.norm", normal(config)?)),
    })
}

fn sequence_head(config: &ConfigFile) -> Result<SequenceHead> {
    let setting = config.get("classifier_pooling");
    let pooling = match setting.string()?.unwrap_or("cls") {
        "cls" => Pooling::Cls,
        "mean" => Pooling::Mean,
        _ => return Err(setting.wrong("\"cls\" or \"mean\"")),
    };
    let hidden = Some(hidden(config)?);
    Ok(SequenceHead { pooling, hidden, output: "classifier", output_bias: true, padding: None })
}

fn word_head(config: &ConfigFile) -> Result<WordHead> {
    Ok(WordHead {
        hidden: hidden(config)?,
        width: config.size("hidden_size")?,
        decoder: "decoder",
        table: config.table("embeddings.tok_embeddings")?,
        biases: if config.flag("decoder_bias", true)? { &["decoder.bias"] } else { &[] },
    })
}

/// How many positions to each side a layer sees that does not see all: half of `local_attention`, or as many as the
/// setting says that the transformers library has for it besides.
fn window(config: &ConfigFile) -> Result<usize> {
    match config.get("sliding_window").size()? {
        Some(window) => Ok(window),
        None => Ok(config.get("local_attention").size()?.unwrap_or(128) / 2),
    }
}

/// `layer_types`, if it is there: of each layer, whether it sees all of a sequence.
pub(super) fn layer_types(config: &ConfigFile, layers: usize) -> Result<Option<Vec<bool>>> {
    let setting = config.get("layer_types");
    let expected = format!("a list of \"full_attention\" or \"sliding_attention\" for each of {layers} layers");
    let list = setting.convert(&expected, |value| {
        let is_global = |kind: &Json| match kind.as_str() {
            Some("full_attention") => Some(true),
            Some("sliding_attention") => Some(false),
            _ => None,
        };
        let list: Vec<bool> = value.as_array()?.iter().map(is_global).collect::<Option<_>>()?;
        (list.len() == layers).then_some(list)
    })?;
    Ok(list)
}
