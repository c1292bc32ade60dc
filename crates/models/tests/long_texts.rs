//! Texts that are far longer than what is kept of them: the tokens of the whole text, cut, in little memory. In a
//! process of its own, because it counts what is allocated.

mod support;

use serde_json::{Value, json};
use support::counting::{Counting, alone, counted};
use thalweg_models::testing::{SmallEncoder, TextTokenizer};
use thalweg_models::{Error, Tokens};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

/// A line as long as the command takes.
const LINE: usize = 4 << 20;
/// What a text may take, in times of its bytes.
const TIMES: usize = 4;
/// The most tokens, special ones included.
const MAX_TOKENS: usize = 64;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The tokenizer of [`SmallEncoder`], with another kind's parts in it.
fn library(parts: Value, direction: TruncationDirection) -> tokenizers::Tokenizer {
    let directory = tempfile::tempdir().expect("a temporary directory");
    SmallEncoder::new(1, 1, 16).write(directory.path()).expect("a model directory");
    let file = std::fs::read(directory.path().join("tokenizer.json")).expect("the tokenizer");
    let mut settings: Value = serde_json::from_slice(&file).expect("JSON");
    for (key, value) in parts.as_object().expect("an object") {
        settings[key] = value.clone();
    }
    let mut library = tokenizers::Tokenizer::from_bytes(settings.to_string()).expect("a tokenizer");
    let strategy = TruncationStrategy::LongestFirst;
    let truncation = TruncationParams { max_length: MAX_TOKENS, strategy, stride: 0, direction };
    library.with_truncation(Some(truncation)).expect("room");
    library.with_padding(None);
    library
}

fn bert() -> Value {
    json!({})
}

/// Byte-level BPE, as RoBERTa has it.
fn byte_level() -> Value {
    let mut pieces: Vec<String> = ["<s>", "</s>", "[CLS]", "[SEP]"].map(String::from).into();
    let mut alphabet: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
    alphabet.sort();
    pieces.extend(alphabet);
    let vocabulary: serde_json::Map<String, Value> =
        pieces.into_iter().enumerate().map(|(id, piece)| (piece, json!(id))).collect();
    json!({
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": []},
    })
}

/// Unigram, as XLM-RoBERTa has it.
fn unigram() -> Value {
    let pieces = ["<s>", "<unk>", "[CLS]", "[SEP]", "▁", "▁river", "▁the", "r", "i", "v", "e", "é", "x", "水"];
    let vocabulary: Vec<Value> =
        pieces.iter().enumerate().map(|(id, piece)| json!([piece, -1.5 * id as f64])).collect();
    json!({
        "added_tokens": [],
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}]},
        "model": {"type": "Unigram", "unk_id": 1, "vocab": vocabulary, "byte_fallback": false},
    })
}

fn repeated(part: &str) -> String {
    part.repeat(LINE / part.len())
}

#[test]
fn a_line_of_4_mib_takes_at_most_4_times_its_length_and_gives_the_tokens_of_the_whole() {
    let _alone = alone();
    // Whether each kind of tokenizer splits the text.
    let texts = [
        ("!", [true, false, false]),
        ("x ", [true, true, true]),
        ("x!", [true, false, false]),
        ("the river flows, and 'the bank' is 20 m off.\n", [true, true, true]),
        ("é ", [true, true, true]),
        ("é", [false; 3]),
        ("水", [true, false, false]),
        ("[MASK]", [true, false, false]),
        ("[MASK] ", [true, true, true]),
        ("the ré水流 (river) ", [true, true, true]),
        ("のカ", [false; 3]),
        ("のカ。", [true, false, false]),
        ("\0", [true, false, false]),
        ("a\u{301} ", [true, false, false]),
    ];
    for (kind, (name, parts)) in
        [("BERT", bert()), ("BPE", byte_level()), ("Unigram", unigram())].into_iter().enumerate()
    {
        for direction in [TruncationDirection::Right, TruncationDirection::Left] {
            let library = library(parts.clone(), direction);
            let ours = TextTokenizer::new(library.clone()).expect("a tokenizer");
            for (part, splits) in texts {
                let text = repeated(part);
                let (tokens, peak) = counted(|| ours.tokenize(&text));
                let said = format!("{name}, {direction:?}, {part:?}: {peak} bytes for {}", text.len());
                assert!(peak <= TIMES * text.len(), "{said}");
                match tokens {
                    // More of the text than the tokens come from, of whole parts.
                    Ok(tokens) if splits[kind] => {
                        let some = part.repeat(4000 / part.len());
                        let expected = library.encode_fast(some.as_str(), true).expect("tokens");
                        assert_eq!(tokens.ids(), expected.get_ids(), "{said}");
                        assert_eq!(tokens.is_cut(), part != "\0", "{said}");
                    }
                    Err(Error::TextTooLong { bytes, limit, .. }) if !splits[kind] => {
                        assert!(bytes == text.len() && limit == 64 << 10, "{said}");
                    }
                    other => panic!("{said}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_word_of_4_mib_is_one_unknown_token() {
    let _alone = alone();
    for direction in [TruncationDirection::Right, TruncationDirection::Left] {
        let ours = TextTokenizer::new(library(bert(), direction)).expect("a tokenizer");
        let (tokens, peak) = counted(|| ours.tokenize(&repeated("x")));
        let tokens = tokens.expect("tokens");
        assert_eq!((tokens.ids(), tokens.is_cut()), (&[2, 1, 3][..], false));
        assert!(peak <= TIMES * LINE, "{peak} bytes");
    }
}

#[test]
fn what_is_far_behind_the_last_token_is_not_looked_at() {
    let _alone = alone();
    let ours = TextTokenizer::new(library(bert(), TruncationDirection::Right)).expect("a tokenizer");
    let river = "river ".repeat(1000);
    let alone = ours.tokenize(&river).expect("tokens");
    // A word that splits nowhere.
    let with = ours.tokenize(&format!("{river}{}", repeated("é"))).expect("tokens");
    assert_eq!(with, alone);
    assert!(with.is_cut() && alone.is_cut());
}

#[test]
fn where_nothing_splits_64_kib_are_tokenised_as_one_and_more_is_refused() {
    let _alone = alone();
    for parts in [bert(), byte_level(), unigram()] {
        for direction in [TruncationDirection::Right, TruncationDirection::Left] {
            let library = library(parts.clone(), direction);
            let ours = TextTokenizer::new(library.clone()).expect("a tokenizer");
            let most = "é".repeat(32 << 10);
            let (tokens, peak) = counted(|| ours.tokenize(&most).expect("tokens"));
            assert!(peak <= 300 * most.len(), "{peak} bytes");
            assert_eq!(tokens.ids(), library.encode_fast(most.as_str(), true).expect("tokens").get_ids());
            let error = ours.tokenize(&format!("{most}é")).expect_err("too long").to_string();
            for part in ["text 0 has 65538 bytes", "65536 of them", "tokenizer.json", "shorten the text"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
}

#[test]
fn added_tokens_that_look_beside_them_are_found_as_in_the_whole() {
    let _alone = alone();
    let mut bytes = byte_level();
    bytes["pre_tokenizer"]["add_prefix_space"] = json!(false);
    // Pieces of each of the texts could end only beside the token, where it would be another one.
    let cases = [
        (bert(), "!b", "single_word", "éa!b."),
        (bert(), "b!", "single_word", ".b!aé"),
        (bert(), "!b", "normalized", "éa!b."),
        (bert(), "b!!a", "special", "éb!!a"),
        (bert(), "! b", "special", "é! b"),
        (bytes.clone(), "<b>", "rstrip", "<b> b"),
        (bytes.clone(), "<b>", "lstrip", "b <b>"),
        (bytes, "> b", "special", "a> b"),
        (unigram(), "<b>", "rstrip", "<b> b"),
    ];
    for (mut parts, content, flag, part) in cases {
        let mut token = json!({"id": 5, "content": content, "special": false, "single_word": false, "lstrip": false,
                               "rstrip": false, "normalized": false});
        token[flag] = json!(true);
        parts["added_tokens"] = json!([token]);
        let mut library = library(parts, TruncationDirection::Right);
        library.with_truncation(None).expect("no truncation");
        let ours = TextTokenizer::new(library.clone()).expect("a tokenizer");
        for behind in ["", "é"] {
            let text = format!("{}{behind}", part.repeat(30_000 / part.len()));
            let expected = library.encode_fast(text.as_str(), true).expect("tokens");
            assert_eq!(ours.tokenize(&text).expect("tokens").ids(), expected.get_ids(), "{content} {flag} {part}");
        }
    }
}

#[test]
fn a_text_says_whether_it_is_cut() {
    let _alone = alone();
    for parts in [bert(), byte_level(), unigram()] {
        for direction in [TruncationDirection::Right, TruncationDirection::Left] {
            let ours = TextTokenizer::new(library(parts.clone(), direction)).expect("a tokenizer");
            let tokens = |words: usize| ours.tokenize(&vec!["é"; words].join(" ")).expect("tokens");
            let fits = (1..).find(|&words| tokens(words).is_cut()).expect("a cut") - 1;
            let each = (tokens(2).len() - tokens(1).len()).max(1);
            assert_eq!(fits, (MAX_TOKENS - 2) / each);
            assert!(tokens(fits).len() <= MAX_TOKENS && tokens(fits + 1).len() == MAX_TOKENS);
        }
    }
    assert!(!Tokens::from_ids(vec![1; 1000]).is_cut());
}
