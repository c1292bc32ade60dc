//! What is made of an encoder's vectors, against the reference libraries: every pooling, modules, prompts, rerankers,
//! classifiers, sparse vectors. Alone and in any batch, from one thread and from many.

mod support;

use fastrand::Rng;
use serde_json::Value;
use support::cases::Case;
use support::{bits, cpu, seed};
use thalweg_models::{EmbeddingModel, LoadOptions};
use thalweg_runtime::Device;
use thalweg_tensor::DType;

/// What the case's call makes of texts: their numbers.
type Embed = Box<dyn Fn(&[&str]) -> Vec<Vec<f32>> + Send + Sync>;

/// The model of an embedding's case, and its call.
fn embedding(case: &Case, device: &Device, mut options: LoadOptions) -> Embed {
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
    if call("output_value") == "token_embeddings" {
        return Box::new(move |texts| {
            let vectors = model.token_vectors(texts).expect("vectors");
            assert_eq!(vectors.width() * vectors.tokens(0), vectors.row(0).expect("vectors").len());
            vectors.iter().map(|row| row.expect("vectors").to_vec()).collect()
        });
    }
    Box::new(move |texts| {
        let embeddings = model.embed(texts).expect("embeddings");
        assert_eq!(embeddings.width(), model.width());
        embeddings.iter().map(|row| row.expect("an embedding").to_vec()).collect()
    })
}

/// All texts, each alone, within the tolerance; then in batches of any size and order from sixteen threads at once, with
/// the same bits.
fn agrees(case: &Case, embed: &Embed, tolerance: f32, seed: u64) {
    let texts: Vec<&str> = case.texts.iter().map(|text| text.text()).collect();
    let mut largest = 0.0f32;
    let alone: Vec<Vec<f32>> = texts.iter().map(|text| embed(&[text]).remove(0)).collect();
    for (index, values) in alone.iter().enumerate() {
        largest = largest.max(case.check(index, values, tolerance));
    }
    println!("{}: largest difference {largest:e}", case.header.name);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (alone, texts) = (&alone, &texts);
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed.wrapping_add(thread));
                let mut order: Vec<usize> = (0..texts.len()).collect();
                random.shuffle(&mut order);
                order.truncate(1 + random.usize(..texts.len()));
                let batch = embed(&order.iter().map(|&index| texts[index]).collect::<Vec<_>>());
                for (index, values) in order.into_iter().zip(batch) {
                    assert_eq!(bits(&values), bits(&alone[index]), "{}, text {index}", case.header.name);
                }
            });
        }
    });
}

/// The families whose heads are here.
const FAMILIES: &[&str] = &["bert", "distilbert", "electra"];

/// Whether a case is one of an embedding's settings, not of a family.
fn is_embedding(name: &str) -> bool {
    ["pooling-", "dense", "prompt-", "shorter", "tokens", "bare"].iter().any(|start| name.starts_with(start))
}

#[test]
fn every_way_from_tokens_to_embeddings() {
    let (seed, device) = (seed(), cpu());
    let cases = Case::all(|header| {
        header.task == "embedding"
            && is_embedding(&header.name)
            && FAMILIES.contains(&header.family.as_str())
            && !header.name.starts_with("pooling-all")
            && !header.name.starts_with("pooling-sev")
    });
    assert!(cases.len() > 10, "{} cases", cases.len());
    for case in &cases {
        agrees(case, &embedding(case, &device, LoadOptions::new()), 1e-5, seed);
        // Twice: what is captured, and what is run again.
        let by_graphs = embedding(case, &device, LoadOptions::new().graphs(64 << 20));
        for (index, text) in case.texts.iter().chain(&case.texts).enumerate() {
            case.check(index % case.texts.len(), &by_graphs(&[text.text()])[0], 1e-5);
        }
        let half = embedding(case, &device, LoadOptions::new().dtype(DType::F16));
        for (index, text) in case.texts.iter().enumerate() {
            case.check(index, &half(&[text.text()])[0], 2e-3);
        }
    }
}
