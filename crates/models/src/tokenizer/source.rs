//! The file that a tokenizer is made of: `tokenizer.json`, or the older files of each class.

use super::added::FromFile;
use super::class::Class;
use super::settings::MAX_TOKENIZER_BYTES;
use crate::error::{Error, Result};
use crate::files::{open_file, read_file, read_file_if_there};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{NormalizerWrapper, Precompiled};
use tokenizers::{AddedToken, Model, ModelWrapper, PostProcessorWrapper, Tokenizer, TruncationDirection};

/// A tokenizer's file, read.
pub(super) struct Source {
    pub(super) contents: Contents,
    pub(super) about: About,
}

/// What a class takes a vocabulary from.
pub(super) enum Contents {
    /// `tokenizer.json`.
    Json(Box<Tokenizer>),
    /// `vocab.txt`: a word a line.
    Words(Vec<u8>),
    /// `vocab.json` and `merges.txt`: ids by piece, and the pairs to merge, the first one first.
    BytePairs(Vocab, Merges),
}

/// What SentencePiece trains.
pub(super) struct Pieces {
    /// The pieces, and how likely they are.
    pub(super) likely: Vec<(String, f64)>,
    /// The table by which characters are normalised, if there is one.
    pub(super) characters: Option<Precompiled>,
}

impl Pieces {
    /// The place of a piece with this text.
    pub(super) fn place(&self, text: Option<&str>) -> Option<usize> {
        self.likely.iter().position(|(piece, _)| Some(piece.as_str()) == text)
    }
}

/// What is known of the file besides.
pub(super) struct About {
    pub(super) path: PathBuf,
    pub(super) tokens: FromFile,
    /// Whether its truncation cuts the beginning of a text.
    pub(super) cut_beginning: bool,
    /// Whether it is `tokenizer.json`.
    pub(super) is_json: bool,
    /// What it puts around a text.
    pub(super) around: Option<PostProcessorWrapper>,
}

impl About {
    /// The error for a tokenizer that cannot be made of the file.
    pub(super) fn failed(&self, source: tokenizers::Error) -> Error {
        Error::Tokenizer { path: self.path.clone(), source: source.into() }
    }

    fn of(path: PathBuf) -> Self {
        Self { path, tokens: FromFile::default(), cut_beginning: false, is_json: false, around: None }
    }
}

impl Source {
    /// Reads `tokenizer.json` in the folder, or without one the files that the class had before.
    pub(super) fn read(folder: &Path, class: Class) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if let Some(bytes) = read_file_if_there(&path, MAX_TOKENIZER_BYTES)? {
            return Self::parse(path, &bytes);
        }
        let older = match class {
            Class::Bert | Class::DistilBert | Class::MpNet => {
                let path = folder.join("vocab.txt");
                let words = read_file_if_there(&path, MAX_TOKENIZER_BYTES)?;
                words.map(|words| Self { contents: Contents::Words(words), about: About::of(path) })
            }
            Class::Roberta | Class::Qwen2 => Self::read_byte_pairs(folder)?,
            Class::File | Class::XlmRoberta | Class::Camembert => None,
        };
        older.map_or_else(|| Err(missing(folder, path, class)), Ok)
    }

    fn parse(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        let mut about = About::of(path);
        let Excerpt { tokens, cut_beginning } =
            serde_json::from_slice(bytes).map_err(|error| about.failed(error.into()))?;
        let tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| about.failed(error))?;
        let around = tokenizer.get_post_processor().cloned();
        about = About { tokens, cut_beginning, around, is_json: true, ..about };
        Ok(Self { contents: Contents::Json(Box::new(tokenizer)), about })
    }

    /// `vocab.json` and `merges.txt`; `None` without the former.
    fn read_byte_pairs(folder: &Path) -> Result<Option<Self>> {
        let about = About::of(folder.join("vocab.json"));
        let Some(bytes) = read_file_if_there(&about.path, MAX_TOKENIZER_BYTES)? else { return Ok(None) };
        let vocabulary: HashMap<String, u32> =
            serde_json::from_slice(&bytes).map_err(|error| about.failed(error.into()))?;
        let path = folder.join("merges.txt");
        let merges = read_file(&path, MAX_TOKENIZER_BYTES)?;
        let merges = merges_of(&merges).map_err(|source| Error::Tokenizer { path, source: source.into() })?;
        Ok(Some(Self { contents: Contents::BytePairs(vocabulary.into_iter().collect(), merges), about }))
    }
}

/// The pairs of `merges.txt`, one a line.
fn merges_of(bytes: &[u8]) -> tokenizers::Result<Merges> {
    let lines = (1..).zip(std::str::from_utf8(bytes)?.lines());
    let pair = |(number, line): (usize, &str)| match line.split_once(' ') {
        Some((left, right)) if !right.contains(' ') => Ok((left.to_owned(), right.to_owned())),
        _ => Err(format!("line {number} is {line:?}; expected two pieces with a space between").into()),
    };
    lines.filter(|(_, line)| !line.starts_with("#version")).map(pair).collect()
}

/// The error for a folder without a file that the class reads: it names `tokenizer.json`, which is what a model of
/// today has.
fn missing(folder: &Path, path: PathBuf, class: Class) -> Error {
    const OLDER: [&str; 6] =
        ["vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "tiktoken.model"];
    if let Some(name) = OLDER.into_iter().find(|name| folder.join(name).is_file()) {
        return Error::NotAModel {
            path,
            found: format!("not there, but {name}, of which no {} is made", class.name()),
            advice: "add tokenizer.json (load the tokenizer in Python and save it), or correct `tokenizer_class` in \
                     tokenizer_config.json"
                .to_owned(),
        };
    }
    open_file(&path).err().unwrap_or(Error::NotAModel {
        path,
        found: "not there when it was first looked for".to_owned(),
        advice: "load the model again".to_owned(),
    })
}

impl Contents {
    /// The tokenizer as `tokenizer.json` has it.
    pub(super) fn tokenizer(self) -> tokenizers::Result<Tokenizer> {
        match self {
            Self::Json(tokenizer) => Ok(*tokenizer),
            Self::Words(_) | Self::BytePairs(..) => Err("it does not say what splits a text".into()),
        }
    }

    /// Ids by word, of a model of any kind.
    pub(super) fn words(&self) -> tokenizers::Result<Vocab> {
        match self {
            Self::Json(tokenizer) => Ok(tokenizer.get_model().get_vocab().into_iter().collect()),
            Self::Words(bytes) => {
                std::str::from_utf8(bytes)?;
                WordPiece::read_bytes(bytes)
            }
            Self::BytePairs(vocabulary, _) => Ok(vocabulary.clone()),
        }
    }

    /// Byte-pair encoding by the file's pieces and pairs, with the other settings as the classes have them.
    pub(super) fn byte_pairs(&self, class: Class) -> tokenizers::Result<BPE> {
        let mut pairs = match self {
            Self::Json(tokenizer) => match tokenizer.get_model() {
                ModelWrapper::BPE(pairs) if pairs.continuing_subword_prefix.as_ref().is_none_or(String::is_empty) => {
                    pairs.clone()
                }
                ModelWrapper::BPE(_) => return Err("its `continuing_subword_prefix` is not empty".into()),
                other => return Err(wrong_model(other, class, "BPE")),
            },
            Self::BytePairs(vocabulary, merges) => {
                BPE::builder().vocab_and_merges(vocabulary.clone(), merges.clone()).build()?
            }
            Self::Words(_) => return Err("it has words, and no pairs to merge".into()),
        };
        pairs.dropout = None;
        pairs.unk_token = None;
        pairs.continuing_subword_prefix = None;
        pairs.end_of_word_suffix = None;
        pairs.fuse_unk = false;
        pairs.byte_fallback = false;
        pairs.ignore_merges = false;
        Ok(pairs)
    }

    /// The pieces of a vocabulary that says how likely each is.
    pub(super) fn pieces(&self, class: Class) -> tokenizers::Result<Pieces> {
        let Self::Json(tokenizer) = self else { return Err("it does not say how likely its pieces are".into()) };
        let likely = match tokenizer.get_model() {
            ModelWrapper::Unigram(pieces) => pieces.iter().cloned().collect(),
            other => return Err(wrong_model(other, class, "Unigram")),
        };
        let steps = match tokenizer.get_normalizer() {
            Some(NormalizerWrapper::Sequence(steps)) => steps.as_ref(),
            step => step.map_or(&[][..], std::slice::from_ref),
        };
        let characters = steps.iter().find_map(|step| match step {
            NormalizerWrapper::Precompiled(table) => Some(table.clone()),
            _ => None,
        });
        Ok(Pieces { likely, characters })
    }
}

fn wrong_model(model: &ModelWrapper, class: Class, needed: &str) -> tokenizers::Error {
    let kind = match model {
        ModelWrapper::BPE(_) => "BPE",
        ModelWrapper::WordPiece(_) => "WordPiece",
        ModelWrapper::WordLevel(_) => "WordLevel",
        ModelWrapper::Unigram(_) => "Unigram",
    };
    let advice = "correct `tokenizer_class` in tokenizer_config.json, or make it PreTrainedTokenizerFast to take the \
                  file as it is";
    format!("its model is {kind}; {} needs {needed}: {advice}", class.name()).into()
}

/// What is read of `tokenizer.json` here, besides what the library reads.
struct Excerpt {
    tokens: FromFile,
    cut_beginning: bool,
}

#[derive(serde::Deserialize)]
struct Listed {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(serde::Deserialize)]
struct Truncation {
    direction: Option<TruncationDirection>,
}

#[derive(serde::Deserialize)]
struct Padding {
    pad_token: Option<String>,
}

impl<'de> Deserialize<'de> for Excerpt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ExcerptVisitor)
    }
}

struct ExcerptVisitor;

impl<'de> Visitor<'de> for ExcerptVisitor {
    type Value = Excerpt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// Of two values for one key the last is taken, as Python does.
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Excerpt, A::Error> {
        let (mut listed, mut truncation, mut padding) = (Vec::new(), None, None);
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "added_tokens" => listed = entries.next_value::<Option<Vec<Listed>>>()?.unwrap_or_default(),
                "truncation" => truncation = entries.next_value::<Option<Truncation>>()?,
                "padding" => padding = entries.next_value::<Option<Padding>>()?,
                _ => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        let direction = truncation.and_then(|truncation| truncation.direction);
        let listed = listed.into_iter().map(|Listed { id, token }| (id, token)).collect();
        let tokens = FromFile { listed, pad_token: padding.and_then(|padding| padding.pad_token) };
        Ok(Excerpt { tokens, cut_beginning: matches!(direction, Some(TruncationDirection::Left)) })
    }
}
