//! What is made of an encoder's vectors, against the reference libraries: every pooling, modules, prompts, rerankers,
//! classifiers, sparse vectors. Alone and in any batch, from one thread and from many.

mod support;

use fastrand::Rng;
use serde_json::Value;
use std::sync::Arc;
use support::cases::{Case, Expected};
use support::{bits, cpu, seed};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_models::{Classifier, EmbeddingModel, LoadOptions, Reranker, SparseEncoder, Tokens};
use thalweg_runtime::{Config, Device};
use thalweg_tensor::DType;

/// What a case's call makes of texts: their numbers.
type Call = Box<dyn Fn(&[&Expected]) -> Vec<Vec<f32>> + Send + Sync>;

/// The tokens of a text are those that the reference has.
fn has_tokens(case: &Case, expected: &Expected, tokens: thalweg_models::Result<Vec<Tokens>>) {
    let tokens = tokens.expect("tokens");
    assert_eq!(tokens[0].ids(), expected.ids, "{}: {:?} {:?}", case.header.name, expected.text, expected.pair);
    if let Some(types) = &expected.type_ids {
        assert_eq!(tokens[0].type_ids(), types, "{}: {:?}", case.header.name, expected.pair);
    }
}

/// The model of a case, and its call.
fn load(case: &Case, device: &Device, options: LoadOptions) -> Call {
    match case.header.task.as_str() {
        "embedding" => embedding(case, device, options),
        "rerank" => reranker(case, device, options),
        "classify" => classifier(case, device, options),
        "sparse" => sparse(case, device, options),
        other => panic!("{other}"),
    }
}

fn texts<'a>(texts: &[&'a Expected]) -> Vec<&'a str> {
    texts.iter().map(|text| text.text()).collect()
}

fn pairs<'a>(texts: &[&'a Expected]) -> Vec<(&'a str, &'a str)> {
    texts.iter().map(|text| text.pair()).collect()
}

fn embedding(case: &Case, device: &Device, mut options: LoadOptions) -> Call {
    let call = |name: &str| case.header.call.get(name).cloned().unwrap_or_default();
    if let Some(elements) = call("truncate_dim").as_u64() {
        options = options.truncate_dim(elements as usize);
    }
    options = options.normalize(call("normalize_embeddings") == Value::Bool(true));
    let load = EmbeddingModel::load_with(device, case.directory.path(), options);
    let mut model = load.unwrap_or_else(|error| panic!("{}: {error}", case.header.name));
    if let Some(name) = call("prompt_name").as_str() {
        model = model.with_prompt(name).expect("a prompt");
    }
    if let Some(prompt) = call("prompt").as_str() {
        model = model.with_prompt_text(prompt).expect("a prompt");
    }
    case.texts.iter().for_each(|text| has_tokens(case, text, model.tokenize(&[text.text()])));
    if call("output_value") == "token_embeddings" {
        return Box::new(move |expected| {
            let vectors = model.token_vectors(&texts(expected)).expect("vectors");
            assert_eq!(vectors.width() * vectors.tokens(0), vectors.row(0).expect("vectors").len());
            vectors.iter().map(|row| row.expect("vectors").to_vec()).collect()
        });
    }
    Box::new(move |expected| {
        let embeddings = model.embed(&texts(expected)).expect("embeddings");
        assert_eq!(embeddings.width(), model.width());
        embeddings.iter().map(|row| row.expect("an embedding").to_vec()).collect()
    })
}

fn reranker(case: &Case, device: &Device, options: LoadOptions) -> Call {
    let load = Reranker::load_with(device, case.directory.path(), options);
    let softmax = case.header.call.contains_key("apply_softmax");
    let model = load.unwrap_or_else(|error| panic!("{}: {error}", case.header.name));
    case.texts.iter().for_each(|text| has_tokens(case, text, model.tokenize(&[text.pair()])));
    Box::new(move |expected| {
        let scores = model.score(&pairs(expected)).expect("scores");
        let row = |row| if softmax { scores.softmax(row) } else { scores.row(row).map(<[f32]>::to_vec) };
        (0..scores.rows()).map(|at| row(at).expect("a score")).collect()
    })
}

fn classifier(case: &Case, device: &Device, options: LoadOptions) -> Call {
    let load = Classifier::load_with(device, case.directory.path(), options);
    let model = load.unwrap_or_else(|error| panic!("{}: {error}", case.header.name));
    for text in &case.texts {
        let tokens = match text.text {
            Some(_) => model.tokenize(&[text.text()]),
            None => model.tokenize_pairs(&[text.pair()]),
        };
        has_tokens(case, text, tokens);
    }
    let one = |model: &Classifier, text: &Expected| match text.text {
        Some(_) => model.classify(&[text.text()]),
        None => model.classify_pairs(&[text.pair()]),
    };
    Box::new(move |expected| {
        let all = match expected.iter().map(|text| text.pair.is_some()).collect::<Vec<_>>() {
            pair if pair.iter().all(|pair| *pair) => vec![model.classify_pairs(&pairs(expected))],
            pair if pair.iter().all(|pair| !*pair) => vec![model.classify(&texts(expected))],
            _ => expected.iter().map(|text| one(&model, text)).collect(),
        };
        let rows = |classes: thalweg_models::Classes| {
            assert_eq!(classes.labels(), model.labels());
            classes.iter().map(|row| row.expect("scores").to_vec()).collect::<Vec<_>>()
        };
        all.into_iter().flat_map(|classes| rows(classes.expect("classes"))).collect()
    })
}

fn sparse(case: &Case, device: &Device, options: LoadOptions) -> Call {
    let load = SparseEncoder::load_with(device, case.directory.path(), options);
    let model = load.unwrap_or_else(|error| panic!("{}: {error}", case.header.name));
    case.texts.iter().for_each(|text| has_tokens(case, text, model.tokenize(&[text.text()])));
    Box::new(move |expected| {
        let embeddings = model.embed(&texts(expected)).expect("embeddings");
        let dense = |row: thalweg_models::SparseVector<'_>| {
            let mut dense = vec![0.0; model.width()];
            assert!(row.indices.is_sorted() && row.values.iter().all(|value| *value > 0.0));
            row.indices.iter().zip(row.values).for_each(|(index, value)| dense[*index as usize] = *value);
            dense
        };
        embeddings.iter().map(|row| dense(row.expect("an embedding"))).collect()
    })
}

/// All texts, each alone, within 1e-5; then in batches of any size and order from sixteen threads at once, with
/// the same bits.
fn agrees(case: &Case, call: &Call, seed: u64) {
    let mut largest = 0.0f32;
    let alone: Vec<Vec<f32>> = case.texts.iter().map(|text| call(&[text]).remove(0)).collect();
    for (index, values) in alone.iter().enumerate() {
        largest = largest.max(case.check(index, values, DType::F32));
    }
    println!("{}: largest difference {largest:e}", case.header.name);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let alone = &alone;
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed.wrapping_add(thread));
                let mut order: Vec<usize> = (0..alone.len()).collect();
                random.shuffle(&mut order);
                order.truncate(1 + random.usize(..alone.len()));
                let batch = call(&order.iter().map(|&index| &case.texts[index]).collect::<Vec<_>>());
                for (index, values) in order.into_iter().zip(batch) {
                    assert_eq!(bits(&values), bits(&alone[index]), "{}, text {index}", case.header.name);
                }
            });
        }
    });
}

fn every_case(cases: &[Case], least: usize) {
    let (seed, device) = (seed(), cpu());
    assert!(cases.len() >= least, "{} cases", cases.len());
    for case in cases {
        agrees(case, &load(case, &device, LoadOptions::new()), seed);
        // Twice: what is captured, and what is run again.
        let by_graphs = load(case, &device, LoadOptions::new().graphs(64 << 20));
        for (index, text) in case.texts.iter().chain(&case.texts).enumerate() {
            case.check(index % case.texts.len(), &by_graphs(&[text])[0], DType::F32);
        }
        let half = load(case, &device, LoadOptions::new().dtype(DType::F16));
        for (index, text) in case.texts.iter().enumerate() {
            case.check(index, &half(&[text])[0], DType::F16);
        }
    }
}

#[test]
fn every_way_from_tokens_to_embeddings() {
    let starts = ["pooling-", "dense", "prompt-", "shorter", "tokens", "bare", "sharded", "qwen3-query"];
    let is_one = |name: &str| starts.iter().any(|start| name.starts_with(start));
    every_case(&Case::all(|header| header.task == "embedding" && is_one(&header.name)), 35);
}

#[test]
fn every_reranker() {
    every_case(&Case::all(|header| header.task == "rerank"), 11);
}

#[test]
fn every_classifier() {
    every_case(&Case::all(|header| header.task == "classify"), 12);
}

#[test]
fn every_sparse_encoder() {
    every_case(&Case::all(|header| header.task == "sparse"), 8);
}

/// As on a GPU: single texts are runs of graphs. The first texts, which are the short ones, also as a batch and in f16.
fn on(device: Arc<dyn thalweg_hal::Device>) {
    const FIRST: usize = 3;
    let device = Device::new(device, Config::default()).expect("a device");
    // What files of older releases say is read alike for all devices, and each family's head is one of few kinds.
    let is_one = |name: &str| !name.ends_with("-hub") && !name.contains("bare") && !name.contains("identity");
    for case in Case::all(|header| header.task != "embedding" || header.name.starts_with("dense")) {
        if !is_one(&case.header.name) {
            continue;
        }
        let call = load(&case, &device, LoadOptions::new().graphs(64 << 20));
        let first: Vec<&Expected> = case.texts.iter().take(FIRST).collect();
        let batch = call(&first);
        for (index, text) in first.iter().enumerate() {
            case.check(index, &call(&[text])[0], DType::F32);
            case.check(index, &batch[index], DType::F32);
        }
        let call = load(&case, &device, LoadOptions::new().dtype(DType::F16).graphs(64 << 20));
        case.check(0, &call(&first[..1])[0], DType::F16);
    }
}

#[test]
fn every_task_on_mock() {
    on(MockDevice::new(MockConfig { seed: seed(), ..MockConfig::default() }));
}

#[test]
fn every_task_on_vulkan() {
    let Some(device) = thalweg_vulkan::testing::device() else { return };
    on(device);
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

#[test]
fn every_task_on_metal() {
    let Some(device) = thalweg_metal::testing::device() else { return };
    on(device);
}
