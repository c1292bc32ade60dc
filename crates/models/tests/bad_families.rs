//! Each family's own settings, one of them wrong, and weights that lack a tensor. Every one is an error that names the
//! file and the value.

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::refused::refused;
use support::{copied, cpu, set, unset};
use thalweg_models::EmbeddingModel;

fn data(family: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/families")).join(family)
}

/// The settings of each family that are numbers.
const SIZES: &[(&str, &[&str])] = &[
    ("electra", &["embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "type_vocab_size"]),
    ("roberta", &["hidden_size", "intermediate_size", "max_position_embeddings", "type_vocab_size"]),
    ("distilbert", &["dim", "n_layers", "n_heads", "hidden_dim", "max_position_embeddings", "vocab_size"]),
    ("mpnet", &["hidden_size", "relative_attention_num_buckets", "max_position_embeddings"]),
    ("modernbert", &["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"]),
    ("nomic-bert", &["hidden_size", "num_hidden_layers", "num_attention_heads", "head_dim", "intermediate_size"]),
    ("gte", &["hidden_size", "num_hidden_layers", "num_attention_heads", "head_dim", "vocab_size"]),
    ("qwen3", &["hidden_size", "num_attention_heads", "head_dim", "num_key_value_heads", "vocab_size"]),
    ("qwen2", &["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"]),
];

/// Those that no tensor's shape bears out.
const FREE: &[(&str, &[&str])] = &[
    ("modernbert", &["max_position_embeddings", "local_attention", "sliding_window"]),
    ("nomic-bert", &["max_position_embeddings"]),
    ("gte", &["max_position_embeddings"]),
    ("qwen3", &["max_position_embeddings"]),
];

#[test]
fn impossible_sizes() {
    for (family, keys) in SIZES.iter().chain(FREE) {
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
        ("mpnet", "relative_attention_num_buckets", json!(16), "at least 32"),
        ("mpnet", "max_position_embeddings", json!(2), "more than 2"),
        ("modernbert", "num_attention_heads", json!(7), "a divisor of hidden_size, which is 30"),
        ("modernbert", "num_attention_heads", json!(6), "heads of an even width above 2; with it they have 5"),
        ("modernbert", "layer_types", json!(["full_attention"]), "for each of 4 layers"),
        ("modernbert", "layer_types", json!([1, 2, 3, 4]), "for each of 4 layers"),
        ("modernbert", "norm_bias", json!("yes"), "true or false"),
        ("modernbert", "rope_parameters", json!([1]), "an object"),
        ("modernbert", "rope_parameters", json!({"full_attention": 7}), "an object with a number for rope_theta"),
        ("modernbert", "rope_parameters", json!({"sliding_attention": {"rope_theta": 0}}), "a number above 0"),
        ("modernbert", "rope_scaling", json!({"type": "linear", "factor": 2}), "null"),
        ("modernbert", "global_rope_theta", json!(-1), "a number above 0"),
        ("nomic-bert", "head_dim", json!(7), "heads of an even width above 2; with it they have 7"),
        ("nomic-bert", "rope_parameters", json!({"rope_type": "yarn", "factor": 2}), "\"linear\" or \"dynamic\""),
        ("nomic-bert", "rope_parameters", json!({"rope_type": "linear"}), "a number above 0"),
        ("nomic-bert", "rope_parameters", json!({"rope_type": "dynamic", "factor": 0}), "a number above 0"),
        ("nomic-bert", "rope_parameters", json!({"partial_rotary_factor": 0.5}), "heads are turned as a whole"),
        ("nomic-bert", "rope_parameters", json!({"rope_theta": "many"}), "a number above 0"),
        ("gte", "rope_theta", json!(0), "a number above 0"),
        ("qwen3", "num_key_value_heads", json!(4), "a divisor of num_attention_heads, which is 6"),
        ("qwen3", "head_dim", json!(9), "heads of an even width above 2; with it they have 9"),
        ("qwen3", "use_sliding_window", json!(1), "true or false"),
        ("qwen3", "layer_types", json!(["full_attention", "sliding_attention"]), "a window for the layers"),
        ("qwen3", "rms_norm_eps", json!(0), "a number above"),
    ] {
        let given = if value.is_object() || value.is_array() { String::new() } else { value.to_string() };
        refused_setting(family, key, value, &[&given, expected]);
    }
}

/// Files in the names of code that once came with checkpoints.
#[test]
fn settings_of_old_files() {
    let old = |case: &str| -> Value {
        let text = std::fs::read_to_string(data(&format!("{case}.jsonl"))).expect("a case");
        let header: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        let config = header["files"]["config.json"].as_str().expect("a file").to_owned();
        serde_json::from_str(&config).expect("JSON")
    };
    for (family, case, key, value, expected) in [
        ("nomic-bert", "nomic-bert-hub", "n_embd", json!(0), "a whole number from 1"),
        ("nomic-bert", "nomic-bert-hub", "n_inner", Value::Null, "a whole number from 1"),
        ("nomic-bert", "nomic-bert-hub", "n_head", json!(7), "a divisor of n_embd"),
        ("nomic-bert", "nomic-bert-hub", "n_head", json!(12), "heads of an even width"),
        ("nomic-bert", "nomic-bert-hub", "activation_function", json!("gelu"), "\"swiglu\" or \"geglu\""),
        ("nomic-bert", "nomic-bert-hub", "rotary_emb_fraction", json!(0.5), "1: heads are turned as a whole"),
        ("nomic-bert", "nomic-bert-hub", "rotary_emb_interleaved", json!(true), "false"),
        ("nomic-bert", "nomic-bert-hub", "rotary_emb_scale_base", json!(512), "null"),
        ("nomic-bert", "nomic-bert-hub", "rotary_scaling_factor", json!(-2), "a number above 0"),
        ("nomic-bert", "nomic-bert-hub", "prenorm", json!(true), "false"),
        ("nomic-bert", "nomic-bert-hub", "causal", json!(true), "false"),
        ("nomic-bert", "nomic-bert-hub", "use_rms_norm", json!(true), "false"),
        ("nomic-bert", "nomic-bert-hub", "moe_every_n_layers", json!(2), "experts are not supported"),
        ("gte", "gte-hub", "position_embedding_type", json!("absolute"), "\"rope\""),
        ("gte", "gte-hub", "layer_norm_type", json!("rms_norm"), "\"layer_norm\""),
        ("gte", "gte-hub", "logn_attention_scale", json!(true), "false"),
        ("gte", "gte-hub", "rope_scaling", json!({"type": "linear", "factor": 2}), "\"ntk\""),
        ("gte", "gte-hub", "rope_scaling", json!({"type": "ntk"}), "a number above 0"),
        ("gte", "gte-hub", "rope_scaling", json!({"type": "ntk", "factor": 2, "mixed_b": 1}), "null"),
    ] {
        let directory = copied(&data(family));
        let mut config = old(case);
        config[key] = value;
        std::fs::write(directory.path().join("config.json"), config.to_string()).expect("the file");
        refused(directory.path(), &["config.json", key, expected]);
    }
}

/// Where positions have no table, no setting alone makes a model take memory.
#[test]
fn more_positions_than_there_can_be() {
    for family in ["modernbert", "nomic-bert", "gte"] {
        let directory = copied(&data(family));
        let file = directory.path().join("config.json");
        set(&file, "/max_position_embeddings", json!(i32::MAX));
        set(&file, "/local_attention", json!(i32::MAX));
        unset(&directory.path().join("tokenizer_config.json"), "model_max_length");
        let model = EmbeddingModel::load(&cpu(), directory.path()).expect("a model");
        assert_eq!(model.max_tokens(), 1 << 20);
        let bytes = model.device().memory().reserved;
        assert!(bytes < 8 << 20, "{bytes} bytes");
        model.embed_one("The river runs to the sea").expect("an embedding");
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
