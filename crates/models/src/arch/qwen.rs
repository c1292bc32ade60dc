//! Qwen3 and Qwen2 as encoders: each token sees those before it; fewer heads of keys than of queries.

use super::attention::{AttentionBiases, AttentionNames, Heads};
use super::config::{ConfigFile, ConfigKeys, read};
use super::heads::SequenceHead;
use super::layers::{NormKind, Normal, Stack};
use super::modernbert::layer_types;
use super::pre_norm::{Kinds, Names, PreNorm};
use super::rotary::{MOST_POSITIONS, Rotary};
use super::{Architecture, Family, Limits, TaskHeads};
use crate::config::Lengths;
use crate::error::Result;
use crate::packed::Places;
use thalweg_tensor::Pooling;

pub(super) static QWEN3: Family = Family {
    name: "qwen3",
    prefixes: &["model."],
    keys: &KEYS,
    read: |config| {
        let width = config.get("head_dim").size()?.unwrap_or(128);
        let bias = config.flag("attention_bias", false)?;
        settings(config, Some(width), AttentionBiases { projections: bias, output: bias }, &QWEN3_NAMES)
    },
    heads: HEADS,
};

pub(super) static QWEN2: Family = Family {
    name: "qwen2",
    prefixes: &["model."],
    keys: &KEYS,
    read: |config| {
        let biases = AttentionBiases { projections: true, output: false };
        settings(config, config.get("head_dim").size()?, biases, &QWEN2_NAMES)
    },
    heads: HEADS,
};

static KEYS: ConfigKeys = ConfigKeys::new(read![
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "max_position_embeddings",
    "hidden_act",
    "rms_norm_eps",
    "attention_bias",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "layer_types",
    "pad_token_id",
]);

const HEADS: TaskHeads = TaskHeads { sequence: sequence_head, word: None };

static QWEN3_NAMES: Names = names(Some(["self_attn.q_norm", "self_attn.k_norm"]));
static QWEN2_NAMES: Names = names(None);

const fn names(norms: Option<[&'static str; 2]>) -> Names {
    Names {
        words: "embed_tokens",
        embeddings_norm: None,
        layers: "layers",
        attention_norm: "input_layernorm",
        attention: AttentionNames {
            projections: Stack::apart(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
            output: "self_attn.o_proj",
            norms,
        },
        feed_forward_norm: "post_attention_layernorm",
        wide: Stack::apart(&["mlp.gate_proj", "mlp.up_proj"]),
        narrow: "mlp.down_proj",
        last_norm: "norm",
    }
}

fn settings(
    config: &ConfigFile,
    head_width: Option<usize>,
    attention_biases: AttentionBiases,
    names: &'static Names,
) -> Result<Box<dyn Architecture>> {
    let heads = match head_width {
        None => Heads::dividing(config, "num_attention_heads", "hidden_size")?,
        Some(width) => {
            let count = config.size("num_attention_heads")?;
            Heads { count, of_keys: count, width }
        }
    };
    let heads = Heads { of_keys: heads_of_keys(config, heads.count)?, ..heads };
    let declared = config.size("max_position_embeddings")?;
    let limits = Limits {
        width: config.size("hidden_size")?,
        vocabulary: config.size("vocab_size")?,
        types: None,
        lengths: Lengths { most: MOST_POSITIONS, declared },
        places: Places::default(),
    };
    let layers = config.size("num_hidden_layers")?;
    let rotary = Rotary::read(config, heads.rotary_width(config, "head_dim")?, 10_000.0, declared)?;
    let causal = config.flag("is_causal", true)?;
    let window = window(config, causal)?;
    let kinds = match (layer_types(config, layers)?, window) {
        (Some(list), None) if list.contains(&false) => {
            return Err(config.get("sliding_window").wrong("a window for the layers that `layer_types` says have one"));
        }
        (Some(list), _) => Kinds::Listed(list),
        (None, None) => Kinds::Every(1),
        (None, Some(_)) => Kinds::First(config.size_or_none("max_window_layers", 28)?.unwrap_or(0)),
    };
    Ok(Box::new(PreNorm {
        limits,
        layers,
        heads,
        intermediate: config.size("intermediate_size")?,
        activation: config.activation("hidden_act", "silu")?,
        normal: Normal { kind: NormKind::RootMeanSquare, epsilon: config.epsilon("rms_norm_eps", 1e-6)? },
        attention_biases,
        feed_forward_biases: false,
        causal,
        global: rotary.clone(),
        local: window.map(|window| (window, rotary)),
        kinds,
        names,
    }))
}

/// How many heads keys and values have, which divide those of queries; null: as many.
fn heads_of_keys(config: &ConfigFile, heads: usize) -> Result<usize> {
    let setting = config.get("num_key_value_heads");
    let count = if setting.is_there() { setting.size()?.unwrap_or(heads) } else { 32 };
    if heads.is_multiple_of(count) {
        Ok(count)
    } else {
        Err(setting.wrong(format!("a divisor of num_attention_heads, which is {heads}")))
    }
}

/// How many positions before its own a token sees in layers that do not see all, if there are any. The setting counts
/// the token itself, where it sees none after it.
fn window(config: &ConfigFile, causal: bool) -> Result<Option<usize>> {
    let setting = config.get("sliding_window");
    if !config.flag("use_sliding_window", false)? {
        return Ok(None);
    }
    let window = if setting.is_there() { setting.size()? } else { Some(4096) };
    Ok(window.map(|window| window - usize::from(causal)))
}

/// The head of one layer over the last vector that is not of a padding token.
fn sequence_head(config: &ConfigFile) -> Result<SequenceHead> {
    let padding =
        config.get("pad_token_id").convert("the id of a token, or null", |id| u32::try_from(id.as_u64()?).ok())?;
    Ok(SequenceHead { pooling: Pooling::LastToken, hidden: None, output: "score", output_bias: false, padding })
}
