//! The classes with the likeliest pieces of words, as SentencePiece finds them: XLM-RoBERTa's and CamemBERT's.

use crate::tokenizer::added::Tokens;
use crate::tokenizer::settings::TokenizerConfig;
use crate::tokenizer::source::Pieces;
use tokenizers::Tokenizer;
use tokenizers::models::unigram::Unigram;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;

/// Whether a word begins with a space: whatever Python takes for true.
pub(super) fn prefix(config: &TokenizerConfig) -> bool {
    config.get("add_prefix_space").is_none_or(|setting| !setting.is_there() || setting.is_truthy())
}

/// The tokenizer that the classes build around the pieces, of which one is the unknown one.
pub(super) fn tokenizer(prefix: bool, pieces: Pieces, unknown: usize) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(Unigram::from(pieces.likely, Some(unknown), false)?);
    tokenizer.with_normalizer(pieces.characters)?;
    let scheme = if prefix { PrependScheme::Always } else { PrependScheme::Never };
    let spaces = Metaspace::new('▁', scheme, true);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![WhitespaceSplit.into(), spaces.into()])));
    Ok(tokenizer)
}

/// What they put around a text and a pair.
pub(super) fn template(tokenizer: &Tokenizer, tokens: &Tokens) -> tokenizers::Result<TemplateProcessing> {
    let first = tokens.named_id("bos_token", None, tokenizer)?;
    let last = tokens.named_id("eos_token", None, tokenizer)?;
    let (bos, eos) = (first.0.as_str(), last.0.as_str());
    let mut template = TemplateProcessing::builder();
    template.try_single(vec![bos, "$A", eos])?.try_pair(vec![bos, "$A", eos, eos, "$B", eos])?;
    template.special_tokens(vec![first.clone(), last.clone()]);
    Ok(template.build()?)
}
