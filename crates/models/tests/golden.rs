//! all-MiniLM-L6-v2 against embeddings from sentence-transformers. Needs the weights: run `scripts/fetch-model`.

mod support;

use fastrand::Rng;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use support::{Embedded, bits, cpu, one, rows, seed};
use thalweg_models::{EmbeddingModel, LoadOptions};
use thalweg_tensor::DType;
use thalweg_vulkan::testing;

#[derive(Deserialize)]
struct Golden {
    text: String,
    tokens: usize,
    embedding: Vec<f32>,
}

static GOLDEN: LazyLock<Vec<Golden>> = LazyLock::new(|| {
    let lines = include_str!("data/minilm.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).expect("a golden line")).collect()
});

/// One model for all tests of the process: they share its device, as users do.
static MODEL: LazyLock<EmbeddingModel> =
    LazyLock::new(|| EmbeddingModel::load(&cpu(), directory()).expect("the model"));

fn directory() -> PathBuf {
    let models = std::env::var_os("THALWEG_MODELS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models")), PathBuf::from);
    let directory = models.join("all-MiniLM-L6-v2");
    assert!(directory.exists(), "{} is not there: run scripts/fetch-model", directory.display());
    directory
}

/// Every eighth text, computed in f16: the processor widens each value before it uses it, which takes a while.
#[test]
fn golden_in_f16() {
    let model =
        EmbeddingModel::load_with(&cpu(), directory(), LoadOptions::new().dtype(DType::F16)).expect("the model");
    for golden in GOLDEN.iter().step_by(8) {
        check_f16(golden, &one(&model, &golden.text));
    }
}

/// On Vulkan from 8 threads at once, one by one and in batches: the same within the GPU's rounding. All texts on a GPU;
/// on a software driver, which takes half a second for each, some.
// audit: C13
#[test]
fn golden_on_vulkan() {
    let Some((model, every)) = on(vulkan(), DType::F32) else { return };
    check_on(&model, every);
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

/// The same on Metal: all texts, also where it is simulated.
#[test]
fn golden_on_metal() {
    let Some((model, _)) = on(thalweg_metal::testing::device(), DType::F32) else { return };
    check_on(&model, 1);
}

#[test]
fn golden_in_f16_on_metal() {
    let Some((model, _)) = on(thalweg_metal::testing::device(), DType::F16) else { return };
    check_f16_on(&model, 4);
}

/// The same as on a laptop's discrete GPU: the host does not see its memory. Half as many texts.
#[test]
fn golden_on_a_discrete_device() {
    let discrete = testing::discrete().map(|device| -> Arc<dyn thalweg_hal::Device> { device });
    let Some((model, every)) = on(discrete, DType::F32) else { return };
    check_on(&model, 2 * every);
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

fn check_on(model: &EmbeddingModel, every: usize) {
    let golden: Vec<_> = GOLDEN.iter().step_by(every).collect();
    let alone = from_eight_threads(model, &golden);
    let mut largest = 0.0f32;
    for (golden, embedding) in golden.iter().zip(&alone) {
        largest = largest.max(check(golden, embedding));
    }
    println!("largest difference {largest:e}");
    let texts: Vec<&str> = golden.iter().map(|golden| golden.text.as_str()).collect();
    for (alone, batched) in alone.iter().zip(rows(&model.embed(&texts).expect("a batch"))) {
        for (alone, batched) in alone.values.iter().zip(&batched.values) {
            assert!((alone - batched).abs() <= 1e-6, "{alone} alone, {batched} in a batch");
        }
    }
}

#[test]
fn golden_in_f16_on_vulkan() {
    let Some((model, every)) = on(vulkan(), DType::F16) else { return };
    check_f16_on(&model, 2 * every);
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

fn check_f16_on(model: &EmbeddingModel, every: usize) {
    let golden: Vec<_> = GOLDEN.iter().step_by(every).collect();
    for (golden, embedding) in golden.iter().zip(from_eight_threads(model, &golden)) {
        check_f16(golden, &embedding);
    }
}

fn vulkan() -> Option<Arc<dyn thalweg_hal::Device>> {
    testing::device().map(|device| -> Arc<dyn thalweg_hal::Device> { device })
}

/// The model on a GPU, and of how many texts to take one.
fn on(device: Option<Arc<dyn thalweg_hal::Device>>, dtype: DType) -> Option<(EmbeddingModel, usize)> {
    let device = device?;
    let software = device.info().kind == thalweg_hal::DeviceKind::SoftwareGpu;
    let device = thalweg_runtime::Device::new(device, thalweg_runtime::Config::default()).expect("a device");
    // As on a GPU, where it is the default: single texts are runs of graphs, batches are not.
    let options = LoadOptions::new().dtype(dtype).graphs(256 << 20);
    let model = EmbeddingModel::load_with(&device, directory(), options).expect("the model");
    Some((model, if software { 4 } else { 1 }))
}

fn from_eight_threads(model: &EmbeddingModel, golden: &[&Golden]) -> Vec<Embedded> {
    std::thread::scope(|scope| {
        let embed =
            |part: &[&Golden]| -> Vec<Embedded> { part.iter().map(|golden| one(model, &golden.text)).collect() };
        let threads: Vec<_> =
            golden.chunks(golden.len().div_ceil(8)).map(|part| scope.spawn(move || embed(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect()
    })
}

/// Checks a text's embedding that was computed in f16.
fn check_f16(golden: &Golden, embedding: &Embedded) {
    assert_eq!((embedding.tokens, embedding.values.len()), (golden.tokens, golden.embedding.len()));
    let pairs = || embedding.values.iter().zip(&golden.embedding);
    let largest = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let product = |a: &f32, b: &f32| f64::from(*a) * f64::from(*b);
    let [ab, aa, bb] = [
        pairs().map(|(a, b)| product(a, b)).sum::<f64>(),
        pairs().map(|(a, _)| product(a, a)).sum(),
        pairs().map(|(_, b)| product(b, b)).sum(),
    ];
    let cosine = ab / (aa * bb).sqrt();
    println!("difference {largest:e}, cosine {cosine}");
    assert!(largest <= 2e-3 && cosine >= 0.9999, "{largest}, cosine {cosine} in {:?}", golden.text);
}

/// Checks a text's embedding, and returns its largest absolute difference.
fn check(golden: &Golden, embedding: &Embedded) -> f32 {
    assert_eq!(embedding.tokens, golden.tokens, "{:?}", golden.text);
    assert_eq!(embedding.values.len(), golden.embedding.len());
    let difference = |(a, b): (&f32, &f32)| (a - b).abs();
    let largest = embedding.values.iter().zip(&golden.embedding).map(difference).fold(0.0, f32::max);
    assert!(largest <= 1e-5, "{largest} in {:?}", golden.text);
    // `fold` with `max` passes over NaN.
    assert!(embedding.values.iter().all(|value| value.is_finite()));
    largest
}

#[test]
fn golden_model_is_what_it_says() {
    assert_eq!((MODEL.max_tokens(), MODEL.width(), GOLDEN.len()), (256, 384, 64));
}

#[test]
fn golden_one_thread_one_by_one() {
    let embed = |golden: &Golden| check(golden, &one(&MODEL, &golden.text));
    println!("largest difference {:e}", GOLDEN.iter().map(embed).fold(0.0, f32::max));
}

#[test]
fn golden_one_thread_in_batches() {
    let mut random = Rng::with_seed(seed());
    let alone: Vec<_> = GOLDEN.iter().map(|golden| one(&MODEL, &golden.text)).collect();
    for _ in 0..2 {
        let mut order: Vec<usize> = (0..GOLDEN.len()).collect();
        // Fisher and Yates.
        random.shuffle(&mut order);
        let mut rest = &order[..];
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(1 + random.usize(..rest.len().min(20)));
            rest = others;
            let texts: Vec<&str> = batch.iter().map(|&index| GOLDEN[index].text.as_str()).collect();
            for (&index, embedding) in batch.iter().zip(rows(&MODEL.embed(&texts).unwrap())) {
                check(&GOLDEN[index], &embedding);
                assert_eq!(bits(&embedding.values), bits(&alone[index].values), "{:?}", GOLDEN[index].text);
            }
        }
    }
}

#[test]
fn golden_sixteen_threads() {
    let seed = seed();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed.wrapping_add(thread));
                // Alternately one by one and in batches, from another start in each thread.
                let mut index = random.usize(..GOLDEN.len());
                for turn in 0..6 {
                    let size = if turn % 2 == 0 { 1 } else { 2 + random.usize(..8) };
                    let batch: Vec<&Golden> = GOLDEN.iter().cycle().skip(index).take(size).collect();
                    let texts: Vec<&str> = batch.iter().map(|golden| golden.text.as_str()).collect();
                    for (golden, embedding) in batch.iter().zip(rows(&MODEL.embed(&texts).unwrap())) {
                        check(golden, &embedding);
                    }
                    index = (index + size) % GOLDEN.len();
                }
            });
        }
    });
}

/// Every text passes through sixteen threads at once, each text in one of them.
#[test]
fn golden_sixteen_threads_every_text() {
    let embeddings: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = GOLDEN
            .chunks(GOLDEN.len() / 16)
            .map(|part| scope.spawn(move || part.iter().map(|golden| one(&MODEL, &golden.text)).collect::<Vec<_>>()))
            .collect();
        assert_eq!(threads.len(), 16);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for (golden, embedding) in GOLDEN.iter().zip(&embeddings) {
        check(golden, embedding);
        assert_eq!(bits(&embedding.values), bits(&one(&MODEL, &golden.text).values));
    }
}
