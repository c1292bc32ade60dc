//! What decides a tokenizer: `tokenizer.json`, and the files beside it that override it.
//!
//! Several files say the same things, and contradict each other in real models. Who wins is the transformers library's
//! rule (version 5), since that is what embeddings are compared with:
//!
//! | class | text is normalised as | tokens are added from |
//! |---|---|---|
//! | `BertTokenizer` and its like; none named | `tokenizer_config.json` says, or the class's defaults | see [`added`] |
//! | `PreTrainedTokenizerFast`, `TokenizersBackend` | `tokenizer.json` says | the same, besides its own |
//!
//! sentence-transformers' `processor_kwargs` override `tokenizer_config.json`, as arguments of the call that loads a
//! tokenizer. Where its versions 5 and 6 differ, this is 6: a text is not trimmed, and `do_lower_case` of
//! `sentence_bert_config.json` is a step of the normaliser, so that special tokens in a text are found before it.

use super::added::{self, FromFile, Tokens};
use super::class::Class;
use crate::config::TextConfig;
use crate::error::{Error, Result};
use crate::files::read_file_if_there;
use crate::json::{Json, JsonFile, Keys, Others, Setting};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokenizers::models::wordpiece::{WordPiece, WordPieceBuilder};
use tokenizers::normalizers::{BertNormalizer, Lowercase, NormalizerWrapper, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, Model, PostProcessor, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy,
};

/// The most that is read of `tokenizer.json` or `vocab.txt`. Vocabularies of 250,000 words take less than 20 MB.
pub(crate) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// The keys of `tokenizer_config.json` that are read, and those that end in `_token`.
pub(crate) const TOKENIZER_READ: &[&str] = &[
    "tokenizer_class",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "model_max_length",
    "max_len",
    "truncation_side",
    "added_tokens_decoder",
    "additional_special_tokens",
    "extra_special_tokens",
    "model_specific_special_tokens",
    "add_bos_token",
    "add_eos_token",
    "split_special_tokens",
    "model_input_names",
    "fast_tokenizer_files",
    "processor_class",
    "init_inputs",
    "add_special_tokens",
    "tokenizer_truncation",
    "tokenizer_padding",
    "post_processor",
];

/// The end of the names of tokens: `unk_token`, `cls_token` and so on, and a model's own.
const TOKEN: &str = "_token";

/// The keys of `tokenizer_config.json`.
pub(crate) static TOKENIZER_KEYS: Keys = Keys {
    read: TOKENIZER_READ,
    read_ending: Some(TOKEN),
    harmless: &[
        (&["do_basic_tokenize", "never_split"], "the transformers library's tokenizers no longer have them"),
        (&["padding_side", "pad_token_type_id", "clean_up_tokenization_spaces"], "they change no token of a text"),
    ],
    // The transformers library's tokenizers have no other that changes a token.
    others: Others::Harmless,
};

/// `processor_kwargs` of sentence-transformers, which override `tokenizer_config.json`.
pub(crate) static PROCESSOR_KEYS: Keys = Keys {
    read: TOKENIZER_READ,
    read_ending: Some(TOKEN),
    harmless: &[
        crate::sentence::FROM_WHERE,
        (&["use_fast", "padding_side", "clean_up_tokenization_spaces"], "they change no token of a text"),
        (&["padding", "truncation", "max_length", "return_tensors"], "they are for a call, and do nothing in a load"),
    ],
    others: Others::Refused,
};

/// What the library writes for a token whose name is null.
const NO_NAME: &str = "None";

/// `tokenizer_config.json`, and what overrides it. Either may be absent.
#[derive(Debug, Default)]
pub(crate) struct TokenizerConfig {
    pub(crate) file: Option<JsonFile>,
    pub(crate) over: Option<JsonFile>,
}

impl TokenizerConfig {
    /// A setting, from the place that decides; `None` if neither file is there.
    pub(crate) fn get<'a>(&'a self, key: &'a str) -> Option<Setting<'a>> {
        Setting::last(self.places().map(|file| file.get(key)))
    }

    /// The files, the one that decides last.
    pub(crate) fn places(&self) -> impl Iterator<Item = &JsonFile> {
        [&self.file, &self.over].into_iter().flatten()
    }

    /// The named tokens, each from the place that decides, in the order in which the library meets the names.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Setting<'_>> {
        let over = move |key: &str| self.over.as_ref().filter(|over| over.has(key));
        let base = self.file.iter().flat_map(JsonFile::settings).map(move |setting| match over(setting.key()) {
            Some(over) => over.get(setting.key()),
            None => setting,
        });
        let new = self.over.iter().flat_map(JsonFile::settings);
        let is_new = move |setting: &Setting<'_>| !self.file.as_ref().is_some_and(|file| file.has(setting.key()));
        base.chain(new.filter(is_new)).filter(|setting| setting.key().ends_with(TOKEN))
    }

    /// A flag with a default. Null is no flag.
    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key).filter(Setting::is_there) {
            None => Ok(default),
            Some(setting) => setting.flag()?.ok_or_else(|| setting.wrong("true or false")),
        }
    }

    /// Refuses what would change a text's tokens and is not supported.
    fn check(&self) -> Result<()> {
        for (key, only, expected) in [
            ("split_special_tokens", &[Json::Bool(false)][..], "false: a text's special tokens are always found"),
            ("fast_tokenizer_files", &[], "null: tokenizer.json is read, whatever the library's version"),
            ("processor_class", &[], "null: a tokenizer alone is supported"),
            ("init_inputs", &[Json::Array(Vec::new())], "[]"),
            ("add_special_tokens", &[], "nothing: the transformers library refuses it here"),
            ("tokenizer_truncation", &[], "null: it is not supported"),
            ("tokenizer_padding", &[], "null: it is not supported"),
            ("post_processor", &[], "null: tokenizer.json has it"),
        ] {
            for file in self.places() {
                file.get(key).only(only, expected)?;
            }
        }
        // In the file they do nothing beside a tokenizer.json, and nothing in BERT's class.
        for key in ["add_bos_token", "add_eos_token", "tokenizer_class"] {
            if let Some(file) = &self.over {
                file.get(key).only(&[Json::Bool(false)], "nothing: it is not supported as an argument")?;
            }
        }
        Ok(())
    }

    /// Whether the model is given type ids.
    fn has_type_ids(&self) -> Result<bool> {
        let Some(setting) = self.get("model_input_names") else { return Ok(true) };
        let names = setting.convert("a list of names", Json::as_array)?;
        Ok(names.is_none_or(|names| names.contains(&"token_type_ids".into())))
    }
}

/// A tokenizer that is as the files say, with the model's own truncation and no padding.
pub(crate) struct Configured {
    pub(crate) tokenizer: Tokenizer,
    /// The file that it is made of: `tokenizer.json` or `vocab.txt`.
    pub(crate) path: PathBuf,
    /// The most tokens of a text: what it is cut to, or what the encoder has positions for.
    pub(crate) max_tokens: usize,
}

/// Makes the tokenizer of the files in the transformer's folder, for an encoder with `vocabulary` token ids.
///
/// The library is given untrusted files here; it may panic.
pub(crate) fn configure(folder: &Path, text: &TextConfig, vocabulary: usize) -> Result<Configured> {
    let config = &text.tokenizer;
    config.check()?;
    let class = class(folder, text)?;
    let source = Source::read(folder, class)?;
    let path = source.path.clone();
    let failed = |source: tokenizers::Error| Error::Tokenizer { path: path.clone(), source: source.into() };
    let tokens = added::read(folder, class, config, &source.tokens)?;
    let mut tokenizer = match class {
        Class::Bert => bert(&source, config, &tokens)?,
        Class::File => source.tokenizer().map_err(failed)?,
    };
    // Nothing may be cut or padded until it is known how.
    tokenizer.with_truncation(None).map_err(failed)?;
    tokenizer.with_padding(None);
    tokens.add_to(&mut tokenizer).map_err(failed)?;
    if class == Class::Bert {
        let template = template(&tokenizer, &tokens).map_err(failed)?;
        tokenizer.with_post_processor(Some(template));
    }
    if text.lower_case {
        lower_first(&mut tokenizer).map_err(failed)?;
    }
    // A token that no file names may be beyond the encoder's table: a text that has it is an error then.
    let defaults = tokens.defaults();
    let beyond = tokenizer.get_vocab(true).into_iter().filter(|(_, id)| *id as usize >= vocabulary);
    let beyond = beyond.filter(|(token, _)| !defaults.contains(token.as_str()));
    if let Some((token, id)) = beyond.min_by_key(|(_, id)| *id) {
        let message = format!("token {token:?} has id {id}, but config.json says vocab_size {vocabulary}");
        return Err(failed(message.into()));
    }
    if !config.has_type_ids()? {
        let encoding = tokenizer.encode_fast("", true).map_err(failed)?;
        if encoding.get_type_ids().iter().any(|id| *id != 0) {
            return Err(failed("its tokens have types, but `model_input_names` has no \"token_type_ids\"".into()));
        }
    }
    let special = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
    // The library subtracts one from the other without looking, and with fewer never cuts.
    let max_length = text.cut_to.filter(|tokens| *tokens >= special);
    if let Some(max_length) = max_length {
        let beginning = text.cut_beginning.unwrap_or(source.cut_beginning);
        let direction = if beginning { TruncationDirection::Left } else { TruncationDirection::Right };
        let strategy = TruncationStrategy::LongestFirst;
        let truncation = TruncationParams { max_length, strategy, stride: 0, direction };
        tokenizer.with_truncation(Some(truncation)).map_err(failed)?;
    }
    Ok(Configured { tokenizer, path, max_tokens: max_length.unwrap_or(text.positions) })
}

/// The class: of `tokenizer_config.json`, else of `config.json`, else BERT's.
fn class(folder: &Path, text: &TextConfig) -> Result<Class> {
    const EXPECTED: &str = "\"BertTokenizer\", or \"PreTrainedTokenizerFast\", which takes tokenizer.json as it is: no \
                            other class is supported";
    let setting = text.tokenizer.file.as_ref().map(|file| file.get("tokenizer_class"));
    let first = setting.map(|setting| setting.string()).transpose()?.flatten();
    let second = text.tokenizer_class.as_deref().filter(|name| !name.is_empty());
    let wrong = |name: &str| match (setting, first) {
        (Some(setting), Some(first)) if first == name => setting.wrong(EXPECTED),
        _ => Error::Setting {
            path: folder.join("config.json"),
            key: "tokenizer_class".to_owned(),
            given: format!("{name:?}"),
            expected: EXPECTED.to_owned(),
        },
    };
    let name = match (first, second) {
        (None, None) => return Ok(Class::Bert),
        // An empty name is one that the library does not know, and does not keep it from asking the second place.
        (Some(""), Some("BertTokenizer" | "BertTokenizerFast")) => "",
        (Some(""), Some(second)) | (None, Some(second)) => second,
        (Some(first), _) => first,
    };
    Class::named(name).ok_or_else(|| wrong(name))
}

/// The tokenizer that `BertTokenizer` builds around a vocabulary.
fn bert(source: &Source, config: &TokenizerConfig, tokens: &Tokens) -> Result<Tokenizer> {
    let failed = |error: tokenizers::Error| Error::Tokenizer { path: source.path.clone(), source: error.into() };
    let strip_accents = config.get("strip_accents").map(|setting| setting.flag()).transpose()?.flatten();
    let chinese = config.flag("tokenize_chinese_chars", true)?;
    let lower_case = config.flag("do_lower_case", true)?;
    let model = source.vocabulary().map_err(failed)?;
    let model = model.unk_token(tokens.content("unk_token").unwrap_or(NO_NAME).to_owned());
    let mut tokenizer = Tokenizer::new(model.build().map_err(failed)?);
    let normalizer = BertNormalizer::new(true, chinese, strip_accents, lower_case);
    tokenizer.with_normalizer(Some(normalizer)).map_err(failed)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    Ok(tokenizer)
}

/// `BertTokenizer`'s frame: `[CLS]` before a text and `[SEP]` after it, whatever they are called.
fn template(tokenizer: &Tokenizer, tokens: &Tokens) -> tokenizers::Result<TemplateProcessing> {
    // Without a name the class takes these ids.
    let token = |key: &str, default: u32| {
        let content = tokens.content(key).unwrap_or(NO_NAME);
        (content.to_owned(), tokens.content(key).and_then(|name| tokenizer.token_to_id(name)).unwrap_or(default))
    };
    let (first, last) = (token("cls_token", 2), token("sep_token", 3));
    let piece = |(name, _): &(String, u32)| serde_json::json!({"SpecialToken": {"id": name, "type_id": 0}});
    let special = [&first, &last]
        .map(|(name, id)| (name.clone(), serde_json::json!({"id": name, "ids": [id], "tokens": [name]})));
    let template = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [piece(&first), {"Sequence": {"id": "A", "type_id": 0}}, piece(&last)],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": special.into_iter().collect::<serde_json::Map<_, _>>(),
    });
    Ok(serde_json::from_value(template)?)
}

/// Puts lower-casing before the normaliser, unless it has it as a step of its own.
fn lower_first(tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
    let steps = match tokenizer.get_normalizer() {
        None => Vec::new(),
        Some(NormalizerWrapper::Sequence(steps)) => steps.as_ref().to_vec(),
        Some(step) => vec![step.clone()],
    };
    if steps.iter().any(|step| matches!(step, NormalizerWrapper::Lowercase(_))) {
        return Ok(());
    }
    let steps = [vec![NormalizerWrapper::Lowercase(Lowercase)], steps].concat();
    tokenizer.with_normalizer(Some(Sequence::new(steps)))?;
    Ok(())
}

/// The file that a tokenizer is made of.
struct Source {
    path: PathBuf,
    bytes: Vec<u8>,
    /// `tokenizer.json`, or else `vocab.txt`.
    is_json: bool,
    tokens: FromFile,
    /// Whether its truncation cuts the beginning of a text.
    cut_beginning: bool,
}

impl Source {
    fn read(folder: &Path, class: Class) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if let Some(bytes) = read_file_if_there(&path, MAX_TOKENIZER_BYTES)? {
            let error = |error: serde_json::Error| Error::Tokenizer { path: path.clone(), source: Arc::new(error) };
            let Excerpt { tokens, cut_beginning } = serde_json::from_slice(&bytes).map_err(error)?;
            return Ok(Self { path, bytes, is_json: true, tokens, cut_beginning });
        }
        let vocabulary = folder.join("vocab.txt");
        match read_file_if_there(&vocabulary, MAX_TOKENIZER_BYTES)? {
            Some(bytes) if class == Class::Bert => {
                Ok(Self { path: vocabulary, bytes, is_json: false, tokens: FromFile::default(), cut_beginning: false })
            }
            Some(_) => Err(Error::NotAModel {
                path,
                found: "not there, but a vocab.txt, of which `tokenizer_class` in tokenizer_config.json cannot be made"
                    .to_owned(),
                advice: "add tokenizer.json, or make the class BertTokenizer".to_owned(),
            }),
            // The error names tokenizer.json, which is what a model of today has.
            None => Err(crate::files::open_file(&path).err().unwrap_or(Error::NotAModel {
                path,
                found: "not there when it was first looked for".to_owned(),
                advice: "load the model again".to_owned(),
            })),
        }
    }

    /// The tokenizer as the file has it.
    fn tokenizer(&self) -> tokenizers::Result<Tokenizer> {
        Tokenizer::from_bytes(&self.bytes)
    }

    /// A model with the file's vocabulary.
    fn vocabulary(&self) -> tokenizers::Result<WordPieceBuilder> {
        if !self.is_json {
            std::str::from_utf8(&self.bytes)?;
            return Ok(WordPiece::builder().vocab(WordPiece::read_bytes(&self.bytes)?));
        }
        let mut vocabulary = WordPiece::read_bytes(b"")?;
        vocabulary.extend(self.tokenizer()?.get_model().get_vocab());
        Ok(WordPiece::builder().vocab(vocabulary))
    }
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
