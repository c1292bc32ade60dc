//! A fuzzer: the tokens of random texts by random tokenizers, beside the library's of the whole text.
//!
//! `THALWEG_FUZZ_SECONDS` says how long it runs (`make fuzz`); else it tries a few thousand texts.

mod support;

use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use support::seed;
use thalweg_models::Error;
use thalweg_models::testing::TextTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    Encoding, PostProcessor, PostProcessorWrapper, Token, TruncationDirection, TruncationParams, TruncationStrategy,
};

/// More bytes than the library is given where nothing splits.
const WHOLE: usize = 64 << 10;

#[test]
fn tokens_are_the_librarys_of_the_whole_text() {
    let mut random = Rng::with_seed(seed());
    let seconds = std::env::var("THALWEG_FUZZ_SECONDS").ok().map(|seconds| seconds.parse().expect("a number"));
    let (start, mut done, mut tried) = (Instant::now(), 0, [0; 3]);
    let goes_on = |done: u32| match seconds {
        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
        None => done < 150,
    };
    while goes_on(done) {
        done += 1;
        let settings = settings(&mut random);
        // Not every draw is a tokenizer: an added token that is normalized to nothing, for example.
        let Ok(mut library) = tokenizers::Tokenizer::from_bytes(settings.to_string()) else { continue };
        let special = library.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        let mut whole = library.clone();
        whole.with_post_processor(None::<PostProcessorWrapper>);
        let room = [0, 1, 2, 3, 7, 22, 126, 510, 5000][random.usize(..9)];
        let room = (random.u8(..12) > 0 && special + room > 0).then_some(room);
        let direction = [TruncationDirection::Right, TruncationDirection::Left][random.usize(..2)];
        let truncation = room.map(|room| TruncationParams {
            max_length: special + room,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction,
        });
        library.with_truncation(truncation).unwrap();
        let ours = TextTokenizer::new(library.clone()).unwrap();
        for _ in 0..25 {
            let text = text(&mut random, &settings);
            let outcome = compare(&ours, &library, &whole, &text);
            tried[outcome.as_ref().map_or(2, |cut| usize::from(*cut))] += 1;
            if let Err(Some(why)) = outcome {
                let text = if text.len() < 2000 { format!("{text:?}") } else { format!("{} bytes", text.len()) };
                panic!("{why}\ntext {text}\nroom for {room:?}, {direction:?}\n{settings}");
            }
        }
    }
    println!("{done} tokenizers; texts: {} whole, {} cut, {} refused", tried[0], tried[1], tried[2]);
    assert!(tried[0] > 0 && tried[1] > 0);
}

/// Whether the text was cut; else what is wrong, or nothing if both refuse it.
fn compare(
    ours: &TextTokenizer,
    library: &tokenizers::Tokenizer,
    whole: &tokenizers::Tokenizer,
    text: &str,
) -> Result<bool, Option<String>> {
    let ours = match ours.tokenize(text) {
        Err(Error::TextTooLong { bytes, .. }) if bytes > WHOLE => return Err(None),
        ours => ours,
    };
    // Only fails where a word is unknown and there is no token for that. Where it is not needed, it need not be met.
    let Ok(whole) = whole.encode_fast(text, true) else {
        return ours.map_or(Err(None), |ours| ours.is_cut().then_some(true).ok_or(Some("no error".into())));
    };
    let (expected, cut) = surrounded(library, whole.get_ids());
    // The library's own truncation keeps what it cuts off, in quadratic memory for some templates.
    if text.len() < 100 {
        let own = library.encode_fast(text, true).map_err(|error| Some(error.to_string()))?;
        assert_eq!((expected.get_ids(), expected.get_type_ids()), (own.get_ids(), own.get_type_ids()), "{text:?}");
    }
    let ours = ours.map_err(|error| Some(error.to_string()))?;
    if ours.is_cut() != cut {
        return Err(Some(format!("cut: {}, of {} tokens", ours.is_cut(), whole.len())));
    }
    if ours.type_ids() != expected.get_type_ids() {
        return Err(Some(format!("types {:?}, expected {:?}", ours.type_ids(), expected.get_type_ids())));
    }
    if ours.ids() != expected.get_ids() {
        let at = ours.ids().iter().zip(expected.get_ids()).position(|(a, b)| a != b);
        let near = |ids: &[u32]| ids.iter().copied().skip(at.unwrap_or(0)).take(20).collect::<Vec<_>>();
        return Err(Some(format!("{:?} at {at:?}, expected {:?}", near(ours.ids()), near(expected.get_ids()))));
    }
    Ok(cut)
}

/// The ids of a text cut and surrounded as the library's settings say, and whether they were cut.
fn surrounded(library: &tokenizers::Tokenizer, ids: &[u32]) -> (Encoding, bool) {
    let special = library.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
    let kept = match library.get_truncation() {
        Some(truncation) => {
            let room = ids.len().min(truncation.max_length - special);
            match truncation.direction {
                TruncationDirection::Right => &ids[..room],
                TruncationDirection::Left => &ids[ids.len() - room..],
            }
        }
        None => ids,
    };
    let tokens = kept.iter().map(|&id| Token::new(id, String::new(), (0, 0))).collect();
    let kept_all = Encoding::from_tokens(tokens, 0);
    let surrounded = match library.get_post_processor() {
        Some(processor) => processor.process(kept_all, None, true).expect("special tokens"),
        None => kept_all,
    };
    (surrounded, kept.len() < ids.len())
}

fn pick<T: Clone>(random: &mut Rng, of: &[T]) -> T {
    of[random.usize(..of.len())].clone()
}

/// A tokenizer.json.
fn settings(random: &mut Rng) -> Value {
    let kind = random.usize(..10);
    let (model, normalizer, pre_tokenizer) = match kind {
        0..5 => (word_piece(random), bert_normalizer(random), json!({"type": "BertPreTokenizer"})),
        5..7 => (byte_level(random), normalizer(random), byte_level_split(random)),
        7..9 => (unigram(random), normalizer(random), metaspace(random)),
        _ => (word_piece(random), normalizer(random), pre_tokenizer(random)),
    };
    let vocabulary = match &model["vocab"] {
        Value::Object(vocabulary) => vocabulary.keys().cloned().collect(),
        Value::Array(vocabulary) => vocabulary.iter().filter_map(|entry| Some(entry[0].as_str()?.to_owned())).collect(),
        _ => Vec::new(),
    };
    let flag = |random: &mut Rng| random.u8(..4) == 0;
    let mut contents = BTreeSet::new();
    let calm = random.bool();
    for _ in 0..random.usize(..5) {
        contents.insert(match random.u8(..8) {
            0 if !calm => random.choice(&vocabulary).cloned().unwrap_or_default(),
            1..4 if !calm => pick(random, &ODD_TOKENS).to_owned(),
            _ => pick(random, &["[MASK]", "[CLS]", "[SEP]", "<mask>", "</s>", "[PAD]"]).to_owned(),
        });
    }
    contents.remove("");
    let added: Vec<Value> = contents
        .iter()
        .enumerate()
        .map(|(index, content)| {
            let known = vocabulary.iter().position(|piece| piece == content);
            json!({"id": known.unwrap_or(vocabulary.len() + index), "content": content, "special": random.bool(),
                   "single_word": !calm && flag(random), "lstrip": flag(random), "rstrip": !calm && flag(random),
                   "normalized": !calm && flag(random)})
        })
        .collect();
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
           "pre_tokenizer": pre_tokenizer, "post_processor": post_processor(random), "decoder": null, "model": model})
}

/// What is odd as an added token: parts of words, white space inside, punctuation, not ASCII, longer and shorter.
const ODD_TOKENS: [&str; 17] = [
    "the", "The", "a", "ab", "abab", "New York", "a ", " b", "!b€", "[", "x!y", "é", "水", "水字", "e\u{301}", "#",
    "-->",
];

fn post_processor(random: &mut Rng) -> Value {
    let special = |token: &str, id: usize| json!({"id": token, "ids": [id], "tokens": [token]});
    let token = |token: &str, id: usize| json!({"SpecialToken": {"id": token, "type_id": id}});
    let template = |single: Value| {
        json!({"type": "TemplateProcessing", "single": single,
               "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
               "special_tokens": {"[CLS]": special("[CLS]", 2), "[SEP]": special("[SEP]", 3),
                                  "three": {"id": "three", "ids": [1, 2, 1], "tokens": ["a", "b", "a"]}}})
    };
    let text = |type_id: usize| json!({"Sequence": {"id": "A", "type_id": type_id}});
    match random.u8(..8) {
        0 => json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}),
        1 => json!({"type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2], "trim_offsets": true,
                    "add_prefix_space": true}),
        2 => Value::Null,
        3 => template(json!([token("three", 5), text(7), token("[SEP]", 1)])),
        4 => template(json!([token("[CLS]", 0), text(0), token("[SEP]", 0), text(1)])),
        5 => json!({"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            template(json!([token("[CLS]", 1), text(0)]))]}),
        _ => template(json!([token("[CLS]", 0), text(0), token("[SEP]", 0)])),
    }
}

fn bert_normalizer(random: &mut Rng) -> Value {
    let strip = pick(random, &[json!(null), json!(true), json!(false)]);
    let bert = json!({"type": "BertNormalizer", "clean_text": random.u8(..4) > 0, "strip_accents": strip,
                      "handle_chinese_chars": random.u8(..4) > 0, "lowercase": random.bool()});
    match random.u8(..8) {
        0 => Value::Null,
        1 => json!({"type": "Sequence", "normalizers": [normalizer(random), bert]}),
        2 => json!({"type": "Sequence", "normalizers": [bert, normalizer(random)]}),
        3 => normalizer(random),
        _ => bert,
    }
}

fn normalizer(random: &mut Rng) -> Value {
    let of = |kind: &str| json!({"type": kind});
    match random.u8(..14) {
        0 => of("NFC"),
        1 => of("NFD"),
        2 => of("NFKC"),
        3 => of("NFKD"),
        4 => of("Lowercase"),
        5 => of("Nmt"),
        6 => json!({"type": "Sequence", "normalizers": [of("NFD"), of("StripAccents"), of("Lowercase")]}),
        7 => json!({"type": "Sequence", "normalizers": [
            of("Nmt"), of("NFKC"), {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}),
        8 => json!({"type": "Strip", "strip_left": random.bool(), "strip_right": random.bool()}),
        9 => json!({"type": "Replace", "pattern": {"String": pick(random, &["a", "ab", " ", "``"])},
                    "content": pick(random, &["", "b", " ", "\""])}),
        10 => json!({"type": "Prepend", "prepend": "▁"}),
        _ => Value::Null,
    }
}

fn metaspace(random: &mut Rng) -> Value {
    let scheme = pick(random, &["always", "first", "never"]);
    let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
                           "split": random.u8(..4) > 0});
    match random.u8(..3) {
        0 => metaspace,
        1 => json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]}),
        _ => json!({"type": "Sequence", "pretokenizers": [pre_tokenizer(random), metaspace]}),
    }
}

fn byte_level_split(random: &mut Rng) -> Value {
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": random.bool(), "trim_offsets": true,
                       "use_regex": random.u8(..4) > 0});
    match random.u8(..3) {
        0 => json!({"type": "Sequence", "pretokenizers": [pre_tokenizer(random), bytes]}),
        _ => bytes,
    }
}

fn pre_tokenizer(random: &mut Rng) -> Value {
    let of = |kind: &str| json!({"type": kind});
    match random.u8(..7) {
        0 => of("Whitespace"),
        1 => of("WhitespaceSplit"),
        2 => json!({"type": "Punctuation", "behavior": "Isolated"}),
        3 => json!({"type": "Digits", "individual_digits": random.bool()}),
        4 => json!({"type": "Split", "pattern": {"Regex": "\\s?\\w+|."}, "behavior": "Isolated", "invert": false}),
        5 => of("UnicodeScripts"),
        _ => of("BertPreTokenizer"),
    }
}

const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// Strings that pieces of words are made of.
const SYLLABLES: [&str; 16] = ["a", "b", "ab", "the", "e", "r", "n", "s", "T", "Th", "1", "20", "é", "ж", "水", "ing"];

fn syllables(random: &mut Rng, most: usize) -> String {
    (0..random.usize(1..=most)).map(|_| pick(random, &SYLLABLES)).collect()
}

fn word_piece(random: &mut Rng) -> Value {
    let prefix = pick(random, &["##", "##", "##", "@@", "", "a"]);
    let mut pieces: BTreeSet<String> = BTreeSet::new();
    for _ in 0..random.usize(20..120) {
        let piece = syllables(random, 4);
        pieces.insert(if random.bool() { piece } else { format!("{prefix}{piece}") });
    }
    pieces.extend("!\"#$.,-[]'()_`~\0\x7f".chars().filter(|_| random.u8(..4) > 0).map(String::from));
    pieces.extend(["##", prefix, "", " "].map(String::from));
    if random.bool() {
        // Most words are known.
        let letters = || ('a'..='z').chain('0'..='9');
        pieces.extend(letters().map(String::from).chain(letters().map(|letter| format!("{prefix}{letter}"))));
    }
    let unknown = pick(random, &["[UNK]", "[UNK]", "[UNK]", "[PAD]", "missing"]);
    let pieces = SPECIAL.into_iter().map(String::from).chain(pieces);
    let vocabulary: BTreeMap<String, usize> = pieces.enumerate().map(|(id, piece)| (piece, id)).collect();
    json!({"type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": prefix,
           "max_input_chars_per_word": pick(random, &[100, 100, 100, 5, 1, 0, 1000]), "vocab": vocabulary})
}

fn byte_level(random: &mut Rng) -> Value {
    let mut pieces: Vec<String> = SPECIAL.map(String::from).into();
    let mut alphabet: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
    alphabet.sort();
    pieces.extend(alphabet);
    let mut merges = Vec::new();
    let mut common: Vec<String> = ["Ġ", "t", "h", "e", "a", "b", "n", "g", "Ã", "©"].map(String::from).into();
    for _ in 0..random.usize(..80) {
        let (left, right) = (pick(random, &common), pick(random, &common));
        let merged = format!("{left}{right}");
        if !pieces.contains(&merged) {
            merges.push(json!([left, right]));
            pieces.push(merged.clone());
            common.push(merged);
        }
    }
    let vocabulary: BTreeMap<String, usize> = pieces.into_iter().enumerate().map(|(id, piece)| (piece, id)).collect();
    json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
           "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": merges})
}

fn unigram(random: &mut Rng) -> Value {
    let mut pieces: BTreeSet<String> = ["▁", "<", ">", "!", "."].map(String::from).into();
    for _ in 0..random.usize(20..120) {
        let piece = syllables(random, 3);
        pieces.insert(if random.bool() { piece } else { format!("▁{piece}") });
    }
    let pieces = SPECIAL.into_iter().map(String::from).chain(pieces);
    let vocabulary: Vec<Value> = pieces.map(|piece| json!([piece, -10.0 * random.f64()])).collect();
    json!({"type": "Unigram", "unk_id": 1, "vocab": vocabulary, "byte_fallback": false})
}

/// A text that is odd in the ways that tokenizers care about.
fn text(random: &mut Rng, settings: &Value) -> String {
    const SPACES: [&str; 12] =
        [" ", " ", " ", "  ", "\n", "\t", "\r\n", "\u{b}", "\u{c}", "\u{a0}", "\u{3000}", "\u{85}"];
    const ODD: [&str; 33] = [
        "\0",
        "\x7f",
        "\x01",
        "\u{301}",
        "\u{345}",
        "\u{200d}",
        "\u{200b}",
        "\u{feff}",
        "\u{fffd}",
        "\u{ad}",
        "İ",
        "ß",
        "Σ",
        "ﬁ",
        "①",
        "水字",
        "文",
        "한국",
        "ᄒ",
        "ᅡ",
        "と",
        "が",
        "か\u{3099}",
        "ไทย",
        "नी",
        "👩‍👩‍👧",
        "€",
        "“",
        "…",
        "\u{600}",
        "。",
        "，",
        "水。",
    ];
    const SIGNS: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    let added = settings["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    // How much there is of each in this text.
    let weights: [u32; 6] = match random.u8(..7) {
        0 => [40, 40, 5, 0, 0, 0],
        1 => [30, 30, 5, 1, 0, 1],
        2 => [10, 10, 5, 10, 3, 2],
        3 => [0, 0, 0, 1, 0, 0],
        4 => [10, 0, 4, 0, 0, 0],
        5 => [300, 1, 0, 2, 0, 0],
        _ => [10, 8, 3, 1, 1, 2],
    };
    let target = match random.u8(..40) {
        0 => random.usize(..40_000),
        1 => 0,
        2..6 => random.usize(..4_000),
        _ => random.usize(..150),
    };
    let mut text = String::new();
    while text.len() < target {
        let mut draw = random.u32(..weights.iter().sum::<u32>());
        let kind = weights.iter().position(|weight| {
            let here = draw < *weight;
            draw = draw.saturating_sub(*weight);
            here
        });
        match kind {
            Some(0) => text.push_str(&syllables(random, 3)),
            Some(1) => text.push_str(pick(random, &SPACES[..if weights[3] == 0 { 4 } else { 12 }])),
            Some(2) => text.push(char::from(pick(random, SIGNS.as_bytes()))),
            Some(3) => text.push_str(pick(random, &ODD)),
            Some(4) => text.push(random.char(..)),
            _ => match random.choice(added) {
                Some(token) => text.push_str(token["content"].as_str().expect("a string")),
                None => text.push_str(&"x".repeat(random.usize(90..110))),
            },
        }
    }
    text
}
