//! Two models on one device, asked by many threads at once. Needs the weights: run `scripts/fetch-model`.

mod support;

use fastrand::Rng;
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use support::{bits, one, rows, seed, text, written};
use thalweg_models::EmbeddingModel;
use thalweg_models::testing::SmallEncoder;
use thalweg_runtime::{Config, Device};

const THREADS: usize = 16;
const TEXTS: usize = 12;
const TURNS: usize = 16;

// audit: C13, C27
#[test]
fn two_models_from_sixteen_threads_give_the_bits_of_one_thread_alone() {
    two_models(Config::default());
}

// audit: C13
#[test]
fn two_models_whose_threads_share_streams_give_the_bits_of_one_thread_alone() {
    two_models(Config::default().pool_streams(3));
}

fn two_models(config: Config) {
    let models = std::env::var_os("THALWEG_MODELS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models")), PathBuf::from);
    let directory = models.join("all-MiniLM-L6-v2");
    assert!(directory.exists(), "{} is not there: run scripts/fetch-model", directory.display());
    let seed = seed();
    let device = Device::new(thalweg_cpu::CpuDevice::open().expect("the processor"), config).expect("a device");
    let small = written(&SmallEncoder::new(seed, 2, 128));
    let models = [directory.as_path(), small.path()].map(|path| EmbeddingModel::load(&device, path).expect("a model"));

    let mut random = Rng::with_seed(seed);
    let texts: Vec<String> = (0..TEXTS)
        .map(|index| {
            let words = if index % 2 == 0 { random.usize(..3) } else { 15 + random.usize(..15) };
            text(&mut random, words)
        })
        .collect();
    let alone =
        models.each_ref().map(|model| texts.iter().map(|text| bits(&one(model, text).values)).collect::<Vec<_>>());
    let before = device.memory();
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (models, texts, alone, start) = (&models, &texts, &alone, &start);
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed.wrapping_add(number as u64));
                start.wait();
                for turn in 0..TURNS {
                    // Half of the threads begin with either model; all ask both. A tiny text's activations in the small
                    // model are as large as the ids of many long ones: what one call frees while the device still
                    // works on it is what another would write its ids to.
                    let which = (number + turn) % 2;
                    let picked: Vec<usize> = match (which, random.usize(..2)) {
                        (1, 0) => vec![2 * random.usize(..TEXTS / 2)],
                        (1, _) => (0..3 + random.usize(..8)).map(|_| 2 * random.usize(..TEXTS / 2) + 1).collect(),
                        _ => (0..1 + random.usize(..2)).map(|_| random.usize(..TEXTS)).collect(),
                    };
                    let batch: Vec<&str> = picked.iter().map(|&index| texts[index].as_str()).collect();
                    let embeddings = rows(&models[which].embed(&batch).expect("embeddings"));
                    assert_eq!(embeddings.len(), batch.len());
                    for (&index, embedding) in picked.iter().zip(&embeddings) {
                        assert_eq!(bits(&embedding.values), alone[which][index], "model {which}, {:?}", texts[index]);
                    }
                }
            });
        }
    });
    let after = device.memory();
    assert_eq!((after.live, after.frozen), (before.live, before.frozen));
}
