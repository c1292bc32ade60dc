//! Passes run as graphs: the embeddings of passes recorded one operation at a time, to the bit.

mod support;

use fastrand::Rng;
use std::sync::Arc;
use support::{bits, cpu, one, rows, seed, text, written};
use thalweg_models::testing::{MAX_TOKENS, SmallEncoder};
use thalweg_models::{EmbeddingModel, LoadOptions, Tokens};
use thalweg_runtime::{Config, Device};

/// The processor, and what GPUs there are.
fn devices() -> Vec<Device> {
    let vulkan = thalweg_vulkan::testing::device().map(|device| -> Arc<dyn thalweg_hal::Device> { device });
    let open = |device| Device::new(device, Config::default()).expect("a device");
    std::iter::once(cpu()).chain(vulkan.into_iter().chain(thalweg_metal::testing::device()).map(open)).collect()
}

/// Sequences of random lengths from eight threads, through a cache that holds all of their graphs, and one that holds a
/// few.
// audit: F5, C21, C27
#[test]
fn stress_embeddings_by_graphs_have_the_bits_of_those_without() {
    let seed = seed();
    let directory = written(&SmallEncoder::new(seed, 2, 64));
    for device in devices() {
        let load = |bytes| {
            EmbeddingModel::load_with(&device, directory.path(), LoadOptions::new().graphs(bytes)).expect("a model")
        };
        let plain = load(0);
        let one = {
            let model = load(1 << 30);
            model.embed_tokens(&[Tokens::from_ids(vec![5; MAX_TOKENS])]).expect("an embedding");
            model.graph_cache().bytes
        };
        for (bytes, few) in [(1 << 30, false), (5 * one, true)] {
            let model = load(bytes);
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    let (model, plain) = (&model, &plain);
                    scope.spawn(move || {
                        let mut random = Rng::with_seed(seed.wrapping_add(thread));
                        for _ in 0..12 {
                            let batch = random.usize(..8) == 0;
                            let mut tokens = || {
                                let ids = (0..1 + random.usize(..MAX_TOKENS)).map(|_| random.usize(..15) as u32);
                                Tokens::from_ids(ids.collect::<Vec<_>>())
                            };
                            // Now and then a batch, which is not one of the graphs'.
                            let sequences = if batch { vec![tokens(), tokens()] } else { vec![tokens()] };
                            let expected = rows(&plain.embed_tokens(&sequences).expect("embeddings"));
                            let embedded = rows(&model.embed_tokens(&sequences).expect("embeddings"));
                            for (embedded, expected) in embedded.iter().zip(&expected) {
                                assert_eq!(bits(&embedded.values), bits(&expected.values));
                            }
                        }
                    });
                }
            });
            let stats = model.graph_cache();
            assert!(stats.hits > 0 && stats.bytes <= bytes, "{stats:?}");
            assert_eq!(stats.evictions > 0, few, "{stats:?}");
        }
        assert_eq!(plain.graph_cache(), Default::default());
    }
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

/// Too little memory for graphs is no error.
// audit: C21
#[test]
fn without_room_for_graphs_texts_are_embedded_all_the_same() {
    let seed = seed();
    let directory = written(&SmallEncoder::new(seed, 2, 64));
    let device = cpu();
    let model = EmbeddingModel::load_with(&device, directory.path(), LoadOptions::new().graphs(1)).expect("a model");
    let plain = EmbeddingModel::load_with(&device, directory.path(), LoadOptions::new().graphs(0)).expect("a model");
    let mut random = Rng::with_seed(seed);
    for _ in 0..10 {
        let text = text(&mut random, 12);
        let [embedded, expected] = [&model, &plain].map(|model| one(model, &text));
        assert_eq!(bits(&embedded.values), bits(&expected.values));
    }
    assert_eq!(model.graph_cache().entries, 0, "one byte holds no graph");
}
