//! Model directories with one wrong setting each, or a file that is not there. Every one is an error that names the
//! file and the value.

mod support;

use serde_json::json;
use std::fs;
use std::path::Path;
use support::refused::{encoder, refused, refused_setting, refused_with};
use support::{cpu, set, unset, written};
use thalweg_models::EmbeddingModel;

#[test]
fn the_unchanged_model_loads() {
    let directory = written(&encoder());
    EmbeddingModel::load(&cpu(), directory.path()).unwrap();
}

// Directories and files

#[test]
fn no_such_directory() {
    refused("no/such/model", &["no/such/model", "nothing there", "modules.json"]);
}

#[test]
fn a_file_for_a_directory() {
    let directory = written(&encoder());
    let file = directory.path().join("config.json");
    refused(&file, &["config.json: a file", "expected a model directory"]);
}

#[test]
fn each_file_missing_in_turn() {
    for file in ["modules.json", "config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"] {
        refused_with(|directory| fs::remove_file(directory.join(file)).unwrap(), &[file, "No such file"]);
    }
}

#[test]
fn a_directory_for_a_file() {
    for file in ["modules.json", "config.json", "model.safetensors", "tokenizer.json"] {
        let replace = |directory: &Path| {
            fs::remove_file(directory.join(file)).unwrap();
            fs::create_dir(directory.join(file)).unwrap();
        };
        refused_with(replace, &[file, "not a regular file"]);
    }
}

#[test]
fn each_json_file_cut_short() {
    for file in ["modules.json", "config.json", "sentence_bert_config.json", "tokenizer.json", "1_Pooling/config.json"]
    {
        let cut = |directory: &Path| {
            let bytes = fs::read(directory.join(file)).unwrap();
            fs::write(directory.join(file), &bytes[..bytes.len() / 2]).unwrap();
        };
        refused_with(cut, &[file, "EOF while parsing"]);
    }
}

#[test]
fn settings_that_are_not_text() {
    refused_with(
        |directory| fs::write(directory.join("config.json"), [0xFF; 64]).unwrap(),
        &["config.json", "not valid"],
    );
}

#[test]
fn settings_without_end() {
    let write = |directory: &Path| fs::write(directory.join("config.json"), vec![b' '; (1 << 20) + 1]).unwrap();
    refused_with(write, &["config.json", "1048577 bytes", "1048576"]);
}

#[test]
fn settings_nested_without_end() {
    let write = |directory: &Path| fs::write(directory.join("config.json"), "[".repeat(100_000)).unwrap();
    refused_with(write, &["config.json", "not valid JSON"]);
}

// modules.json

#[test]
fn an_unknown_module() {
    let dense = "sentence_transformers.models.Dense";
    refused_setting("modules.json", "/2/type", json!(dense), "Transformer, Pooling or Normalize");
    refused_setting("modules.json", "/1/type", json!("mine.Pooling"), "Transformer, Pooling or Normalize");
}

#[test]
fn modules_in_another_order() {
    let swap = |directory: &Path| {
        let file = directory.join("modules.json");
        set(&file, "/1/type", json!("sentence_transformers.models.Normalize"));
        set(&file, "/2/type", json!("sentence_transformers.models.Pooling"));
    };
    refused_with(swap, &["modules.json", "[Transformer, Normalize, Pooling]", "[Transformer, Pooling]"]);
    refused_with(|directory| fs::write(directory.join("modules.json"), "[]").unwrap(), &["modules.json", "[]"]);
}

#[test]
fn module_paths_that_leave_the_directory() {
    for path in ["../elsewhere", "/etc", "1_Pooling/../.."] {
        refused_setting("modules.json", "/1/path", json!(path), "inside the model directory");
    }
}

#[test]
fn a_module_that_is_not_an_object() {
    refused_with(
        |directory| set(&directory.join("modules.json"), "/1", json!(7)),
        &["modules.json", "type of module 1", "missing"],
    );
    refused_setting("modules.json", "/1/path", json!(7), "a string");
}

#[test]
fn a_default_prompt() {
    let write = |directory: &Path| {
        let prompts = json!({"prompts": {"query": "query: "}, "default_prompt_name": "query"});
        fs::write(directory.join("config_sentence_transformers.json"), prompts.to_string()).unwrap();
    };
    refused_with(write, &["config_sentence_transformers.json", "default_prompt_name", "\"query\"", "null"]);
}

// config.json

#[test]
fn another_family() {
    refused_setting("config.json", "/model_type", json!("roberta"), "\"bert\"");
    refused_with(|directory| unset(&directory.join("config.json"), "model_type"), &["model_type", "missing", "bert"]);
    refused_setting("config.json", "/position_embedding_type", json!("relative_key"), "\"absolute\"");
    refused_setting("config.json", "/is_decoder", json!(true), "false");
}

#[test]
fn an_unknown_activation() {
    refused_setting(
        "config.json",
        "/hidden_act",
        json!("mish"),
        "gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish, tanh",
    );
}

const SIZES: [&str; 7] = [
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
];

#[test]
fn impossible_sizes() {
    for key in SIZES {
        for value in
            [json!(0), json!(-4), json!(1.5), json!("16"), json!(1u64 << 31), json!(u64::MAX), json!(1e30), json!([16])]
        {
            refused_setting("config.json", &format!("/{key}"), value, "a whole number from 1 to 2147483647");
        }
    }
}

#[test]
fn missing_sizes() {
    for key in &SIZES[..6] {
        refused_with(|directory| unset(&directory.join("config.json"), key), &["config.json", key, "missing"]);
    }
}

/// Sizes that are possible, but not what the weights file has. The largest would overflow every product.
#[test]
fn sizes_that_contradict_the_weights() {
    for (key, tensor) in [
        ("vocab_size", "embeddings.word_embeddings.weight"),
        ("hidden_size", "embeddings.word_embeddings.weight"),
        ("num_hidden_layers", "encoder.layer.2.attention.self.query.weight"),
        ("intermediate_size", "encoder.layer.0.intermediate.dense.weight"),
        ("max_position_embeddings", "embeddings.position_embeddings.weight"),
        ("type_vocab_size", "embeddings.token_type_embeddings.weight"),
    ] {
        for value in [1_000_000u64, 2_147_483_644] {
            let change = |directory: &Path| {
                set(&directory.join("config.json"), &format!("/{key}"), json!(value));
                unset(&directory.join("1_Pooling/config.json"), "word_embedding_dimension");
            };
            refused_with(change, &["model.safetensors", tensor]);
        }
    }
}

#[test]
fn fewer_layers_than_the_weights() {
    let change = |directory: &Path| set(&directory.join("config.json"), "/num_hidden_layers", json!(1));
    refused_with(change, &["model.safetensors", "encoder.layer.1.", "past the 1"]);
}

#[test]
fn heads_that_do_not_divide_the_width() {
    refused_setting("config.json", "/num_attention_heads", json!(3), "a divisor of hidden_size, which is 16");
}

#[test]
fn a_useless_epsilon() {
    for value in [json!(0), json!(-1e-12), json!(1e-60), json!(2)] {
        let change = |directory: &Path| set(&directory.join("config.json"), "/layer_norm_eps", value);
        refused_with(change, &["config.json", "layer_norm_eps", "a number above"]);
    }
    refused_setting("config.json", "/layer_norm_eps", json!("small"), "a number");
    for text in ["NaN", "1e999"] {
        let write = |directory: &Path| {
            let file = directory.join("config.json");
            let config = fs::read_to_string(&file).unwrap();
            assert!(config.contains("1e-12"));
            fs::write(file, config.replace("1e-12", text)).unwrap();
        };
        refused_with(write, &["config.json", "not valid JSON", "line"]);
    }
}

// sentence_bert_config.json, tokenizer_config.json

#[test]
fn more_tokens_than_positions() {
    refused_setting(
        "sentence_bert_config.json",
        "/max_seq_length",
        json!(81),
        "at most 80, the max_position_embeddings",
    );
    refused_setting("sentence_bert_config.json", "/max_seq_length", json!(0), "a whole number from 1");
    refused_setting("sentence_bert_config.json", "/do_lower_case", json!("yes"), "true or false");
}

#[test]
fn no_room_for_a_token_of_the_text() {
    for tokens in [1, 2] {
        let change =
            |directory: &Path| set(&directory.join("sentence_bert_config.json"), "/max_seq_length", json!(tokens));
        refused_with(change, &["tokenizer.json", "2 special tokens", &format!("cut to {tokens} tokens")]);
    }
}

#[test]
fn a_tokenizer_configuration_that_makes_no_sense() {
    for (text, parts) in [
        (r#"{"model_max_length": 0}"#, ["model_max_length", "at least 1"]),
        (r#"{"model_max_length": "long"}"#, ["model_max_length", "a number"]),
        (r#"{"truncation_side": "middle"}"#, ["truncation_side", "\"left\" or \"right\""]),
    ] {
        let write = |directory: &Path| {
            unset(&directory.join("sentence_bert_config.json"), "max_seq_length");
            fs::write(directory.join("tokenizer_config.json"), text).unwrap();
        };
        refused_with(write, &["tokenizer_config.json", parts[0], parts[1]]);
    }
}

// 1_Pooling/config.json

#[test]
fn no_pooling_several_and_unknown_ones() {
    const FILE: &str = "1_Pooling/config.json";
    let mean = "/pooling_mode_mean_tokens";
    refused_with(|directory| set(&directory.join(FILE), mean, json!(false)), &[FILE, "pooling_mode", "exactly one"]);
    let both = |directory: &Path| set(&directory.join(FILE), "/pooling_mode_cls_token", json!(true));
    refused_with(both, &[FILE, "pooling_mode_cls_token and pooling_mode_mean_tokens", "exactly one"]);
    for key in ["pooling_mode_lasttoken", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_new"] {
        let change = |directory: &Path| {
            set(&directory.join(FILE), mean, json!(false));
            set(&directory.join(FILE), &format!("/{key}"), json!(true));
        };
        refused_with(change, &[FILE, &format!("`{key}` is true"), "exactly one"]);
    }
    refused_setting(FILE, mean, json!("yes"), "true or false");
    refused_setting(FILE, "/pooling_mode", json!("lasttoken"), "\"cls\", \"mean\" or \"max\"");
}

#[test]
fn a_pooling_of_another_width() {
    refused_setting("1_Pooling/config.json", "/word_embedding_dimension", json!(384), "16, the hidden_size");
}
