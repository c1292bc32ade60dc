//! What decides a tokenizer: `tokenizer.json`, and the files beside it that override it.
//!
//! Several files say the same things, and contradict each other in real models. Who wins is the transformers library's
//! rule (version 5), since that is what embeddings are compared with: most [classes](Class) take the vocabulary alone
//! from `tokenizer.json`, and `PreTrainedTokenizerFast` all of it. Where tokens are added from is told in [`added`].
//!
//! sentence-transformers' `processor_kwargs` override `tokenizer_config.json`, as arguments of the call that loads a
//! tokenizer. Where its versions 5 and 6 differ, this is 6: a text is not trimmed, and `do_lower_case` of
//! `sentence_bert_config.json` is a step of the normaliser, so that special tokens in a text are found before it.

use super::added;
use super::class::Class;
use super::source::Source;
use crate::config::TextConfig;
use crate::error::Result;
use crate::json::{Json, JsonFile, Keys, Others, Setting};
use std::path::{Path, PathBuf};
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

/// The most that is read of `tokenizer.json`, or an older file in its place. Vocabularies of 250,000 words take less
/// than 20 MB.
pub(crate) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// The keys of `tokenizer_config.json` that are read, and those that end in `_token`.
pub(crate) const TOKENIZER_READ: &[&str] = &[
    "tokenizer_class",
    "auto_map",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "add_prefix_space",
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
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
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
        // In the file they do nothing beside a tokenizer.json, or have to do with the class.
        for key in ["add_bos_token", "add_eos_token", "tokenizer_class", "auto_map"] {
            if let Some(file) = &self.over {
                file.get(key).only(&[Json::Bool(false)], "nothing: it is not supported as an argument")?;
            }
        }
        Ok(())
    }

    /// Whether the model is given type ids.
    fn has_types(&self, class: Class) -> Result<bool> {
        let Some(setting) = self.get("model_input_names").filter(Setting::is_there) else {
            return Ok(class.has_types());
        };
        let names = setting.value().and_then(Json::as_array).ok_or_else(|| setting.wrong("a list of names"))?;
        Ok(names.contains(&"token_type_ids".into()))
    }
}

/// A tokenizer that is as the files say, with the model's own truncation and no padding.
pub(crate) struct Configured {
    pub(crate) tokenizer: Tokenizer,
    /// The file that it is made of.
    pub(crate) path: PathBuf,
    /// The most tokens of a text: what it is cut to, or what the encoder has positions for.
    pub(crate) max_tokens: usize,
    /// Whether the encoder is given the types of tokens.
    pub(crate) has_types: bool,
    /// The ids of the tokens that are special to the class.
    pub(crate) special: Vec<u32>,
}

/// Makes the tokenizer of the files in the transformer's folder, for an encoder with `vocabulary` token ids.
///
/// The library is given untrusted files here; it may panic.
pub(crate) fn configure(folder: &Path, text: &TextConfig, vocabulary: usize) -> Result<Configured> {
    let config = &text.tokenizer;
    config.check()?;
    let class = Class::of(config, &text.model)?;
    let Source { contents, about } = Source::read(folder, class)?;
    let failed = |error: tokenizers::Error| about.failed(error);
    let tokens = added::read(folder, class, config, &about.tokens)?;
    let mut tokenizer = class.tokenizer(contents, &about, config, &tokens)?;
    // Nothing may be cut or padded until it is known how.
    tokenizer.with_truncation(None).map_err(failed)?;
    tokenizer.with_padding(None);
    tokens.add_to(&mut tokenizer).map_err(failed)?;
    class.finish(&mut tokenizer, &about, config, &tokens).map_err(failed)?;
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
    let special = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
    // The library subtracts one from the other without looking, and with fewer never cuts.
    let max_length = text.cut_to.filter(|tokens| *tokens >= special);
    if let Some(max_length) = max_length {
        let beginning = text.cut_beginning.unwrap_or(about.cut_beginning);
        let direction = if beginning { TruncationDirection::Left } else { TruncationDirection::Right };
        let strategy = TruncationStrategy::LongestFirst;
        let truncation = TruncationParams { max_length, strategy, stride: 0, direction };
        tokenizer.with_truncation(Some(truncation)).map_err(failed)?;
    }
    Ok(Configured {
        has_types: config.has_types(class)?,
        special: tokens.special_ids(&tokenizer),
        max_tokens: max_length.unwrap_or(text.positions),
        tokenizer,
        path: about.path,
    })
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
