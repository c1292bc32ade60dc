//! Two models on one device, asked by many threads at once. Needs the weights: run `scripts/fetch-model`.

mod support;

use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use support::{Random, bits, cpu, seed, written};
use thalweg_models::EmbeddingModel;
use thalweg_models::testing::SmallEncoder;

const THREADS: usize = 16;
const TEXTS: usize = 12;

#[test]
fn two_models_from_sixteen_threads_give_the_bits_of_one_thread_alone() {
    let models = std::env::var_os("THALWEG_MODELS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models")), PathBuf::from);
    let directory = models.join("all-MiniLM-L6-v2");
    assert!(directory.exists(), "{} is not there: run scripts/fetch-model", directory.display());
    let seed = seed();
    let device = cpu();
    let small = written(&SmallEncoder::new(seed, 2, 128));
    let models = [directory.as_path(), small.path()].map(|path| EmbeddingModel::load(&device, path).unwrap());

    let mut random = Random(seed);
    let texts: Vec<String> = (0..TEXTS)
        .map(|_| {
            let words = random.below(30);
            random.text(words)
        })
        .collect();
    let alone = models
        .each_ref()
        .map(|model| texts.iter().map(|text| bits(&model.embed(&[text]).unwrap()[0].values)).collect::<Vec<_>>());
    let before = device.memory();
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (models, texts, alone, start) = (&models, &texts, &alone, &start);
            scope.spawn(move || {
                let mut random = Random(seed.wrapping_add(number as u64));
                start.wait();
                for turn in 0..TEXTS {
                    // Half of the threads begin with either model; all ask both, one by one and in small batches.
                    let which = (number + turn) % 2;
                    let picked: Vec<usize> = (0..1 + random.below(3)).map(|_| random.below(TEXTS)).collect();
                    let batch: Vec<&str> = picked.iter().map(|&index| texts[index].as_str()).collect();
                    let embeddings = models[which].embed(&batch).unwrap();
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
