//! NomicBERT: rotary positions, gates, and no biases but those of normalisations.
//!
//! Checkpoints have the names of the code that once came with them, in `config.json` and in the weights. The
//! transformers library (version 5) knows them by its own.

use super::attention::{AttentionBiases, AttentionNames, Heads};
use super::bert::after_pooler;
use super::config::{ConfigFile, ConfigKeys, read};
use super::layers::{NormKind, Normal, Stack};
use super::post_norm::{Biases, Names, Positions, PostNorm};
use super::rotary::{MOST_POSITIONS, Rotary, Scaling};
use super::{Architecture, Family, Limits, TaskHeads};
use crate::config::Lengths;
use crate::error::Result;
use crate::packed::Places;
use thalweg_tensor::Activation;

pub(super) static FAMILY: Family = Family {
    name: "nomic_bert",
    prefixes: &["nomic_bert.", "bert."],
    keys: &KEYS,
    read: settings,
    heads: TaskHeads { sequence: |_| Ok(after_pooler()), word: None },
};

static KEYS: ConfigKeys = ConfigKeys::new(read![
    bert,
    "head_dim",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    // The names of the code that once came with the checkpoints.
    "n_embd",
    "n_layer",
    "n_head",
    "n_inner",
    "n_positions",
    "max_trained_positions",
    "layer_norm_epsilon",
    "activation_function",
    "qkv_proj_bias",
    "mlp_fc1_bias",
    "mlp_fc2_bias",
    "rotary_emb_base",
    "rotary_emb_fraction",
    "rotary_emb_interleaved",
    "rotary_emb_scale_base",
    "rotary_scaling_factor",
    "prenorm",
    "parallel_block",
    "use_rms_norm",
    "causal",
    "scale_attn_weights",
    "scale_attn_by_inverse_layer_idx",
    "moe_every_n_layers",
]);

static NAMES: [Names; 2] = [CHECKPOINTS, LIBRARY];

/// As checkpoints have them.
const CHECKPOINTS: Names = Names {
    embeddings_norm: "emb_ln",
    layers: "encoder.layers",
    attention: AttentionNames {
        projections: Stack::whole("attn.Wqkv", &[0, 1, 2]),
        output: "attn.out_proj",
        norms: None,
    },
    attention_norm: "norm1",
    wide: Stack::apart(&["mlp.fc12", "mlp.fc11"]),
    narrow: "mlp.fc2",
    output_norm: "norm2",
};

/// As the transformers library names them.
pub(super) const LIBRARY: Names = Names {
    embeddings_norm: "embeddings.LayerNorm",
    layers: "layers",
    attention: AttentionNames {
        projections: Stack::apart(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        output: "self_attn.o_proj",
        norms: None,
    },
    attention_norm: "post_attention_layernorm",
    wide: Stack::apart(&["mlp.gate_proj", "mlp.up_proj"]),
    narrow: "mlp.down_proj",
    output_norm: "post_mlp_layernorm",
};

fn settings(config: &ConfigFile) -> Result<Box<dyn Architecture>> {
    // Which of the two kinds of file it is.
    let old = config.get("n_embd").is_there();
    let name = |new, old_name| if old { old_name } else { new };
    let (width, heads) = (name("hidden_size", "n_embd"), name("num_attention_heads", "n_head"));
    let width_is = config.size(width)?;
    let heads = match config.get("head_dim").size()? {
        None => Heads::dividing(config, heads, width)?,
        Some(width) => {
            let count = config.size(heads)?;
            Heads { count, of_keys: count, width }
        }
    };
    let declared = match old {
        true => config.size("n_positions")?,
        false => config.size("max_position_embeddings")?,
    };
    let (rotary, activation) = if old {
        (old_rotary(config, heads)?, old_activation(config)?)
    } else {
        let rotary = Rotary::read(config, heads.rotary_width(config, "head_dim")?, 1000.0, declared)?;
        (rotary, config.activation("hidden_act", "silu")?)
    };
    let bias = |key| if old { config.flag(key, true) } else { Ok(false) };
    let attention = bias("qkv_proj_bias")?;
    let limits = Limits {
        width: width_is,
        vocabulary: config.size("vocab_size")?,
        types: config.size_or_none("type_vocab_size", 2)?,
        lengths: Lengths { most: MOST_POSITIONS, declared },
        places: Places::default(),
    };
    let epsilon = match old {
        true => config.epsilon("layer_norm_epsilon", 1e-5)?,
        false => config.epsilon("layer_norm_eps", 1e-12)?,
    };
    Ok(Box::new(PostNorm {
        limits,
        layers: config.size(name("num_hidden_layers", "n_layer"))?,
        heads,
        intermediate: config.size(name("intermediate_size", "n_inner"))?,
        activation,
        gated: true,
        normal: Normal { kind: NormKind::Layer { bias: true }, epsilon },
        biases: Biases {
            attention: AttentionBiases { projections: attention, output: attention },
            wide: bias("mlp_fc1_bias")?,
            narrow: bias("mlp_fc2_bias")?,
        },
        table_width: width_is,
        positions: Positions::Rotary(rotary),
        names: &NAMES,
    }))
}

/// The rotary positions of a file in the old names.
fn old_rotary(config: &ConfigFile, heads: Heads) -> Result<Rotary> {
    for (key, value, expected) in [
        ("prenorm", false, "false: layers that normalise their input are not supported in this family"),
        ("parallel_block", false, "false: blocks one after the other"),
        ("use_rms_norm", false, "false: normalisation by the root mean square is not supported in this family"),
        ("causal", false, "false: a sentence encoder attends in both directions"),
        ("scale_attn_weights", true, "true"),
        ("scale_attn_by_inverse_layer_idx", false, "false"),
        ("rotary_emb_interleaved", false, "false: the two halves of a head are turned with each other"),
    ] {
        config.get(key).only(&[value.into()], expected)?;
    }
    config.get("rotary_emb_scale_base").only(&[], "null: it is not supported")?;
    let experts = config.get("moe_every_n_layers");
    if experts.value().is_some_and(|every| every.as_u64() != Some(0)) {
        return Err(experts.wrong("null or 0: layers of experts are not supported"));
    }
    let fraction = config.get("rotary_emb_fraction");
    if fraction.number()? != Some(1.0) {
        return Err(fraction.wrong("1: heads are turned as a whole, and there is no table of positions"));
    }
    let factor = config.get("rotary_scaling_factor");
    let scaling = match factor.number()? {
        None => Scaling::None,
        Some(factor_is) if factor_is.is_finite() && factor_is > 0.0 => {
            let trained = config.get("max_trained_positions").size()?.unwrap_or(2048);
            Scaling::Dynamic { factor: factor_is, trained }
        }
        Some(_) => return Err(factor.wrong("a number above 0")),
    };
    let base = Rotary::base(config.get("rotary_emb_base"), 10_000.0)?;
    Ok(Rotary { width: heads.rotary_width(config, "n_head")?, base, scaling })
}

/// The gate's activation, by the name of the whole block.
fn old_activation(config: &ConfigFile) -> Result<Activation> {
    let setting = config.get("activation_function");
    match setting.string()? {
        Some("swiglu") => Ok(Activation::Silu),
        Some("geglu") => Ok(Activation::Gelu),
        _ => Err(setting.wrong("\"swiglu\" or \"geglu\": blocks without a gate are not supported in this family")),
    }
}
