//! Every family against what sentence-transformers makes of texts with the same tiny models: alone and in any batch,
//! from one thread and from many, on every device that there is.

mod support;

use fastrand::Rng;
use serde_json::Value;
use std::fs;
use std::sync::{Arc, LazyLock};
use support::cases::{Case, Header};
use support::{bits, cpu, rows, seed};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_models::{EmbeddingModel, LoadOptions};
use thalweg_runtime::{Config, Device};
use thalweg_tensor::DType;

/// The directories with a model of each family, and one with weights of an older release.
const MODELS: [&str; 13] = [
    "bert",
    "camembert",
    "distilbert",
    "electra",
    "gte",
    "modernbert",
    "mpnet",
    "nomic-bert",
    "old-weights",
    "qwen2",
    "qwen3",
    "roberta",
    "xlm-roberta",
];

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    // Not of what is made of an encoder's vectors.
    let is_family = |header: &Header| {
        let model = header.model();
        let named = MODELS.contains(&model) && header.name.starts_with(model);
        header.task == "embedding" && named && header.call.is_empty()
    };
    let cases = Case::all(is_family);
    for model in MODELS {
        assert!(cases.iter().any(|case| case.header.name == model), "no case of {model}");
    }
    cases
});

fn load(case: &Case, device: &Device, options: LoadOptions) -> EmbeddingModel {
    EmbeddingModel::load_with(device, case.directory.path(), options).unwrap_or_else(|error| panic!("{error}"))
}

fn texts(case: &Case) -> Vec<&str> {
    case.texts.iter().map(|text| text.text()).collect()
}

/// The first texts, each alone.
fn each(case: &Case, model: &EmbeddingModel, count: usize) -> Vec<Vec<f32>> {
    let mut largest = 0.0f32;
    let embed = |(index, text): (usize, &str)| {
        let tokens = model.tokenize(&[text]).expect("tokens");
        assert_eq!(tokens[0].ids(), case.texts[index].ids, "{}, text {index}", case.header.name);
        let values = model.embed_one(text).unwrap_or_else(|error| panic!("{}: {error}", case.header.name));
        largest = largest.max(case.check(index, &values, model.dtype()));
        values
    };
    let values = texts(case).into_iter().enumerate().take(count).map(embed).collect();
    println!("{}: largest difference {largest:e}", case.header.name);
    values
}

/// Alone, in batches of any size and order, and from sixteen threads at once: the same bits.
#[test]
fn every_family_on_the_processor() {
    let seed = seed();
    let device = cpu();
    for case in &*CASES {
        let model = load(case, &device, LoadOptions::new());
        let alone = each(case, &model, usize::MAX);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (model, alone) = (&model, &alone);
                scope.spawn(move || {
                    let mut random = Rng::with_seed(seed.wrapping_add(thread));
                    for _ in 0..3 {
                        let mut order: Vec<usize> = (0..alone.len()).collect();
                        random.shuffle(&mut order);
                        order.truncate(1 + random.usize(..alone.len()));
                        let texts: Vec<_> = order.iter().map(|&index| texts(case)[index]).collect();
                        let batch = rows(&model.embed(&texts).expect("embeddings"));
                        for (index, row) in order.into_iter().zip(batch) {
                            assert_eq!(bits(&row.values), bits(&alone[index]), "{}, text {index}", case.header.name);
                        }
                    }
                });
            }
        });
        let by_graphs = load(case, &device, LoadOptions::new().graphs(64 << 20));
        for _ in 0..2 {
            let values = each(case, &by_graphs, usize::MAX);
            assert!(values.iter().zip(&alone).all(|(a, b)| bits(a) == bits(b)), "{}: by graphs", case.header.name);
        }
        assert!(by_graphs.graph_cache().bytes > 0);
    }
}

#[test]
fn every_family_in_f16() {
    let device = cpu();
    for case in &*CASES {
        each(case, &load(case, &device, LoadOptions::new().dtype(DType::F16)), usize::MAX);
    }
}

/// As on a GPU: single texts are runs of graphs. The first texts, which are the short ones, also as a batch and in f16.
fn on(device: Arc<dyn thalweg_hal::Device>) {
    const FIRST: usize = 9;
    let device = Device::new(device, Config::default()).expect("a device");
    // Files of older releases are read alike for all devices.
    for case in CASES.iter().filter(|case| !case.header.name.ends_with("-hub")) {
        let model = load(case, &device, LoadOptions::new().graphs(64 << 20));
        let alone = each(case, &model, usize::MAX);
        let texts: Vec<_> = texts(case).into_iter().take(FIRST).collect();
        let batch = rows(&model.embed(&texts).expect("embeddings"));
        for (index, (alone, row)) in alone.iter().zip(&batch).enumerate() {
            case.check(index, &row.values, DType::F32);
            let same = alone.iter().zip(&row.values).all(|(a, b)| (a - b).abs() <= 2e-6 * a.abs().max(1.0));
            assert!(same, "{}, text {index}: alone and in a batch", case.header.name);
        }
        let model = load(case, &device, LoadOptions::new().dtype(DType::F16).graphs(64 << 20));
        each(case, &model, FIRST);
    }
}

#[test]
fn every_family_on_mock() {
    on(MockDevice::new(MockConfig { seed: seed(), ..MockConfig::default() }));
}

/// A device whose longest binding is shorter than the table of words, which is then in several parts.
#[test]
fn tables_in_parts() {
    for case in CASES.iter().filter(|case| ["bert", "distilbert", "roberta"].contains(&case.header.name.as_str())) {
        let weights = fs::read(case.directory.path().join("model.safetensors")).expect("the weights");
        let header = u64::from_le_bytes(*weights.first_chunk().expect("a length")) as usize;
        let header: Value = serde_json::from_slice(&weights[8..8 + header]).expect("a header");
        let words = &header["embeddings.word_embeddings.weight"]["data_offsets"];
        let bytes = words[1].as_u64().expect("an end") - words[0].as_u64().expect("a start");
        let config = MockConfig { seed: seed(), max_binding_bytes: bytes - 1, ..MockConfig::default() };
        let device = Device::new(MockDevice::new(config), Config::default()).expect("a device");
        each(case, &load(case, &device, LoadOptions::new()), usize::MAX);
    }
}

#[test]
fn every_family_on_vulkan() {
    let Some(device) = thalweg_vulkan::testing::device() else { return };
    on(device);
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

#[test]
fn every_family_on_metal() {
    let Some(device) = thalweg_metal::testing::device() else { return };
    on(device);
}
