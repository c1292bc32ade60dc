//! Models with weights or a tokenizer that are truncated, corrupt or contradict the configuration. Every one is an
//! error that names the file and what is wrong with it.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::refused::{encoder, refused_with};
use support::{cpu, set, written};
use thalweg_models::testing::write_weights;
use thalweg_models::{EmbeddingModel, Error};

// model.safetensors

const WEIGHTS: &str = "model.safetensors";

/// A model with these bytes in its weights file.
#[track_caller]
fn refused_weights(bytes: impl FnOnce(Vec<u8>) -> Vec<u8>, parts: &[&str]) {
    let change = |directory: &Path| {
        let file = directory.join(WEIGHTS);
        fs::write(&file, bytes(fs::read(&file).expect("the file"))).expect("the file");
    };
    refused_with(change, &[&[WEIGHTS], parts].concat());
}

/// A file of just this header.
fn header(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

#[test]
fn weights_cut_anywhere() {
    let length = fs::read(written(&encoder()).path().join(WEIGHTS)).unwrap().len();
    for keep in [1, 7, 8, 9, 500, length / 2, length - 1] {
        let file_has = format!("the file has {keep} bytes");
        refused_weights(|bytes| bytes[..keep].to_vec(), &[&file_has, "truncated"]);
    }
}

#[test]
fn weights_with_bytes_too_many() {
    refused_weights(|bytes| [&bytes[..], b"more"].concat(), &["its header describes", "corrupt"]);
}

#[test]
fn a_header_longer_than_the_file_or_any_limit() {
    let with_length = |length: u64| move |bytes: Vec<u8>| [&length.to_le_bytes(), &bytes[8..]].concat();
    refused_weights(with_length(10_000_000), &["its header describes 10000008"]);
    refused_weights(with_length(1 << 25), &["the header has 33554432 bytes", "16777216"]);
    refused_weights(with_length(u64::MAX), &["the header has 18446744073709551615 bytes"]);
}

#[test]
fn a_corrupt_header() {
    refused_weights(
        |mut bytes| {
            bytes[8] = b'x';
            bytes
        },
        &["header is corrupt", "line 1"],
    );
    refused_weights(
        |mut bytes| {
            bytes[20] = 0xFF;
            bytes
        },
        &["header is corrupt"],
    );
    refused_weights(|_| header(r#"{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#), &["corrupt", "F33"]);
    refused_weights(|_| header("[]"), &["header is corrupt"]);
}

#[test]
fn a_header_that_lies_about_offsets() {
    for text in [
        // Shape and length disagree.
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
        // A gap, an overlap, an end before its start.
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#,
        // A product that overflows.
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#,
    ] {
        refused_weights(|_| header(text), &["header is corrupt"]);
    }
    // The same name twice.
    let text =
        r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
    refused_weights(|_| header(text), &["embeddings.word_embeddings.weight"]);
}

/// Tensors with lengths that add up to 2^64 - 8 and a bit: the file's length, were the sum allowed to wrap.
#[test]
fn offsets_that_wrap_around() {
    let part = 1u64 << 60;
    let tensor = |index: u64, length: u64| {
        let (start, end) = (index * part, index * part + length);
        format!(r#""t{index}":{{"dtype":"U8","shape":[{length}],"data_offsets":[{start},{end}]}}"#)
    };
    let last = part - 1;
    let tensors: Vec<String> = (0..16).map(|index| tensor(index, if index == 15 { last } else { part })).collect();
    let text = format!("{{{}}}", tensors.join(","));
    refused_weights(|_| header(&text), &["its header describes 18446744073709551615"]);
}

/// A model with tensors that are changed before they are written.
#[track_caller]
fn refused_tensors(change: impl FnOnce(&mut Vec<(String, Vec<usize>, Vec<f32>)>), parts: &[&str]) {
    let mut tensors = encoder().tensors();
    change(&mut tensors);
    let write = |directory: &Path| write_weights(&directory.join(WEIGHTS), &tensors).expect("the file");
    refused_with(write, &[&[WEIGHTS], parts].concat());
}

#[test]
fn each_tensor_missing_in_turn() {
    for index in 0..encoder().tensors().len() {
        let name = encoder().tensors()[index].0.clone();
        refused_tensors(|tensors| drop(tensors.remove(index)), &[&format!("`{name}` is missing")]);
    }
}

#[test]
fn each_tensor_of_another_shape_in_turn() {
    for index in 0..encoder().tensors().len() {
        let (name, mut shape, _) = encoder().tensors()[index].clone();
        shape.insert(0, 1);
        let change = |tensors: &mut Vec<(String, Vec<usize>, Vec<f32>)>| tensors[index].1 = shape.clone();
        refused_tensors(change, &[&name, &format!("has shape {shape:?}"), "config.json asks for"]);
    }
}

#[test]
fn weights_of_another_dtype() {
    let as_integers = |bytes: Vec<u8>| {
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let text = std::str::from_utf8(&bytes[8..end]).unwrap();
        [&header(&text.replace("F32", "I32")), &bytes[end..]].concat()
    };
    refused_weights(as_integers, &["embeddings.word_embeddings.weight", "dtype I32", "expected F32, F16 or BF16"]);
}

#[test]
fn weights_that_are_not_numbers() {
    for value in [f32::NAN, f32::INFINITY] {
        let parts = ["embeddings.LayerNorm.bias", "element 5", &value.to_string(), "finite"];
        let change = |tensors: &mut Vec<(String, Vec<usize>, Vec<f32>)>| {
            let tensor = tensors.iter_mut().find(|tensor| tensor.0 == "embeddings.LayerNorm.bias").unwrap();
            tensor.2[5] = value;
        };
        refused_tensors(change, &parts);
    }
}

// tokenizer.json

const TOKENIZER: &str = "tokenizer.json";

#[track_caller]
fn refused_tokenizer(pointer: &str, value: Value, parts: &[&str]) {
    let change = |directory: &Path| set(&directory.join(TOKENIZER), pointer, value);
    refused_with(change, &[&[TOKENIZER, "not a usable tokenizer"], parts].concat());
}

#[test]
fn a_broken_tokenizer() {
    refused_with(|directory| fs::write(directory.join(TOKENIZER), "{}").unwrap(), &[TOKENIZER, "not a usable"]);
    refused_with(|directory| fs::write(directory.join(TOKENIZER), "").unwrap(), &[TOKENIZER, "EOF"]);
    refused_tokenizer("/model", json!({"type": "Unheard"}), &[]);
}

/// The library panics on this file; that is caught.
#[test]
fn a_tokenizer_that_panics() {
    refused_tokenizer("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), &["it panicked"]);
}

#[test]
fn tokens_past_the_vocabulary() {
    refused_tokenizer("/model/vocab/river", json!(88), &["\"river\" has id 88", "vocab_size 88"]);
    refused_tokenizer("/model/vocab/river", json!(u32::MAX), &["4294967295"]);
}

/// A model of which tokenizer.json alone decides the tokenizer.
fn of_its_file() -> tempfile::TempDir {
    let directory = written(&encoder());
    let class = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    fs::write(directory.path().join("tokenizer_config.json"), class).expect("the file");
    directory
}

/// The reference takes it too; a text without a token is an error.
#[test]
fn a_tokenizer_without_special_tokens() {
    let directory = of_its_file();
    set(&directory.path().join(TOKENIZER), "/post_processor", Value::Null);
    let model = EmbeddingModel::load(&cpu(), directory.path()).unwrap();
    assert_eq!(model.embed(&["river"]).unwrap().tokens(0), 1);
    let error = model.embed(&["river", ""]).unwrap().row(1).unwrap_err();
    assert!(matches!(error, Error::SequenceLength { sequence: 1, tokens: 0, .. }), "{error}");
}

/// A template's ids are not in the vocabulary, so only the texts can show that they are wrong.
#[test]
fn ids_of_a_template_are_checked_before_the_device_sees_them() {
    let directory = of_its_file();
    set(&directory.path().join(TOKENIZER), "/post_processor/special_tokens/[CLS]/ids", json!([90_000]));
    let model = EmbeddingModel::load(&cpu(), directory.path()).unwrap();
    let error = model.embed_one("river").unwrap_err();
    assert!(
        matches!(error, Error::TokenId { sequence: 0, position: 0, what: "token", given: 90_000, count: 88 }),
        "{error}"
    );
    let directory = of_its_file();
    set(&directory.path().join("tokenizer_config.json"), "/model_input_names", json!(["input_ids", "token_type_ids"]));
    set(&directory.path().join(TOKENIZER), "/post_processor/single/0/SpecialToken/type_id", json!(2));
    let model = EmbeddingModel::load(&cpu(), directory.path()).unwrap();
    let error = model.embed_one("river").unwrap_err().to_string();
    assert_eq!(error, "sequence 0, position 0: type id 2; the model has ids 0 to 1");
}

#[test]
fn a_tokenizer_that_fails_on_a_text() {
    let directory = of_its_file();
    set(&directory.path().join(TOKENIZER), "/model/unk_token", json!("[NONE]"));
    let model = EmbeddingModel::load(&cpu(), directory.path()).unwrap();
    let embeddings = model.embed(&["river", "\u{1F600}", "bank"]).unwrap();
    assert!([0, 2].iter().all(|row| embeddings.row(*row).is_ok()));
    let error = embeddings.row(1).unwrap_err().to_string();
    assert!(error.starts_with("text 1: the tokenizer of ") && error.contains(TOKENIZER), "{error}");
}
