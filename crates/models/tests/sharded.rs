//! Weights in several files, and a list of them.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::refused::{encoder, refused_with};
use support::{bits, cpu, loaded, one, written};
use thalweg_models::EmbeddingModel;
use thalweg_models::testing::write_weights;

const INDEX: &str = "model.safetensors.index.json";
const FILES: [&str; 3] =
    ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"];

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Writes the tensors to three files, in turn, and gives the list.
fn sharded(directory: &Path, tensors: Tensors) -> Value {
    fs::remove_file(directory.join("model.safetensors")).expect("the weights");
    let mut files: [Tensors; 3] = Default::default();
    let mut map = serde_json::Map::new();
    for (index, tensor) in tensors.into_iter().enumerate() {
        map.insert(tensor.0.clone(), json!(FILES[index % 3]));
        files[index % 3].push(tensor);
    }
    for (name, tensors) in FILES.iter().zip(&files) {
        write_weights(&directory.join(name), tensors).expect("weights");
    }
    json!({"metadata": {"total_size": 1}, "weight_map": map})
}

/// A model in three files that is spoilt.
#[track_caller]
fn refused_sharded(change: impl FnOnce(&Path, &mut Value), parts: &[&str]) {
    let write = |directory: &Path| {
        let mut index = sharded(directory, encoder().tensors());
        change(directory, &mut index);
        fs::write(directory.join(INDEX), index.to_string()).expect("the list");
    };
    refused_with(write, parts);
}

#[test]
fn the_bits_of_one_file() {
    for prefix in ["", "bert."] {
        let encoder = thalweg_models::testing::SmallEncoder { prefix, ..encoder() };
        let expected = one(&loaded(&encoder), "the river flows").values;
        let directory = written(&encoder);
        let index = sharded(directory.path(), encoder.tensors());
        fs::write(directory.path().join(INDEX), index.to_string()).expect("the list");
        let model = EmbeddingModel::load(&cpu(), directory.path()).expect("a model");
        assert_eq!(bits(&one(&model, "the river flows").values), bits(&expected));
        // Where there is one file with all, the list is not looked at.
        write_weights(&directory.path().join("model.safetensors"), &encoder.tensors()).expect("weights");
        fs::write(directory.path().join(INDEX), "no list").expect("the list");
        EmbeddingModel::load(&cpu(), directory.path()).expect("a model");
    }
}

#[test]
fn lists_that_make_no_sense() {
    refused_sharded(|_, index| *index = json!([]), &[INDEX, "expected an object"]);
    refused_sharded(|_, index| *index = json!({}), &[INDEX, "`weight_map` is missing"]);
    refused_sharded(|_, index| index["weight_map"] = json!(["a"]), &[INDEX, "`weight_map`", "expected an object"]);
    for path in [json!("../model.safetensors"), json!("/etc/passwd"), json!("a/../../b"), json!(""), json!(7)] {
        let change = |_: &Path, index: &mut Value| index["weight_map"]["x"] = path.clone();
        refused_sharded(change, &[INDEX, "`weight_map.x`", &path.to_string(), "a file in the same folder"]);
    }
    let many = |_: &Path, index: &mut Value| {
        for file in 0..126 {
            index["weight_map"][format!("t{file}")] = json!(format!("{file}.safetensors"));
        }
    };
    refused_sharded(many, &[INDEX, "more than 128 files"]);
    refused_sharded(|_, index| index["weight_map"] = json!({}), &[INDEX, "at least one file"]);
}

#[test]
fn files_that_are_not_as_the_list_says() {
    refused_sharded(|directory, _| fs::remove_file(directory.join(FILES[1])).unwrap(), &[FILES[1], "No such file"]);
    let cut = |directory: &Path, _: &mut Value| {
        let bytes = fs::read(directory.join(FILES[2])).unwrap();
        fs::write(directory.join(FILES[2]), &bytes[..bytes.len() - 1]).unwrap();
    };
    refused_sharded(cut, &[FILES[2], "truncated"]);
    let words = "embeddings.word_embeddings.weight";
    let remove = |directory: &Path, _: &mut Value| write_weights(&directory.join(FILES[0]), &[]).unwrap();
    refused_sharded(remove, &[FILES[0], words, "is missing"]);
    let unlisted = |directory: &Path, index: &mut Value| {
        remove(directory, index);
        index["weight_map"].as_object_mut().unwrap().remove(words);
    };
    refused_sharded(unlisted, &[INDEX, words, "is missing"]);
    let twice = |directory: &Path, _: &mut Value| {
        let tensors: Tensors = encoder().tensors().into_iter().filter(|tensor| tensor.0 == words).collect();
        write_weights(&directory.join(FILES[1]), &tensors).unwrap();
    };
    refused_sharded(twice, &[FILES[0], FILES[1], words, "remove it from one of them"]);
    let shape = |directory: &Path, _: &mut Value| {
        let mut tensors: Tensors = encoder().tensors().into_iter().step_by(3).collect();
        tensors[0].1.insert(0, 1);
        write_weights(&directory.join(FILES[0]), &tensors).unwrap();
    };
    refused_sharded(shape, &[FILES[0], words, "has shape"]);
}
