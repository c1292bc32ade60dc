//! What is wrong with the parts of a model that make something of its encoder's vectors is told by name.

mod support;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use std::fs;
use std::path::Path;
use support::cases::Case;
use support::refused::refused;
use support::{cpu, set};
use thalweg_models::{EmbeddingModel, Error};

/// The model of a case with something changed.
#[track_caller]
fn refused_case(case: &str, change: impl FnOnce(&Path), parts: &[&str]) {
    let case = Case::named(case);
    change(case.directory.path());
    refused(case.directory.path(), parts);
}

/// Writes a weights file with these tensors of zeros.
fn write_weights(path: &Path, tensors: &[(&str, &[usize])]) {
    let zeros = vec![0; 1 << 16];
    let view = |shape: &[usize]| {
        let bytes = 4 * shape.iter().product::<usize>();
        TensorView::new(Dtype::F32, shape.to_vec(), &zeros[..bytes]).expect("a tensor")
    };
    let tensors = tensors.iter().map(|(name, shape)| (*name, view(shape)));
    let bytes = safetensors::serialize(tensors, None).expect("a file");
    fs::write(path, bytes).expect("the file");
}

#[test]
fn dense_modules() {
    const CONFIG: &str = "2_Dense/config.json";
    const WEIGHTS: &str = "2_Dense/model.safetensors";
    for (key, value, expected) in [
        ("in_features", json!(17), "18, the width of the vectors that the module before gives"),
        ("in_features", json!(null), "a whole number"),
        ("out_features", json!(0), "a whole number"),
        ("activation_function", json!("torch.nn.modules.activation.Softsign"), "Identity, Tanh, Sigmoid"),
        ("activation_function", json!("mine.Tanh"), "Identity, Tanh, Sigmoid"),
        ("activation_function", json!(null), "Identity, Tanh, Sigmoid"),
        ("bias", json!("yes"), "true or false"),
        ("module_input_name", json!("token_embeddings"), "\"sentence_embedding\""),
        ("module_output_name", json!("scores"), "\"sentence_embedding\""),
    ] {
        let given = value.to_string();
        let change = |directory: &Path| set(&directory.join(CONFIG), &format!("/{key}"), value);
        refused_case("dense", change, &[CONFIG, key, &given, expected]);
    }
    let shape = |directory: &Path| {
        write_weights(&directory.join(WEIGHTS), &[("linear.weight", &[18, 27]), ("linear.bias", &[27])]);
    };
    refused_case("dense", shape, &[WEIGHTS, "linear.weight", "[18, 27]", "[27, 18]"]);
    let missing = |directory: &Path| write_weights(&directory.join(WEIGHTS), &[("linear.weight", &[27, 18])]);
    refused_case("dense", missing, &[WEIGHTS, "linear.bias", "missing"]);
    refused_case("dense", |directory| fs::remove_file(directory.join(WEIGHTS)).expect("the file"), &[WEIGHTS]);
    let residual = |directory: &Path| set(&directory.join(CONFIG), "/use_residual", json!(true));
    refused_case("dense", residual, &[WEIGHTS, "residual.weight", "missing"]);
    // The second one is then given what the pooling gives.
    let order = |directory: &Path| {
        let path = directory.join("modules.json");
        set(&path, "/2/path", json!("3_Dense"));
        set(&path, "/3/path", json!("2_Dense"));
    };
    refused_case("dense", order, &["3_Dense/config.json", "in_features", "27", "18"]);
}

#[test]
fn modules_at_places_where_they_cannot_be() {
    let module = |index: usize, kind: &'static str| {
        move |directory: &Path| {
            let class = format!("sentence_transformers.models.{kind}");
            set(&directory.join("modules.json"), &format!("/{index}/type"), json!(class));
        }
    };
    refused_case("dense", module(0, "Pooling"), &["[Pooling, Pooling, Dense, Dense]", "[Transformer, Pooling]"]);
    refused_case("dense", module(1, "Dense"), &["[Transformer, Dense, Dense, Dense]", "[Transformer, Pooling]"]);
    refused_case("dense", module(2, "Pooling"), &["[Transformer, Pooling, Pooling, Dense]"]);
    refused_case("dense", module(3, "SpladePooling"), &["[Transformer, Pooling, Dense, SpladePooling]"]);
    refused_case("dense", module(0, "MLMTransformer"), &["[MLMTransformer, Pooling, Dense, Dense]"]);
}

#[test]
fn prompts() {
    let case = Case::named("bert");
    let model = EmbeddingModel::load(&cpu(), case.directory.path()).expect("a model");
    let error = model.with_prompt("passage").expect_err("no such prompt");
    assert!(matches!(&error, Error::PromptName { given, .. } if given == "passage"), "{error:?}");
    assert_eq!(error.to_string(), "there is no prompt \"passage\"; the model has \"query\", \"document\"");
    assert_eq!(model.prompts().collect::<Vec<_>>(), [("query", ""), ("document", "")]);
    let prompted = model.with_prompt_text("the sea: ").expect("a prompt");
    assert_eq!(prompted.prompt(), "the sea: ");
    let bits = |model: &EmbeddingModel, text: &str| model.embed_one(text).expect("an embedding");
    assert_eq!(bits(&prompted, "a river"), bits(&model, "the sea: a river"));
    assert_eq!(bits(&prompted.with_prompt("query").expect("a prompt"), "a river"), bits(&model, "a river"));
}

/// A prompt that is left out of the pooling leaves nothing of a text that has no token but the prompt's: an error of
/// its row alone.
#[test]
fn sequences_without_a_token_after_the_prompt() {
    let case = Case::named("bert");
    set(&case.directory.path().join("1_Pooling/config.json"), "/include_prompt", json!(false));
    let model = EmbeddingModel::load(&cpu(), case.directory.path()).expect("a model");
    let model = model.with_prompt_text("the river").expect("a prompt");
    let tokens = model.tokenize(&["", "runs"]).expect("tokens");
    // CLS and the prompt's, and the separator.
    let cut = thalweg_models::Tokens::from_ids(&tokens[0].ids()[..tokens[0].len() - 1]);
    let embeddings = model.embed_tokens(&[tokens[0].clone(), cut.clone(), tokens[1].clone()]).expect("embeddings");
    assert!(embeddings.row(0).is_ok() && embeddings.row(2).is_ok());
    match embeddings.row(1) {
        Err(Error::NoTokenAfterPrompt { sequence: 1, tokens, prompt }) => {
            assert_eq!((tokens, prompt), (cut.len(), cut.len()))
        }
        other => panic!("{other:?}"),
    }
    assert!(model.with_prompt_text("").expect("a prompt").embed_tokens(&[cut]).expect("embeddings").row(0).is_ok());
}
