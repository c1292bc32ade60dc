//! Model directories with one wrong setting each, or a file that is not there. Every one is an error that names the
//! file and the value.

mod support;

use serde_json::json;
use std::fs;
use std::path::Path;
use support::refused::{encoder, refused, refused_setting, refused_with};
use support::{cpu, set, unset, written};
use thalweg_models::EmbeddingModel;
use thalweg_models::testing::write_weights;

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
    for file in ["config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"] {
        refused_with(|directory| fs::remove_file(directory.join(file)).unwrap(), &[file, "No such file"]);
    }
}

/// What is given instead of a model, or of its weights, is told, and what to do.
#[test]
fn something_else_than_a_model() {
    let empty = |files: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "{}").unwrap();
        }
        directory
    };
    for (files, parts) in [
        (&["refs/main", "snapshots/abc123/x"][..], &["refs/main: \"{}\"", "the name of a commit"][..]),
        (&["snapshots/a/x", "snapshots/b/x"], &["cache of the Hugging Face hub", "one of the folders"]),
        (&["blobs/x", "snapshots/.x"], &["cache of the Hugging Face hub", "download the model again"]),
        (&["models--a--b/refs/main", "version.txt"], &["a cache of the Hugging Face hub", "ORGANISATION/NAME"]),
        (&["model/modules.json", "README.md"], &["a folder with a model in it", "/model"]),
        (&["a/modules.json", "b/modules.json"], &["a folder with 2 models in it"]),
        (&["onnx/model.onnx", "tokenizer.json"], &["exported to ONNX", "model.safetensors"]),
        (&["model_quantized.onnx"], &["exported to ONNX"]),
        (&["config.json", "tokenizer.json", "onnx/model.onnx"], &["exported to ONNX"]),
        (&["config.json", "pytorch_model.bin"], &["PyTorch pickles", "save it again"]),
        (&["adapter_model.safetensors", "adapter_config.json"], &["PEFT", "merge_and_unload"]),
        (&["openvino/openvino_model.xml"], &["exported to OpenVINO"]),
        (&["model-q4.gguf"], &["GGUF"]),
        (&["README.md"], &["modules.json", "No such file"]),
    ] {
        let directory = empty(files);
        let path = directory.path().display().to_string();
        refused(directory.path(), &[&[path.as_str()], parts].concat());
    }
    for (file, says) in [
        ("pytorch_model.bin", "pytorch_model.bin"),
        ("pytorch_model-00001-of-00002.bin", "PyTorch"),
        ("model-00001-of-00002.safetensors", "several safetensors files without model.safetensors.index.json"),
        ("onnx/model.onnx", "ONNX"),
        ("openvino/openvino_model.bin", "OpenVINO"),
        ("tf_model.h5", "TensorFlow"),
        ("model.fp16.safetensors", "rename the one"),
    ] {
        let change = |directory: &Path| {
            fs::remove_file(directory.join("model.safetensors")).unwrap();
            fs::create_dir_all(directory.join(file).parent().unwrap()).unwrap();
            fs::write(directory.join(file), "x").unwrap();
        };
        refused_with(change, &["model.safetensors: not there, but", says]);
    }
    let model = written(&encoder());
    refused(model.path().join("1_Pooling"), &["1_Pooling: a module of the model in the folder above"]);
}

/// A pointer in the place of each file.
#[test]
fn pointers_of_git_lfs() {
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 90868376\n";
    let names = ["modules.json", "config.json", "sentence_bert_config.json", "tokenizer_config.json", "tokenizer.json"];
    for file in names.into_iter().chain(["1_Pooling/config.json", "model.safetensors"]) {
        let write = |directory: &Path| fs::write(directory.join(file), POINTER).unwrap();
        refused_with(write, &[file, "it is a Git LFS pointer", "git lfs pull"]);
    }
    let write = |directory: &Path| {
        fs::remove_file(directory.join("tokenizer.json")).unwrap();
        fs::write(directory.join("vocab.txt"), POINTER).unwrap();
    };
    refused_with(write, &["vocab.txt", "it is a Git LFS pointer"]);
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
    let write = |directory: &Path| fs::write(directory.join("config.json"), vec![b' '; (16 << 20) + 1]).unwrap();
    refused_with(write, &["config.json", "16777217 bytes", "16777216"]);
}

#[test]
fn settings_nested_without_end() {
    let write = |directory: &Path| fs::write(directory.join("config.json"), "[".repeat(100_000)).unwrap();
    refused_with(write, &["config.json", "not valid JSON"]);
}

// modules.json

#[test]
fn an_unknown_module() {
    let lstm = "sentence_transformers.models.LSTM";
    refused_setting("modules.json", "/2/type", json!(lstm), "Transformer, MLMTransformer, Pooling, Dense, Normalize");
    refused_setting("modules.json", "/1/type", json!("mine.Pooling"), "no other module is supported");
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
fn settings_of_the_whole_model_that_are_not_supported() {
    const FILE: &str = "config_sentence_transformers.json";
    for (text, parts) in [
        (r#"{"truncate_dim": -4}"#, ["truncate_dim", "-4"]),
        (r#"{"model_type": "SparseEncoder"}"#, ["model_type", "\"SparseEncoder\" by SparseEncoder"]),
        (r#"{"model_type": null}"#, ["model_type", "null"]),
        (
            r#"{"prompts": {"q": "query: "}, "default_prompt_name": "p"}"#,
            ["default_prompt_name", "\"query\", \"document\", \"q\""],
        ),
        (r#"{"prompts": {"q": 7}}"#, ["`prompts.q` is 7", "a text, or null"]),
        (r#"{"prompts": ["query: "]}"#, ["`prompts`", "an object of texts"]),
    ] {
        refused_with(|directory| fs::write(directory.join(FILE), text).unwrap(), &[FILE, parts[0], parts[1]]);
    }
    let change = |directory: &Path| {
        fs::create_dir_all(directory.join("2_Normalize")).unwrap();
        let text = r#"{"module_input_name": "token_embeddings"}"#;
        fs::write(directory.join("2_Normalize/config.json"), text).unwrap();
    };
    refused_with(change, &["2_Normalize/config.json", "module_input_name", "\"sentence_embedding\""]);
    refused_setting("modules.json", "/1/name", json!("0"), "a name of its own");
}

/// What the reference takes and this does not, or neither: by name.
#[test]
fn arguments_that_are_not_supported() {
    const FILE: &str = "sentence_bert_config.json";
    for (settings, parts) in [
        (json!({"foo": 1}), ["`foo`", "not understood"]),
        (json!({"tokenizer_args": {"foo": 1}}), ["`tokenizer_args.foo`", "not understood"]),
        (
            json!({"processor_kwargs": {"tokenizer_class": "X"}}),
            ["`processor_kwargs.tokenizer_class`", "not supported"],
        ),
        (json!({"processor_kwargs": {"add_bos_token": true}}), ["`processor_kwargs.add_bos_token`", "not supported"]),
        (
            json!({"processor_kwargs": {"split_special_tokens": true}}),
            ["`processor_kwargs.split_special_tokens`", "false"],
        ),
        (json!({"processing_kwargs": {"max_length": 4}}), ["`processing_kwargs.max_length`", "text, common"]),
        (json!({"processing_kwargs": {"text": {"max_length": 1000}}}), ["`processing_kwargs.text.max_length`", "80"]),
        (json!({"processing_kwargs": {"text": {"stride": 4}}}), ["`processing_kwargs.text.stride`", "not understood"]),
        (json!({"processing_kwargs": {"text": {"add_special_tokens": false}}}), ["add_special_tokens", "true"]),
        (
            json!({"processing_kwargs": {"common": {"truncation": "only_second"}}}),
            ["common.truncation", "longest_first"],
        ),
        (json!({"config_kwargs": {"is_decoder": true}}), ["`config_kwargs.is_decoder`", "false"]),
        (json!({"config_args": {"foo": 1}}), ["`config_args.foo`", "not understood"]),
        (json!({"config_args": {"quantization_config": {"bits": 8}}}), ["quantization_config", "quantized"]),
        (json!({"model_kwargs": {"load_in_8bit": true}}), ["`model_kwargs.load_in_8bit`", "not understood"]),
        (json!({"model_args": {"torch_dtype": "float16"}}), ["`model_args.torch_dtype`", "float32"]),
        (json!({"transformer_task": "fill-mask"}), ["transformer_task", "feature-extraction"]),
        (
            json!({"modality_config": {"image": {}}, "module_output_name": "token_embeddings"}),
            ["modality_config", "text"],
        ),
        (json!({"tokenizer_name_or_path": "bert-base"}), ["tokenizer_name_or_path", "null"]),
        (json!({"tokenizer_args": 7}), ["`tokenizer_args` is 7", "an object"]),
    ] {
        let write = |directory: &Path| fs::write(directory.join(FILE), settings.to_string()).unwrap();
        refused_with(write, &[FILE, parts[0], parts[1]]);
    }
}

#[test]
fn tokenizers_that_are_not_supported() {
    const FILE: &str = "tokenizer_config.json";
    let token = |content: &str| json!({"content": content, "special": true});
    for (settings, parts) in [
        (json!({"tokenizer_class": "T5TokenizerFast"}), ["`tokenizer_class` is \"T5TokenizerFast\"", FILE]),
        (
            json!({"tokenizer_class": "RobertaTokenizerFast"}),
            ["tokenizer.json", "WordPiece; RobertaTokenizer needs BPE"],
        ),
        (json!({"tokenizer_class": "XLMRobertaTokenizer"}), ["WordPiece; XLMRobertaTokenizer needs Unigram", FILE]),
        (json!({"sep_token": null, "cls_token": null, "model_input_names": null}), ["model_input_names", FILE]),
        (json!({"split_special_tokens": true}), ["split_special_tokens", FILE]),
        (json!({"processor_class": "X"}), ["processor_class", FILE]),
        (json!({"fast_tokenizer_files": ["tokenizer.4.0.0.json"]}), ["fast_tokenizer_files", FILE]),
        // Ids beyond the encoder's table.
        (json!({"added_tokens_decoder": {"88": token("<url>")}}), ["\"<url>\" has id 88", "vocab_size 88"]),
        (json!({"additional_special_tokens": ["<url>"]}), ["\"<url>\" has id 88", "vocab_size 88"]),
        (json!({"mask_token": "<url>"}), ["\"<url>\" has id 88", "vocab_size 88"]),
        (json!({"added_tokens_decoder": {"88": 7}}), ["`added_tokens_decoder.88` is 7", FILE]),
    ] {
        let write = |directory: &Path| fs::write(directory.join(FILE), settings.to_string()).unwrap();
        refused_with(write, &parts);
    }
    for (file, text) in
        [("added_tokens.json", r#"{"<url>": 88}"#), ("special_tokens_map.json", r#"{"x_token": "<url>"}"#)]
    {
        refused_with(|directory| fs::write(directory.join(file), text).unwrap(), &["\"<url>\" has id 88"]);
    }
    let write = |directory: &Path| fs::write(directory.join("special_tokens_map.json"), r#"{"foo": 1}"#).unwrap();
    refused_with(write, &["special_tokens_map.json", "`foo` is not understood"]);
    let write = |directory: &Path| set(&directory.join("config.json"), "/tokenizer_class", json!("T5Tokenizer"));
    refused_with(write, &["config.json", "`tokenizer_class` is \"T5Tokenizer\""]);
    let write = |directory: &Path| {
        fs::rename(directory.join("tokenizer.json"), directory.join("vocab.txt")).unwrap();
        fs::write(directory.join(FILE), r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#).unwrap();
    };
    refused_with(write, &["tokenizer.json: not there, but vocab.txt", "TokenizersBackend", FILE]);
    let write = |directory: &Path| {
        fs::rename(directory.join("tokenizer.json"), directory.join("sentencepiece.bpe.model")).unwrap();
        fs::write(directory.join(FILE), r#"{"tokenizer_class": "XLMRobertaTokenizer"}"#).unwrap();
    };
    refused_with(write, &["not there, but sentencepiece.bpe.model", "XLMRobertaTokenizer", "in Python and save it"]);
    for (merges, part) in [("#version: 0.2\na b c\n", "line 2 is \"a b c\""), ("a b\n", "Token `b` out of vocabulary")]
    {
        let write = |directory: &Path| {
            fs::remove_file(directory.join("tokenizer.json")).unwrap();
            fs::write(directory.join(FILE), r#"{"tokenizer_class": "Qwen2Tokenizer"}"#).unwrap();
            fs::write(directory.join("vocab.json"), r#"{"a": 0}"#).unwrap();
            fs::write(directory.join("merges.txt"), merges).unwrap();
        };
        refused_with(write, &[part]);
    }
}

// config.json

#[test]
fn another_family() {
    refused_setting("config.json", "/model_type", json!("t5"), "one of \"bert\", \"electra\", \"roberta\"");
    refused_with(|directory| unset(&directory.join("config.json"), "model_type"), &["model_type", "missing", "bert"]);
    refused_setting("config.json", "/position_embedding_type", json!("relative_key"), "\"absolute\"");
    refused_setting("config.json", "/is_decoder", json!(true), "false");
    refused_setting("config.json", "/add_cross_attention", json!(true), "false");
    refused_setting("config.json", "/quantization_config", json!({"bits": 8}), "null");
    refused_setting("config.json", "/pruned_heads", json!({"0": [1]}), "{}");
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
    for (text, says) in [("NaN", "`layer_norm_eps` is NaN"), ("Infinity", "is inf"), ("1e999", "not valid JSON")] {
        let write = |directory: &Path| {
            let file = directory.join("config.json");
            let config = fs::read_to_string(&file).unwrap();
            assert!(config.contains("1e-12"));
            fs::write(file, config.replace("1e-12", text)).unwrap();
        };
        refused_with(write, &["config.json", says]);
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
fn poolings_that_are_not_supported() {
    const FILE: &str = "1_Pooling/config.json";
    for mode in [json!("median"), json!(["mean", "median"]), json!([]), json!(7), json!(null)] {
        let given = mode.to_string();
        let change = |directory: &Path| set(&directory.join(FILE), "/pooling_mode", mode);
        refused_with(change, &[FILE, &given, "one of \"cls\", \"max\", \"mean\"", "or a list of them"]);
    }
    refused_setting(FILE, "/pooling_mode_mean_tokens", json!("yes"), "true or false");
    refused_setting(FILE, "/include_prompt", json!("no"), "true or false");
    let change = |directory: &Path| set(&directory.join(FILE), "/pooling_mode_new", json!(true));
    refused_with(change, &[FILE, "`pooling_mode_new` is not understood", "pooling_mode,"]);
}

#[test]
fn a_pooling_of_another_width() {
    refused_setting("1_Pooling/config.json", "/word_embedding_dimension", json!(384), "16, the width of the encoder");
}

/// What is under the name of the weights, and is something else.
#[test]
fn other_files_in_the_place_of_weights() {
    for (bytes, what) in [
        (&b""[..], "an empty file"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"PK\x03\x04\0\0\x08\0", "as PyTorch pickles them"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "as PyTorch pickles them"),
        (b"Entry not found", "text that begins \"Entry not found\""),
        (b"{\"error\":\"gone\"}\n", "text that begins"),
    ] {
        let write = |directory: &Path| fs::write(directory.join("model.safetensors"), bytes).unwrap();
        refused_with(write, &["model.safetensors", what]);
    }
}

#[test]
fn settings_that_change_how_a_model_computes() {
    refused_setting("config.json", "/is_causal", json!(true), "false");
    refused_setting("config.json", "/transformers_weights", json!("other.safetensors"), "\"model.safetensors\"");
    let adapter = |directory: &Path| fs::write(directory.join("adapter_config.json"), "{}").unwrap();
    refused_with(adapter, &["adapter_config.json", "PEFT", "merge_and_unload"]);
    let family = |directory: &Path| {
        fs::write(directory.join("config_sentence_transformers.json"), "{\"model_type\": null}").unwrap();
    };
    refused_with(family, &["config_sentence_transformers.json", "model_type", "no such key"]);
    for key in ["tokenizer_truncation", "tokenizer_padding", "post_processor"] {
        let write = |directory: &Path| {
            fs::write(directory.join("tokenizer_config.json"), format!("{{\"{key}\": {{\"max_length\": 8}}}}"))
                .unwrap();
        };
        refused_with(write, &["tokenizer_config.json", key, "null"]);
    }
}

#[test]
fn a_tensor_under_two_names() {
    let twice = |directory: &Path| {
        let mut tensors = encoder().tensors();
        let (name, shape, values) =
            tensors.iter().find(|tensor| tensor.0.ends_with("LayerNorm.weight")).unwrap().clone();
        tensors.push((name.replace("weight", "gamma"), shape, values));
        write_weights(&directory.join("model.safetensors"), &tensors).unwrap();
    };
    refused_with(twice, &["LayerNorm.weight", "LayerNorm.gamma", "two names of one tensor"]);
}
