//! Each family's own settings, one of them wrong, and weights that lack a tensor. Every one is an error that names the
//! file and the value.

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::refused::refused;
use support::{copied, set};

fn data(family: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/families")).join(family)
}

/// The settings of each family that are numbers.
const SIZES: &[(&str, &[&str])] = &[
    ("electra", &["embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "type_vocab_size"]),
    ("roberta", &["hidden_size", "intermediate_size", "max_position_embeddings", "type_vocab_size"]),
    ("distilbert", &["dim", "n_layers", "n_heads", "hidden_dim", "max_position_embeddings", "vocab_size"]),
];

#[test]
fn impossible_sizes() {
    for (family, keys) in SIZES {
        for key in *keys {
            for value in [json!(0), json!(-1), json!(2.5), json!(1u64 << 31), json!("4")] {
                let given = value.to_string();
                refused_setting(family, key, value, &[&given, "a whole number from 1"]);
            }
        }
    }
}

/// Sizes that are possible, but not those of the weights.
#[test]
fn sizes_that_contradict_the_weights() {
    for (family, keys) in SIZES {
        for key in *keys {
            refused_setting(family, key, json!(2_147_483_640), &[]);
        }
    }
}

#[test]
fn settings_of_one_family() {
    for (family, key, value, expected) in [
        ("electra", "num_attention_heads", json!(7), "a divisor of hidden_size"),
        ("electra", "hidden_act", json!("mish"), "one of gelu"),
        ("distilbert", "n_heads", json!(7), "a divisor of dim"),
        ("distilbert", "hidden_size", json!(7), "a divisor of hidden_size"),
        ("distilbert", "activation", json!("mish"), "one of gelu"),
        ("roberta", "pad_token_id", Value::Null, "the id of a token"),
        ("roberta", "pad_token_id", json!(-1), "the id of a token"),
        ("roberta", "pad_token_id", json!(1.5), "the id of a token"),
        ("roberta", "pad_token_id", json!(1 << 20), "the id of a token"),
        ("xlm-roberta", "max_position_embeddings", json!(2), "more than 2: the first 2 positions are for padding"),
        ("camembert", "layer_norm_eps", json!(0), "a number above"),
        ("camembert", "position_embedding_type", json!("relative_key"), "\"absolute\""),
    ] {
        let given = if value.is_null() { "null".to_owned() } else { value.to_string() };
        refused_setting(family, key, value, &[&given, expected]);
    }
}

/// A family's model with one setting of `config.json` changed.
#[track_caller]
fn refused_setting(family: &str, key: &str, value: Value, parts: &[&str]) {
    let directory = copied(&data(family));
    set(&directory.path().join("config.json"), &format!("/{key}"), value);
    match parts {
        [] => refused(directory.path(), &[]),
        parts => refused(directory.path(), &[&["config.json", key], parts].concat()),
    }
}
