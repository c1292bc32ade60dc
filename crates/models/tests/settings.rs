//! A small model under every setting that the reference libraries know, with the values that they give.
//!
//! `data/settings.jsonl` has the cases: files that replace some of the model in `data/tiny`, and the token ids and
//! embeddings of sentence-transformers, or that it fails. `scripts/make-settings-references` writes it.

mod support;

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::{cpu, rows, tiny};
use thalweg_models::EmbeddingModel;
use thalweg_runtime::Device;

#[derive(Deserialize)]
struct Header {
    texts: Vec<String>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// The text of a file, or null where the case has none of the name.
    files: BTreeMap<PathBuf, Option<String>>,
    /// For each text.
    #[serde(default)]
    ids: Vec<Vec<u32>>,
    /// For each text with a token.
    #[serde(default)]
    vectors: Vec<Vec<f32>>,
    error: Option<String>,
}

/// The reference rounds to six decimals, of values up to a few units.
const TOLERANCE: f32 = 2e-5;

fn load(device: &Device, case: &Case) -> Result<EmbeddingModel, thalweg_models::Error> {
    let directory = tiny();
    for (name, text) in &case.files {
        let path = directory.path().join(name);
        match text {
            Some(text) => {
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, text).expect("a file");
            }
            None => drop(fs::remove_file(path)),
        }
    }
    EmbeddingModel::load(device, directory.path())
}

/// What is wrong with the model's values; nothing, if all is well.
fn difference(model: &EmbeddingModel, case: &Case, texts: &[&str]) -> Option<String> {
    let tokens = match model.tokenize(texts) {
        Ok(tokens) => tokens,
        Err(error) => return Some(error.to_string()),
    };
    for (text, (tokens, ids)) in texts.iter().zip(tokens.iter().zip(&case.ids)) {
        if tokens.ids() != ids {
            return Some(format!("{text:?} has ids {:?}, expected {ids:?}", tokens.ids()));
        }
    }
    let tokens: Vec<_> = tokens.into_iter().filter(|tokens| !tokens.is_empty()).collect();
    let vectors = model.embed_tokens(&tokens).expect("the device works");
    if let Err(error) = vectors.values() {
        return Some(error.to_string());
    }
    let vectors = rows(&vectors);
    assert_eq!(vectors.len(), case.vectors.len());
    for (vector, expected) in vectors.iter().zip(&case.vectors) {
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > TOLERANCE;
        if vector.values.len() != expected.len() || vector.values.iter().zip(expected).any(far) {
            return Some(format!("{:?}, expected {expected:?}", vector.values));
        }
    }
    None
}

#[test]
fn every_setting_as_the_reference_reads_it() {
    let mut lines = include_str!("data/settings.jsonl").lines();
    let header: Header = serde_json::from_str(lines.next().expect("a header")).expect("a header");
    let texts: Vec<&str> = header.texts.iter().map(String::as_str).collect();
    let device = cpu();
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in lines {
        let case: Case = serde_json::from_str(line).expect("a case");
        let name = &case.name;
        cases += 1;
        match (load(&device, &case), &case.error) {
            (Ok(model), None) => wrong.extend(difference(&model, &case, &texts).map(|what| format!("{name}: {what}"))),
            // Some fail there, and here, with the first text.
            (Ok(model), Some(_)) if model.embed(&texts).expect("the device works").values().is_err() => {}
            (Ok(_), Some(error)) => wrong.push(format!("{name}: loads; the reference fails: {error}")),
            (Err(error), None) => wrong.push(format!("{name}: {error}")),
            (Err(_), Some(_)) => {}
        }
    }
    assert!(cases > 150, "only {cases} cases");
    assert!(wrong.is_empty(), "{} of {cases} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// The vectors of some texts.
fn vectors(model: &EmbeddingModel, texts: &[&str]) -> Vec<Vec<f32>> {
    rows(&model.embed(texts).expect("embeddings")).into_iter().map(|embedding| embedding.values).collect()
}

/// Renames the tensors of a weights file.
fn rename(directory: &Path, name: impl Fn(&str) -> String) {
    let file = directory.join("model.safetensors");
    let bytes = fs::read(&file).expect("the weights");
    let (length, rest) = bytes.split_first_chunk::<8>().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).expect("a header");
    let is_tensor = |key: &String| *key != "__metadata__";
    let header: BTreeMap<String, Value> =
        header.into_iter().map(|(key, value)| (if is_tensor(&key) { name(&key) } else { key }, value)).collect();
    let header = serde_json::to_vec(&header).expect("a header");
    fs::write(&file, [&(header.len() as u64).to_le_bytes(), &header[..], data].concat()).expect("the weights");
}

/// Tensors under the names of old checkpoints, with a prefix or without, all or some of them.
#[test]
fn tensors_under_their_old_names() {
    const TEXTS: [&str; 2] = ["The river", "a café"];
    let device = cpu();
    let expected = vectors(&EmbeddingModel::load(&device, tiny().path()).expect("a model"), &TEXTS);
    let old =
        |name: &str| name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
    let names: [&dyn Fn(&str) -> String; 5] = [
        &|name| old(name),
        &|name| format!("bert.{}", old(name)),
        &|name| format!("bert.{name}"),
        &|name| if name.contains("layer.1") { old(name) } else { name.to_owned() },
        &|name| if name.contains("layer") { format!("bert.{name}") } else { name.to_owned() },
    ];
    for name in names {
        let directory = tiny();
        rename(directory.path(), name);
        assert_eq!(vectors(&EmbeddingModel::load(&device, directory.path()).expect("a model"), &TEXTS), expected);
    }
}

/// A settings file of several megabytes is read, in memory that its size bounds.
#[test]
fn large_settings() {
    let directory = tiny();
    let file = directory.path().join("tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).expect("the file")).expect("JSON");
    config["chat_template"] = "x".repeat(3 << 20).into();
    fs::write(&file, config.to_string()).expect("the file");
    let model = EmbeddingModel::load(&cpu(), directory.path()).expect("a model");
    assert_eq!(model.tokenize(&["The river"]).expect("tokens")[0].ids(), [2, 6, 8, 3]);
}

/// Where the files say that nothing is cut, a text that is too long is an error, and shorter ones are not.
#[test]
fn texts_that_are_not_cut() {
    let directory = tiny();
    let sentence = r#"{"processing_kwargs": {"text": {"truncation": "do_not_truncate"}}}"#;
    fs::write(directory.path().join("sentence_bert_config.json"), sentence).expect("the file");
    let model = EmbeddingModel::load(&cpu(), directory.path()).expect("a model");
    assert_eq!(model.max_tokens(), 24);
    assert_eq!(model.tokenize(&["the ".repeat(30).as_str()]).expect("tokens")[0].len(), 32);
    assert_eq!(vectors(&model, &["the ".repeat(22).as_str()]).len(), 1);
    let error = model.embed_one(&"the ".repeat(23)).unwrap_err().to_string();
    assert!(error.contains("25 tokens; expected 1 to 24"), "{error}");
}
