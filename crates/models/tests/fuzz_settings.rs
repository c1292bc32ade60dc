//! A fuzzer over the files of settings and of the tokenizer: whatever they hold, a load gives a model that embeds, or
//! an error that names a file; nothing panics, and memory stays in proportion to the files.
//!
//! In its short form it tries the same few hundred inputs each time, and some new ones; with `THALWEG_FUZZ_SECONDS` new
//! ones for so long. An input is made of one number, which a failure prints: `THALWEG_SEED` begins with it.

mod support;

use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant};
use support::counting::{Counting, alone, counted};
use support::{cpu, seed, tiny};
use tempfile::TempDir;
use thalweg_models::EmbeddingModel;
use thalweg_models::testing::TextTokenizer;
use thalweg_runtime::Device;

/// The most memory that a load takes at any time: so many times the bytes of the model's files, and so much besides.
/// Most of it is the library's tables in which it looks for added tokens, which are largest for rare characters.
const TIMES: usize = 200;
const BESIDES: usize = 4 << 20;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A model's files by name. They are all small.
type Files = BTreeMap<String, Vec<u8>>;

/// What the files are in a load: the model or the error, and the most memory at once; and where they are.
fn load(device: &Device, files: &Files) -> (Result<EmbeddingModel, String>, usize, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    let load = || EmbeddingModel::load(device, directory.path()).map_err(|error| error.to_string());
    let (result, most) = counted(load);
    (result, most, directory)
}

/// Loads, and embeds if that succeeds. Whether it did.
fn check(device: &Device, files: &Files) -> bool {
    let bytes: usize = files.values().map(Vec::len).sum();
    let (result, most, directory) = load(device, files);
    assert!(most <= TIMES * bytes + BESIDES, "{most} bytes of memory for {bytes} bytes of files");
    match result {
        Err(error) => {
            let directory = directory.path().display().to_string();
            assert!(error.contains(&directory), "the error names no file: {error}");
            false
        }
        Ok(model) => {
            for text in ["The river", "", "Café <a> word [MASK] 好\u{1F600}\u{0}", &"the x ".repeat(40)] {
                let embeddings = model.embed(&[text]).expect("the device works");
                if let Ok(values) = embeddings.row(0) {
                    assert_eq!(values.len(), model.width());
                    assert!(embeddings.tokens(0) <= model.max_tokens());
                }
            }
            let tokenizer = TextTokenizer::load(directory.path(), usize::MAX, model.max_tokens()).expect("a tokenizer");
            for (first, second) in [("The river", "<a> b"), ("", "x"), (&*"the x ".repeat(40), &"x [MASK]".repeat(30))]
            {
                drop(tokenizer.tokenize_pair(first, second));
                drop(tokenizer.prompt_tokens(first));
            }
            true
        }
    }
}

/// The files of a model that loads, in one of several forms.
fn whole(random: &mut Rng) -> Files {
    let directory = tiny();
    let mut files = Files::new();
    for name in [
        "modules.json",
        "config.json",
        "model.safetensors",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "tokenizer_config.json",
        "tokenizer.json",
        "vocab.txt",
    ] {
        files.insert(name.to_owned(), fs::read(directory.path().join(name)).expect("a file"));
    }
    let mut insert = |name: &str, value: Value| drop(files.insert(name.to_owned(), value.to_string().into_bytes()));
    if random.bool() {
        insert("special_tokens_map.json", json!({"cls_token": "[CLS]", "extra_special_tokens": ["<a>"]}));
        insert("added_tokens.json", json!({"<b>": 28}));
    }
    if random.bool() {
        insert("config_sentence_transformers.json", json!({"prompts": {"query": ""}, "default_prompt_name": "query"}));
        insert("2_Normalize/config.json", json!({"module_input_name": "sentence_embedding"}));
    }
    let file =
        json!({"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {"28": {"content": "<a>"}}});
    let class = |name: &str, mask: Value| json!({"tokenizer_class": name, "cls_token": "[CLS]", "mask_token": mask});
    match random.u32(0..9) {
        0 => drop(files.remove("tokenizer.json")),
        1 => insert("tokenizer_config.json", file),
        2 => {
            insert("tokenizer_config.json", file);
            insert("tokenizer.json", byte_pairs());
        }
        3 => insert("tokenizer_config.json", class("MPNetTokenizer", "[MASK]".into())),
        4 => {
            let name = random.choice(["RobertaTokenizer", "Qwen2Tokenizer"]).expect("one of them");
            insert("tokenizer_config.json", class(name, Value::Null));
            insert("tokenizer.json", byte_pairs());
        }
        5 => {
            let name = random.choice(["RobertaTokenizer", "Qwen2Tokenizer"]).expect("one of them");
            insert("tokenizer_config.json", class(name, Value::Null));
            insert("vocab.json", byte_pairs()["model"]["vocab"].clone());
            files.insert("merges.txt".to_owned(), b"#version: 0.2\nt h\nth e\n".to_vec());
            files.remove("tokenizer.json");
        }
        6 => {
            let name = random.choice(["XLMRobertaTokenizer", "CamembertTokenizer"]).expect("one of them");
            insert("tokenizer_config.json", class(name, "<mask>".into()));
            insert("tokenizer.json", pieces());
        }
        _ => {}
    }
    files
}

/// And one of another: the likeliest pieces.
fn pieces() -> Value {
    let mut tokenizer = byte_pairs();
    let vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "[CLS]", "▁the", "▁", "r", "i", "v", "e", "x"];
    let vocabulary: Vec<_> =
        vocabulary.iter().enumerate().map(|(id, piece)| json!([piece, -0.5 * id as f64])).collect();
    tokenizer["model"] = json!({"type": "Unigram", "unk_id": 3, "vocab": vocabulary, "byte_fallback": false});
    tokenizer["added_tokens"][0]["id"] = json!(5);
    tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}]});
    tokenizer["pre_tokenizer"] =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
    tokenizer
}

/// A tokenizer of another kind: byte-level pairs.
fn byte_pairs() -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 0, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "_"},
                       {"type": "Replace", "pattern": {"Regex": "x+"}, "content": "y"}]},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "RobertaProcessing", "sep": ["[CLS]", 0], "cls": ["[CLS]", 0], "trim_offsets": true,
                           "add_prefix_space": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": "[CLS]", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                  "vocab": {"[CLS]": 0, "t": 1, "h": 2, "e": 3, "th": 4, "the": 5}, "merges": ["t h", "th e"]},
    })
}

/// Keys that mean something somewhere.
const KEYS: &[&str] = &[
    "tokenizer_class",
    "auto_map",
    "add_prefix_space",
    "model_input_names",
    "do_lower_case",
    "strip_accents",
    "model_max_length",
    "max_seq_length",
    "added_tokens_decoder",
    "additional_special_tokens",
    "extra_special_tokens",
    "cls_token",
    "unk_token",
    "z_token",
    "content",
    "__type",
    "normalized",
    "special",
    "lstrip",
    "single_word",
    "tokenizer_args",
    "processing_kwargs",
    "processor_kwargs",
    "config_kwargs",
    "text",
    "max_length",
    "truncation",
    "modality_config",
    "hidden_act",
    "hidden_size",
    "num_hidden_layers",
    "vocab_size",
    "type_vocab_size",
    "max_position_embeddings",
    "layer_norm_eps",
    "pooling_mode",
    "post_processor",
    "normalizer",
    "pre_tokenizer",
    "model",
    "vocab",
    "type",
    "id",
    "default_prompt_name",
];

/// A value that a setting might have, or should not.
fn value(random: &mut Rng, depth: u32) -> Value {
    match random.u32(0..if depth == 0 { 14 } else { 17 }) {
        0 => Value::Null,
        1 => json!(random.bool()),
        2 => json!(random.u32(0..40)),
        3 => json!(random.i64(-3..3)),
        4 => json!(random.choice([u64::MAX, 1 << 31, (1 << 31) - 1, 1 << 32])),
        5 => json!(random.f64() * 10f64.powi(random.i32(-40..40))),
        6 => json!(""),
        7 => json!("é好x\u{0}\u{1F600}".repeat(random.usize(1..100))),
        8 => json!(random.choice(["[CLS]", "[UNK]", "[MASK]", "the", "<a>", " ", "\u{0}NaN", "$A", "[CLS]:0"])),
        9 => {
            const NAMES: &[&str] = &[
                "BertTokenizer",
                "PreTrainedTokenizerFast",
                "LlamaTokenizer",
                "RobertaTokenizer",
                "XLMRobertaTokenizer",
                "CamembertTokenizer",
                "MPNetTokenizer",
                "Qwen2Tokenizer",
                "left",
                "mean",
                "gelu",
            ];
            json!(random.choice(NAMES.iter()))
        }
        10 => json!(random.choice(KEYS.iter())),
        11 => json!([]),
        12 => json!({}),
        13 => json!({"__type": "AddedToken", "content": "<b>", "lstrip": random.bool(), "normalized": random.bool()}),
        14 => Value::Array((0..random.usize(0..5)).map(|_| value(random, depth - 1)).collect()),
        15 => Value::Array((0..random.usize(0..200)).map(|index| json!(format!("<{index}>"))).collect()),
        _ => {
            let entry = |random: &mut Rng| (key(random), value(random, depth - 1));
            Value::Object((0..random.usize(0..5)).map(|_| entry(random)).collect())
        }
    }
}

fn key(random: &mut Rng) -> String {
    match random.u32(0..8) {
        0 => random.u32(0..40).to_string(),
        1 => String::new(),
        _ => (*random.choice(KEYS.iter()).expect("a key")).to_owned(),
    }
}

/// Changes one place of a document.
fn change(random: &mut Rng, document: &mut Value) {
    let down = random.u32(0..4) > 0;
    match document {
        Value::Object(object) => {
            let names: Vec<String> = object.keys().cloned().collect();
            match random.choice(names.iter()) {
                Some(name) if down => change(random, object.get_mut(name).expect("the value")),
                Some(name) if random.u32(0..3) == 0 => drop(object.remove(name)),
                Some(name) if random.u32(0..3) == 0 => {
                    let value = object.remove(name).expect("the value");
                    object.insert(key(random), value);
                }
                Some(name) if random.bool() => drop(object.insert(name.clone(), value(random, 2))),
                _ => drop(object.insert(key(random), value(random, 2))),
            }
        }
        Value::Array(array) => {
            let index = if array.is_empty() { 0 } else { random.usize(0..array.len()) };
            match random.u32(0..3) {
                _ if array.is_empty() => array.push(value(random, 2)),
                _ if down => change(random, &mut array[index]),
                0 => drop(array.remove(index)),
                1 => array.push(array[index].clone()),
                _ => array[index] = value(random, 2),
            }
        }
        other => *other = value(random, 2),
    }
}

/// Changes some bytes.
fn spoil(random: &mut Rng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return bytes.push(random.u8(..));
    }
    let at = random.usize(0..bytes.len());
    match random.u32(0..7) {
        0 => bytes[at] ^= 1 << random.u32(0..8),
        1 => bytes[at] = random.u8(..),
        2 => bytes.truncate(at),
        3 => drop(bytes.remove(at)),
        4 => {
            let end = random.usize(at..=bytes.len().min(at + 200));
            let part = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, part));
        }
        5 => drop(
            bytes.splice(
                at..at,
                random
                    .choice(["NaN", "-Infinity", "\\ud800", "\u{FEFF}", "\"", "[", "{\"a\":", "\n"])
                    .expect("a text")
                    .bytes(),
            ),
        ),
        _ => drop(bytes.splice(at..at, b"[".repeat(random.usize(1..300)))),
    }
}

/// One input: a model with one to four changes in one or two files.
fn input(seed: u64) -> Files {
    let mut random = Rng::with_seed(seed);
    let mut files = whole(&mut random);
    let names: Vec<String> = files.keys().cloned().collect();
    for _ in 0..random.u32(1..=2) {
        let name = random.choice(names.iter()).expect("a file");
        let bytes = files.get_mut(name).expect("the file");
        for _ in 0..random.u32(1..=2) {
            match serde_json::from_slice::<Value>(bytes) {
                Ok(mut document) if random.u32(0..4) > 0 => {
                    change(&mut random, &mut document);
                    *bytes = document.to_string().into_bytes();
                }
                // Of the weights the header is enough: the values are not settings.
                _ if name.ends_with("safetensors") => {
                    let end = bytes.len().min(3000);
                    let mut header = bytes[..end].to_vec();
                    spoil(&mut random, &mut header);
                    drop(bytes.splice(..end, header));
                }
                _ => spoil(&mut random, bytes),
            }
        }
    }
    files
}

/// Tries the input of each seed. How many there were, and how many of them loaded.
fn try_all(device: &Device, seeds: impl Iterator<Item = u64>) -> (u64, u64) {
    let (mut tried, mut loaded) = (0, 0);
    for seed in seeds {
        let files = input(seed);
        match std::panic::catch_unwind(AssertUnwindSafe(|| check(device, &files))) {
            Ok(good) => loaded += u64::from(good),
            Err(panic) => {
                eprintln!("the input of THALWEG_SEED={seed} fails");
                std::panic::resume_unwind(panic);
            }
        }
        tried += 1;
    }
    (tried, loaded)
}

#[test]
fn fuzz_settings_files() {
    let _counting = alone();
    // Panics of the tokenizers' library are caught and become errors; they need not be told each time.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.location().is_some_and(|location| location.file().contains("models/")) {
            hook(info);
        }
    }));
    let device = cpu();
    let seconds = std::env::var("THALWEG_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let first = seed();
    let (tried, loaded) = match seconds.map(Duration::from_secs) {
        None => {
            let (tried, loaded) = try_all(&device, 0..300);
            // Neither all nor none: the fuzzer reaches both.
            assert!((30..290).contains(&loaded), "{loaded} of {tried} inputs load");
            try_all(&device, (0..100).map(|index| first.wrapping_add(index)))
        }
        Some(time) => {
            let begun = Instant::now();
            let seeds = (0..).map(|index| first.wrapping_add(index));
            try_all(&device, seeds.take_while(|_| begun.elapsed() < time))
        }
    };
    println!("{tried} inputs from seed {first}: {loaded} load");
}

/// Files that are made to take much memory for their size, and how many times their size it is at most.
#[test]
fn memory_in_proportion() {
    let _counting = alone();
    let device = cpu();
    let tokens = |count: usize| (0..count).map(|index| format!("<{index}>")).collect::<Vec<_>>();
    let mut random = Rng::with_seed(1);
    let mut rare = |count: usize| -> Vec<String> {
        (0..count).map(|_| (0..4).map(|_| random.char('\u{10000}'..)).collect()).collect()
    };
    let by_id: serde_json::Map<String, Value> =
        (0..10_000).map(|index| (index.to_string(), json!({"content": format!("<{index}>")}))).collect();
    let words: serde_json::Map<String, Value> = (0..50_000).map(|index| (format!("w{index}"), json!(index))).collect();
    let mut tokenizer: Value = serde_json::from_slice(&whole_file("tokenizer.json")).expect("JSON");
    tokenizer["model"]["vocab"] = Value::Object(words);
    for (times, name, text) in [
        (30, "tokenizer_config.json", format!("{{\"extra_special_tokens\": [{}0]}}", "{\"\":0},".repeat(100_000))),
        (3, "tokenizer_config.json", format!("{{\"unknown\": [{}0]}}", "{\"\":0},".repeat(1_000_000))),
        (
            20,
            "tokenizer_config.json",
            format!("{{{}\"a\":0}}", (0..100_000).map(|index| format!("\"{index}_token\":0,")).collect::<String>()),
        ),
        (80, "tokenizer_config.json", json!({"extra_special_tokens": tokens(20_000)}).to_string()),
        (10, "tokenizer_config.json", json!({"extra_special_tokens": rare(3)}).to_string()),
        (200, "tokenizer_config.json", json!({"extra_special_tokens": rare(5_000)}).to_string()),
        (40, "tokenizer_config.json", json!({"added_tokens_decoder": by_id}).to_string()),
        (45, "config.json", format!("{{\"model_type\": [{}0]}}", "[],".repeat(300_000))),
        (45, "modules.json", format!("[{}0]", "[],".repeat(300_000))),
        (10, "vocab.txt", "a\nb\nc\n".repeat(100_000)),
        (30, "tokenizer.json", tokenizer.to_string()),
    ] {
        let mut files = whole(&mut Rng::with_seed(1));
        files.insert("tokenizer.json".into(), whole_file("tokenizer.json"));
        if name == "vocab.txt" {
            files.remove("tokenizer.json");
        }
        files.insert(name.to_owned(), text.into_bytes());
        let bytes: usize = files.values().map(Vec::len).sum();
        let (_, most, _) = load(&device, &files);
        println!("{name}: {bytes} bytes of files, {:.1} times that in memory", most as f64 / bytes as f64);
        assert!(most <= times * bytes + BESIDES, "{name}: {most} bytes of memory for {bytes} bytes of files");
    }
}

fn whole_file(name: &str) -> Vec<u8> {
    fs::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny")).join(name)).expect("the file")
}
