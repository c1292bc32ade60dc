//! The tokenizers of each class under the settings that decide them, with the token ids that the reference gives: of
//! texts, of pairs, and how many tokens a prompt has.
//!
//! `data/tokenizers.jsonl` has the cases. `scripts/make-tokenizer-references` writes it.

mod support;

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use support::set;
use thalweg_models::testing::TextTokenizer;

/// The ids of a text.
type Ids = Vec<u32>;
/// The ids of a pair, and the types if there are any but 0.
type Pair = Vec<Ids>;
/// Those that are not as before, by their places.
type Changed<T> = BTreeMap<String, T>;
/// What becomes of each file.
type Files = BTreeMap<String, Option<Contents>>;

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Contents {
    Text(String),
    /// The file of the base with these settings, by their paths.
    Changed(BTreeMap<String, Value>),
}

#[derive(Deserialize)]
struct Header {
    texts: Vec<String>,
    pairs: Vec<[String; 2]>,
    prompts: Vec<String>,
}

/// A tokenizer that is changed.
#[derive(Deserialize)]
struct Base {
    base: String,
    files: Files,
    #[serde(flatten)]
    values: Values<Vec<Ids>, Vec<Pair>, Vec<usize>>,
}

/// A change.
#[derive(Deserialize)]
struct Case {
    base: String,
    name: String,
    /// Those that it replaces.
    files: Files,
    /// Those that are not as before, by their places.
    #[serde(flatten)]
    values: Values<Changed<Ids>, Changed<Pair>, Changed<usize>>,
    error: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Values<Ids, Pairs, Prompts> {
    ids: Ids,
    /// Ids, and types if there are any but 0.
    pairs: Pairs,
    prompts: Prompts,
}

fn load(base: &Files, changes: &Files) -> thalweg_models::Result<TextTokenizer> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, contents) in base.iter().chain(changes) {
        let path = directory.path().join(name);
        match contents {
            None => drop(fs::remove_file(path)),
            Some(Contents::Text(text)) => fs::write(path, text).expect("a file"),
            Some(Contents::Changed(settings)) => {
                settings.iter().for_each(|(place, value)| set(&path, &format!("/{place}"), value.clone()));
            }
        }
    }
    let config = fs::read(directory.path().join("config.json")).expect("a config");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let size = |key: &str| usize::try_from(config[key].as_u64().expect("a number")).expect("a size");
    TextTokenizer::load(directory.path(), size("vocab_size"), size("max_position_embeddings"))
}

/// What is wrong with the tokenizer's values; nothing, if all is well.
fn difference(
    tokenizer: &TextTokenizer,
    base: &Base,
    case: &Case,
    header: &Header,
) -> thalweg_models::Result<Option<String>> {
    let (before, now) = (&base.values, &case.values);
    for (index, text) in header.texts.iter().enumerate() {
        let (tokens, ids) = (tokenizer.tokenize(text)?, now.ids.get(&index.to_string()).unwrap_or(&before.ids[index]));
        if tokens.ids() != ids {
            return Ok(Some(format!("{text:?} has ids {:?}, expected {ids:?}", tokens.ids())));
        }
    }
    for (index, pair) in header.pairs.iter().enumerate() {
        let expected = now.pairs.get(&index.to_string()).unwrap_or(&before.pairs[index]);
        let tokens = tokenizer.tokenize_pair(&pair[0], &pair[1])?;
        let types = expected.get(1).cloned().unwrap_or_else(|| vec![0; expected[0].len()]);
        if tokens.ids() != expected[0] || tokens.type_ids() != types {
            let found = [tokens.ids(), tokens.type_ids()];
            return Ok(Some(format!("{pair:?} has ids and types {found:?}, expected {expected:?}")));
        }
    }
    for (index, prompt) in header.prompts.iter().enumerate() {
        let expected = now.prompts.get(&index.to_string()).unwrap_or(&before.prompts[index]);
        let tokens = tokenizer.prompt_tokens(prompt)?;
        if tokens != *expected {
            return Ok(Some(format!("the prompt {prompt:?} has {tokens} tokens, expected {expected}")));
        }
    }
    Ok(None)
}

#[test]
fn every_class_as_the_reference_makes_it() {
    let mut lines = include_str!("data/tokenizers.jsonl").lines();
    let header: Header = serde_json::from_str(lines.next().expect("a header")).expect("a header");
    let mut bases = BTreeMap::new();
    let (mut wrong, mut cases) = (Vec::new(), 0);
    for line in lines {
        let case = match serde_json::from_str::<Case>(line) {
            Ok(case) => case,
            Err(_) => {
                let base: Base = serde_json::from_str(line).expect("a case or a base");
                bases.insert(base.base.clone(), base);
                continue;
            }
        };
        cases += 1;
        let base = &bases[&case.base];
        let result = load(&base.files, &case.files).and_then(|tokenizer| match &case.error {
            None => difference(&tokenizer, base, &case, &header),
            // Some fail there, and here, with a text.
            Some(_) => header.texts.iter().try_for_each(|text| tokenizer.tokenize(text).map(drop)).map(|()| None),
        });
        let what = match (result, &case.error) {
            (Ok(None), None) | (Err(_), Some(_)) => continue,
            (Ok(Some(what)), None) => what,
            (Ok(_), Some(error)) => format!("no error; the reference fails: {error}"),
            (Err(error), None) => error.to_string(),
        };
        wrong.push(format!("{} {}: {what}", case.base, case.name));
    }
    assert!(cases > 500, "only {cases} cases");
    assert!(wrong.is_empty(), "{} of {cases} cases:\n{}", wrong.len(), wrong.join("\n"));
}
