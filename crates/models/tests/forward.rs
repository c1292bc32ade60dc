//! The encoder against the f64 reference, and against itself in other batches.

mod support;

use fastrand::Rng;
use support::reference::Reference;
use support::{bits, cpu, loaded, one, rows, seed, set, text, unset, written};
use thalweg_models::testing::{MAX_TOKENS, SmallEncoder};
use thalweg_models::{EmbeddingModel, Error, TOKENS_PER_PASS, Tokens};

/// Texts of every kind of length: none, one token, a few, the most, and more than the most.
fn texts(random: &mut Rng) -> Vec<String> {
    let mut texts = vec![String::new(), " \t\n".into(), "a".into(), "the river flows".into()];
    texts.extend([2, 5, 11, 19, 200].map(|words| text(random, words)));
    texts
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn check(encoder: &SmallEncoder, model: &EmbeddingModel, random: &mut Rng) {
    let reference = Reference::new(encoder);
    let texts = texts(random);
    let tokens = model.tokenize(&borrowed(&texts)).expect("tokens");
    let embeddings = rows(&model.embed(&borrowed(&texts)).expect("embeddings"));
    assert_eq!(embeddings.len(), texts.len());
    for ((text, tokens), embedding) in texts.iter().zip(&tokens).zip(&embeddings) {
        let expected = reference.embed(tokens.ids());
        assert_eq!(embedding.tokens, tokens.len());
        assert_eq!(embedding.values.len(), encoder.width);
        for (given, expected) in embedding.values.iter().zip(&expected) {
            let tolerance = 2e-5 * expected.abs().max(1.0);
            let difference = (f64::from(*given) - expected).abs();
            assert!(difference <= tolerance, "{encoder:?}, {text:?}: {given} for {expected}");
        }
    }
}

#[test]
fn every_activation_pooling_and_prefix_matches_the_reference() {
    let mut random = Rng::with_seed(seed());
    let activations = ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh"];
    let poolings = ["mean", "cls", "max"];
    for (index, activation) in activations.into_iter().enumerate() {
        let encoder = SmallEncoder {
            activation,
            pooling: poolings[index % 3],
            normalize: index % 2 == 0,
            prefix: if index % 4 == 0 { "bert." } else { "" },
            ..SmallEncoder::new(random.u64(..), 2, 32)
        };
        check(&encoder, &loaded(&encoder), &mut random);
    }
}

#[test]
fn any_layer_count_and_width_matches_the_reference() {
    let mut random = Rng::with_seed(seed());
    for (layers, width, heads, intermediate) in [(1, 8, 1, 8), (3, 24, 2, 100), (2, 60, 5, 33), (1, 128, 4, 512)] {
        let seed = random.u64(..);
        let encoder = SmallEncoder { heads, intermediate, ..SmallEncoder::new(seed, layers, width) };
        check(&encoder, &loaded(&encoder), &mut random);
    }
}

#[test]
fn a_batch_gives_the_bits_of_single_texts() {
    let mut random = Rng::with_seed(seed());
    let model = loaded(&SmallEncoder::new(random.u64(..), 2, 32));
    let mut text = || {
        let words = random.usize(..30);
        text(&mut random, words)
    };
    let texts: Vec<String> = (0..40).map(|_| text()).collect();
    let batch = rows(&model.embed(&borrowed(&texts)).unwrap());
    for (text, from_batch) in texts.iter().zip(&batch) {
        assert_eq!(bits(&one(&model, text).values), bits(&from_batch.values), "{text:?}");
    }
}

#[test]
fn more_tokens_than_a_pass_keep_order_and_bits() {
    let mut random = Rng::with_seed(seed());
    let model = loaded(&SmallEncoder::new(7, 1, 16));
    let sequence = |random: &mut Rng| {
        let length = 1 + random.usize(..MAX_TOKENS);
        Tokens::from_ids((0..length).map(|_| random.usize(..20) as u32).collect::<Vec<_>>())
    };
    let sequences: Vec<Tokens> = (0..400).map(|_| sequence(&mut random)).collect();
    assert!(sequences.iter().map(Tokens::len).sum::<usize>() > TOKENS_PER_PASS, "the test needs several passes");
    let all = rows(&model.embed_tokens(&sequences).unwrap());
    assert_eq!(all.len(), sequences.len());
    for (sequence, embedding) in sequences.iter().zip(&all) {
        let alone = model.embed_tokens(std::slice::from_ref(sequence)).unwrap();
        assert_eq!(bits(alone.values().unwrap()), bits(&embedding.values));
    }
}

#[test]
fn no_text_gives_no_embedding() {
    assert_eq!(loaded(&SmallEncoder::new(1, 1, 16)).embed::<&str>(&[]).unwrap().rows(), 0);
}

#[test]
fn empty_and_blank_texts_are_the_special_tokens() {
    let model = loaded(&SmallEncoder::new(1, 1, 16));
    for text in ["", " ", "\t\r\n", "\u{3000}"] {
        assert_eq!(model.tokenize(&[text]).unwrap(), [Tokens::from_ids([2, 3])], "{text:?}");
        assert_eq!(model.embed(&[text]).unwrap().tokens(0), 2);
    }
}

#[test]
fn the_sentence_configuration_decides_the_truncation() {
    let long = "river ".repeat(500);
    let tokens = |prepare: &dyn Fn(&std::path::Path)| {
        let directory = written(&SmallEncoder::new(1, 1, 16));
        prepare(directory.path());
        let model = EmbeddingModel::load(&cpu(), directory.path()).unwrap();
        let tokens = model.tokenize(&[&long]).unwrap().remove(0);
        assert_eq!(tokens.len(), model.max_tokens());
        assert_eq!((tokens.ids().first(), tokens.ids().last()), (Some(&2), Some(&3)), "[CLS] and [SEP] stay");
        tokens.len()
    };
    let sentence = |directory: &std::path::Path| directory.join("sentence_bert_config.json");
    let tokenizer = |directory: &std::path::Path, text: &str| {
        std::fs::write(directory.join("tokenizer_config.json"), text).unwrap();
    };
    assert_eq!(tokens(&|_| {}), MAX_TOKENS);
    assert_eq!(tokens(&|directory| set(&sentence(directory), "/max_seq_length", 9.into())), 9);
    // Without it, the smaller of the positions and the tokenizer's own limit.
    let positions = thalweg_models::testing::POSITIONS;
    assert_eq!(tokens(&|directory| unset(&sentence(directory), "max_seq_length")), positions);
    assert_eq!(tokens(&|directory| std::fs::remove_file(sentence(directory)).unwrap()), positions);
    let with_limit = |limit: &'static str| {
        move |directory: &std::path::Path| {
            unset(&sentence(directory), "max_seq_length");
            tokenizer(directory, &format!("{{\"model_max_length\": {limit}}}"));
        }
    };
    assert_eq!(tokens(&with_limit("11")), 11);
    assert_eq!(tokens(&with_limit("1000000000000000019884624838656")), positions);
}

#[test]
fn texts_can_lose_their_beginning() {
    let directory = written(&SmallEncoder::new(1, 1, 16));
    std::fs::write(directory.path().join("tokenizer_config.json"), r#"{"truncation_side": "left"}"#).unwrap();
    set(&directory.path().join("sentence_bert_config.json"), "/max_seq_length", 4.into());
    let model = EmbeddingModel::load(&cpu(), directory.path()).unwrap();
    let [long, short] =
        ["river stream bank water", "bank water"].map(|text| model.tokenize(&[text]).unwrap().remove(0));
    assert_eq!((long.ids(), long.is_cut(), short.is_cut()), (short.ids(), true, false));
}

#[test]
fn lower_case_is_applied_before_the_tokenizer() {
    let directory = written(&SmallEncoder::new(1, 1, 16));
    // The class of which tokenizer.json decides everything.
    let class = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    std::fs::write(directory.path().join("tokenizer_config.json"), class).unwrap();
    let tokenizer = directory.path().join("tokenizer.json");
    set(&tokenizer, "/normalizer/lowercase", false.into());
    let shouted = |directory: &std::path::Path| {
        let model = EmbeddingModel::load(&cpu(), directory).unwrap();
        model.tokenize(&["RIVER"]).unwrap() == model.tokenize(&["river"]).unwrap()
    };
    assert!(!shouted(directory.path()));
    set(&directory.path().join("sentence_bert_config.json"), "/do_lower_case", true.into());
    assert!(shouted(directory.path()));
}

#[test]
fn models_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<EmbeddingModel>();
    shared::<Error>();
}

#[test]
fn a_closed_device_is_asked_before_anything_else() {
    let encoder = SmallEncoder::new(7, 1, 16);
    let directory = written(&encoder);
    let device = cpu();
    let model = EmbeddingModel::load(&device, directory.path()).expect("a good model");
    let tokens = model.tokenize(&["the river flows"]).expect("tokens");
    device.close(std::time::Duration::from_secs(60)).expect("all has run");
    let closed = |error: Error| {
        let closed = matches!(error, Error::Runtime(thalweg_runtime::Error::Closed));
        assert!(closed, "{error}");
    };
    closed(model.embed(&["the river flows"]).unwrap_err());
    closed(model.tokenize(&["the river flows"]).unwrap_err());
    closed(model.embed_tokens(&tokens).unwrap_err());
    // Before the tokens are looked at, which this model would refuse.
    closed(model.embed_tokens(&[Tokens::from_ids([])]).unwrap_err());
    // Nothing is waited for, so the first poll is the last.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut future = std::pin::pin!(model.embed_async(&["the river flows"]));
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => closed(result.unwrap_err()),
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn an_async_call_has_the_same_bits() {
    let mut random = Rng::with_seed(seed());
    let model = loaded(&SmallEncoder::new(random.u64(..), 2, 32));
    let own: Vec<String> = texts(&mut random);
    let expected = rows(&model.embed(&borrowed(&own)).expect("embeddings"));
    let device = model.device();
    let stream = thalweg_runtime::Stream::new(device).expect("a stream");
    let mut future = std::pin::pin!(stream.attach(model.embed_async(&own)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let embeddings = loop {
        if let std::task::Poll::Ready(result) = future.as_mut().poll(&mut context) {
            break rows(&result.expect("embeddings"));
        }
        // In place of an executor: what it waits for has run when this returns.
        stream.synchronize().expect("the device answers");
    };
    assert_eq!(embeddings.len(), expected.len());
    for (given, expected) in embeddings.iter().zip(&expected) {
        assert_eq!((given.tokens, bits(&given.values)), (expected.tokens, bits(&expected.values)));
    }
}
