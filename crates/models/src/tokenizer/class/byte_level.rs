//! The classes with byte-pair encoding over the bytes of a text: RoBERTa's and Qwen2's.

use crate::error::Result;
use crate::json::Json;
use crate::tokenizer::added::Tokens;
use crate::tokenizer::settings::TokenizerConfig;
use crate::tokenizer::source::About;
use tokenizers::Tokenizer;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizer::SplitDelimiterBehavior;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;

/// How Qwen2's class splits a text.
pub(in crate::tokenizer) const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Whether a space is put before a text.
pub(super) fn prefix(config: &TokenizerConfig) -> Result<bool> {
    config.flag("add_prefix_space", false)
}

/// The same for Qwen2's class, for which null is no flag.
pub(super) fn prefix_or_null(config: &TokenizerConfig) -> Result<bool> {
    match config.get("add_prefix_space").and_then(|setting| setting.value()) {
        None => Ok(false),
        Some(_) => prefix(config),
    }
}

/// RoBERTa's.
pub(super) fn roberta(prefix: bool, pairs: BPE) -> Tokenizer {
    let mut tokenizer = Tokenizer::new(pairs);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(prefix, true, true)));
    tokenizer
}

/// Qwen2's.
pub(super) fn qwen2(prefix: bool, pairs: BPE) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(pairs);
    tokenizer.with_normalizer(Some(NFC))?;
    let pattern = SplitPattern::Regex(QWEN2.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
    let bytes = ByteLevel::new(prefix, true, false);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])));
    Ok(tokenizer)
}

/// Qwen2's class takes what surrounds a text from `tokenizer.json`, and adds the special tokens once more, without
/// their flags.
pub(super) fn finish_qwen2(
    tokenizer: &mut Tokenizer,
    about: &About,
    config: &TokenizerConfig,
    tokens: &Tokens,
) -> tokenizers::Result<()> {
    let around = match &about.around {
        None if !about.is_json => Some(ends(tokenizer, config, tokens)?.into()),
        around => around.clone(),
    };
    tokenizer.with_post_processor(around);
    tokens.add_special_to(tokenizer)
}

/// Without a `tokenizer.json`, `add_bos_token` and `add_eos_token` say what surrounds a text.
fn ends(tokenizer: &Tokenizer, config: &TokenizerConfig, tokens: &Tokens) -> tokenizers::Result<TemplateProcessing> {
    let end = |flag: &str, name: &str| {
        let is_wanted = config.file.as_ref().is_some_and(|file| file.get(flag).value().is_some_and(Json::is_truthy));
        let is_there = is_wanted && tokens.content(name).is_some();
        is_there.then(|| tokens.named_id(name, None, tokenizer)).transpose()
    };
    let (bos, eos) = (end("add_bos_token", "bos_token")?, end("add_eos_token", "eos_token")?);
    let part = |text: &str, type_id: u32| {
        let name = |end: &Option<(String, u32)>| end.as_ref().map(|(name, _)| format!("{name}:{type_id}"));
        let parts = [name(&bos), Some(format!("{text}:{type_id}")), name(&eos)];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let (first, second) = (part("$A", 0), part("$B", 1));
    let mut template = TemplateProcessing::builder();
    template.try_pair(format!("{first} {second}"))?.try_single(first)?;
    template.special_tokens(bos.into_iter().chain(eos).collect::<Vec<_>>());
    Ok(template.build()?)
}
