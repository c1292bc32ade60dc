//! Every family against what sentence-transformers makes of texts with the same tiny models: alone and in any batch,
//! from one thread and from many, on every device that there is.

mod support;

use fastrand::Rng;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use support::{bits, copied, cpu, rows, seed};
use tempfile::TempDir;
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_models::{EmbeddingModel, LoadOptions};
use thalweg_runtime::{Config, Device};
use thalweg_tensor::DType;

/// The directories with a model of each family.
const MODELS: [&str; 10] = [
    "bert",
    "camembert",
    "distilbert",
    "electra",
    "gte",
    "modernbert",
    "mpnet",
    "nomic-bert",
    "roberta",
    "xlm-roberta",
];

#[derive(Deserialize)]
struct Header {
    name: String,
    task: String,
    model: Option<String>,
    call: Option<Value>,
    #[serde(default)]
    files: HashMap<String, Option<String>>,
}

#[derive(Deserialize)]
struct Expected {
    text: String,
    ids: Vec<u32>,
    values: Vec<f32>,
}

/// A model and what is expected of it.
struct Case {
    name: String,
    directory: TempDir,
    texts: Vec<Expected>,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/families"));
    let mut files: Vec<_> = fs::read_dir(data).expect("the cases").map(|entry| entry.expect("a case").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let cases: Vec<_> = files.iter().filter_map(|file| case(data, file)).collect();
    for model in MODELS {
        assert!(cases.iter().any(|case| case.name == model), "no case of {model}");
    }
    cases
});

/// The case in a file, if it is about a family, and not about what is made of an encoder's vectors.
fn case(data: &Path, file: &Path) -> Option<Case> {
    let text = fs::read_to_string(file).expect("a case");
    let mut lines = text.lines();
    let header: Header = serde_json::from_str(lines.next().expect("a first line")).expect("a case");
    let model = header.model.as_ref().unwrap_or(&header.name);
    let is_family = MODELS.contains(&model.as_str()) && header.name.starts_with(model.as_str());
    if header.task != "embedding" || !is_family || header.call.is_some() {
        return None;
    }
    let directory = copied(&data.join(model));
    for (name, text) in &header.files {
        let path = directory.path().join(name);
        match text {
            Some(text) => fs::write(path, text).expect("the file"),
            None => fs::remove_file(path).expect("the file"),
        }
    }
    let texts = lines.map(|line| serde_json::from_str(line).expect("a text")).collect();
    Some(Case { name: header.name, directory, texts })
}

impl Case {
    fn load(&self, device: &Device, options: LoadOptions) -> EmbeddingModel {
        EmbeddingModel::load_with(device, self.directory.path(), options).unwrap_or_else(|error| panic!("{error}"))
    }

    fn texts(&self) -> Vec<&str> {
        self.texts.iter().map(|text| text.text.as_str()).collect()
    }

    /// The largest difference of a text's values; in f16 as if embeddings were of unit length, where they are longer.
    fn check(&self, index: usize, values: &[f32], dtype: DType) -> f32 {
        let expected = &self.texts[index].values;
        assert_eq!(values.len(), expected.len(), "{}", self.name);
        let pairs = values.iter().zip(expected);
        let largest = pairs.map(|(a, b)| (a - b).abs()).map(|a| if a.is_nan() { f32::INFINITY } else { a });
        let length = expected.iter().map(|value| value * value).sum::<f32>().sqrt().max(1.0);
        let (scale, tolerance) = if dtype == DType::F16 { (length, 2e-3) } else { (1.0, 1e-5) };
        let largest = largest.fold(0.0, f32::max) / scale;
        assert!(largest <= tolerance, "{}, text {index}: off by {largest}", self.name);
        largest
    }

    /// The first texts, each alone.
    fn each(&self, model: &EmbeddingModel, count: usize) -> Vec<Vec<f32>> {
        let mut largest = 0.0f32;
        let embed = |(index, text): (usize, &str)| {
            let tokens = model.tokenize(&[text]).expect("tokens");
            assert_eq!(tokens[0].ids(), self.texts[index].ids, "{}, text {index}", self.name);
            let values = model.embed_one(text).unwrap_or_else(|error| panic!("{}: {error}", self.name));
            largest = largest.max(self.check(index, &values, model.dtype()));
            values
        };
        let values = self.texts().into_iter().enumerate().take(count).map(embed).collect();
        println!("{}: largest difference {largest:e}", self.name);
        values
    }
}

/// Alone, in batches of any size and order, and from sixteen threads at once: the same bits.
#[test]
fn every_family_on_the_processor() {
    let seed = seed();
    let device = cpu();
    for case in &*CASES {
        let model = case.load(&device, LoadOptions::new());
        let alone = case.each(&model, usize::MAX);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (model, alone) = (&model, &alone);
                scope.spawn(move || {
                    let mut random = Rng::with_seed(seed.wrapping_add(thread));
                    for _ in 0..3 {
                        let mut order: Vec<usize> = (0..alone.len()).collect();
                        random.shuffle(&mut order);
                        order.truncate(1 + random.usize(..alone.len()));
                        let texts: Vec<_> = order.iter().map(|&index| case.texts()[index]).collect();
                        let batch = rows(&model.embed(&texts).expect("embeddings"));
                        for (index, row) in order.into_iter().zip(batch) {
                            assert_eq!(bits(&row.values), bits(&alone[index]), "{}, text {index}", case.name);
                        }
                    }
                });
            }
        });
        let by_graphs = case.load(&device, LoadOptions::new().graphs(64 << 20));
        for _ in 0..2 {
            let values = case.each(&by_graphs, usize::MAX);
            assert!(values.iter().zip(&alone).all(|(a, b)| bits(a) == bits(b)), "{}: by graphs", case.name);
        }
        assert!(by_graphs.graph_cache().bytes > 0);
    }
}

#[test]
fn every_family_in_f16() {
    let device = cpu();
    for case in &*CASES {
        case.each(&case.load(&device, LoadOptions::new().dtype(DType::F16)), usize::MAX);
    }
}

/// As on a GPU: single texts are runs of graphs. The first texts, which are the short ones, also as a batch and in f16.
fn on(device: Arc<dyn thalweg_hal::Device>) {
    const FIRST: usize = 9;
    let device = Device::new(device, Config::default()).expect("a device");
    // Files of older releases are read alike for all devices.
    for case in CASES.iter().filter(|case| !case.name.ends_with("-hub")) {
        let model = case.load(&device, LoadOptions::new().graphs(64 << 20));
        let alone = case.each(&model, usize::MAX);
        let texts: Vec<_> = case.texts().into_iter().take(FIRST).collect();
        let batch = rows(&model.embed(&texts).expect("embeddings"));
        for (index, (alone, row)) in alone.iter().zip(&batch).enumerate() {
            case.check(index, &row.values, DType::F32);
            let same = alone.iter().zip(&row.values).all(|(a, b)| (a - b).abs() <= 2e-6 * a.abs().max(1.0));
            assert!(same, "{}, text {index}: alone and in a batch", case.name);
        }
        let model = case.load(&device, LoadOptions::new().dtype(DType::F16).graphs(64 << 20));
        case.each(&model, FIRST);
    }
}

#[test]
fn every_family_on_mock() {
    on(MockDevice::new(MockConfig { seed: seed(), ..MockConfig::default() }));
}

/// A device whose longest binding is shorter than the table of words, which is then in several parts.
#[test]
fn tables_in_parts() {
    for case in CASES.iter().filter(|case| ["bert", "distilbert", "roberta"].contains(&case.name.as_str())) {
        let weights = fs::read(case.directory.path().join("model.safetensors")).expect("the weights");
        let header = u64::from_le_bytes(*weights.first_chunk().expect("a length")) as usize;
        let header: Value = serde_json::from_slice(&weights[8..8 + header]).expect("a header");
        let words = &header["embeddings.word_embeddings.weight"]["data_offsets"];
        let bytes = words[1].as_u64().expect("an end") - words[0].as_u64().expect("a start");
        let config = MockConfig { seed: seed(), max_binding_bytes: bytes - 1, ..MockConfig::default() };
        let device = Device::new(MockDevice::new(config), Config::default()).expect("a device");
        case.each(&case.load(&device, LoadOptions::new()), usize::MAX);
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
