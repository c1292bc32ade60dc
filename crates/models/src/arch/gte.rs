//! GTE, under its own name and as "new", the name of the code that once came with checkpoints: rotary positions, gates,
//! and token types or none.

use super::attention::{AttentionNames, Heads};
use super::bert::after_pooler;
use super::config::{ConfigFile, ConfigKeys, read};
use super::layers::{NormKind, Normal, Stack};
use super::nomic::LIBRARY;
use super::post_norm::{Biases, Names, Positions, PostNorm};
use super::roberta::word_head;
use super::rotary::{MOST_POSITIONS, Rotary, Scaling};
use super::{Architecture, Family, Limits, TaskHeads};
use crate::config::Lengths;
use crate::error::Result;
use crate::packed::Places;

pub(super) static FAMILY: Family = Family {
    name: "gte",
    prefixes: PREFIXES,
    keys: &KEYS,
    read: |config| settings(config, |heads, trained| Rotary::read(config, heads, 160_000.0, trained)),
    heads: TaskHeads { sequence: |_| Ok(after_pooler()), word: Some(|config| word_head(config, "lm_head.layer_norm")) },
};

pub(super) static NEW: Family = Family {
    name: "new",
    prefixes: PREFIXES,
    keys: &NEW_KEYS,
    read: |config| {
        check_new(config)?;
        settings(config, |heads, _| new_rotary(config, heads))
    },
    heads: TaskHeads { sequence: |_| Ok(after_pooler()), word: Some(|config| word_head(config, "lm_head.norm")) },
};

const PREFIXES: &[&str] = &["gte.", "new."];

static KEYS: ConfigKeys = ConfigKeys::new(read![bert, "head_dim", "rope_parameters", "rope_scaling", "rope_theta"]);

static NEW_KEYS: ConfigKeys = ConfigKeys::new(read![
    bert,
    "head_dim",
    "rope_scaling",
    "rope_theta",
    "layer_norm_type",
    "logn_attention_clip1",
    "logn_attention_scale",
]);

static NAMES: [Names; 2] = [
    Names {
        embeddings_norm: "embeddings.LayerNorm",
        layers: "encoder.layer",
        attention: AttentionNames {
            projections: Stack {
                apart: &["attention.q_proj", "attention.k_proj", "attention.v_proj"],
                whole: Some(("attention.qkv_proj", &[0, 1, 2])),
            },
            output: "attention.o_proj",
            norms: None,
        },
        attention_norm: "attn_ln",
        // The gate is the second half.
        wide: Stack::whole("mlp.up_gate_proj", &[1, 0]),
        narrow: "mlp.down_proj",
        output_norm: "mlp_ln",
    },
    LIBRARY,
];

fn settings(config: &ConfigFile, rotary: impl FnOnce(usize, usize) -> Result<Rotary>) -> Result<Box<dyn Architecture>> {
    let width = config.size("hidden_size")?;
    let heads = match config.get("head_dim").size()? {
        None => Heads::dividing(config, "num_attention_heads", "hidden_size")?,
        Some(width) => {
            let count = config.size("num_attention_heads")?;
            Heads { count, of_keys: count, width }
        }
    };
    let declared = config.size("max_position_embeddings")?;
    let limits = Limits {
        width,
        vocabulary: config.size("vocab_size")?,
        types: config.size_or_none("type_vocab_size", 1)?,
        lengths: Lengths { most: MOST_POSITIONS, declared },
        places: Places::default(),
    };
    let epsilon = config.epsilon("layer_norm_eps", 1e-12)?;
    Ok(Box::new(PostNorm {
        limits,
        layers: config.size("num_hidden_layers")?,
        heads,
        intermediate: config.size("intermediate_size")?,
        activation: config.activation("hidden_act", "gelu")?,
        gated: true,
        normal: Normal { kind: NormKind::Layer { bias: true }, epsilon },
        biases: Biases { wide: false, ..Biases::ALL },
        table_width: width,
        positions: Positions::Rotary(rotary(heads.rotary_width(config, "num_attention_heads")?, declared)?),
        names: &NAMES,
    }))
}

/// What the code that came with checkpoints has besides, and the transformers library has not.
fn check_new(config: &ConfigFile) -> Result<()> {
    config.get("position_embedding_type").only(&["rope".into()], "\"rope\": no other is supported in this family")?;
    config.get("layer_norm_type").only(&["layer_norm".into()], "\"layer_norm\"")?;
    for key in ["logn_attention_clip1", "logn_attention_scale"] {
        config.get(key).only(&[false.into()], "false: scores that are scaled by the length are not supported")?;
    }
    Ok(())
}

/// There, "ntk" is a larger base, and all angles divided by a constant.
fn new_rotary(config: &ConfigFile, width: usize) -> Result<Rotary> {
    let base = Rotary::base(config.get("rope_theta"), 10_000.0)?;
    let setting = config.get("rope_scaling");
    let Some(scaling) = setting.value() else { return Ok(Rotary { width, base, scaling: Scaling::None }) };
    if scaling.get("type").and_then(|kind| kind.as_str()) != Some("ntk") {
        return Err(setting.wrong_at("type", "\"ntk\""));
    }
    if scaling.get("mixed_b").is_some_and(|mixed| !mixed.is_null()) {
        return Err(setting.wrong_at("mixed_b", "null: it is not supported"));
    }
    match scaling.get("factor").and_then(|factor| factor.as_f64()) {
        Some(factor) if factor.is_finite() && factor > 0.0 => {
            let scaling = Scaling::Linear(factor.powf(2.0 / width as f64));
            Ok(Rotary { width, base: base * factor, scaling })
        }
        _ => Err(setting.wrong_at("factor", "a number above 0")),
    }
}
