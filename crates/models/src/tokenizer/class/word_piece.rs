//! The classes with words of letters and punctuation, split into the longest pieces that a vocabulary has: BERT's and
//! MPNet's.

use crate::error::Result;
use crate::tokenizer::added::Tokens;
use crate::tokenizer::settings::TokenizerConfig;
use tokenizers::Tokenizer;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::template::TemplateProcessing;

/// How a text is normalised.
pub(super) struct Settings {
    strip_accents: Option<bool>,
    chinese: bool,
    lower_case: bool,
}

impl Settings {
    pub(super) fn read(config: &TokenizerConfig) -> Result<Self> {
        Ok(Self {
            strip_accents: config.get("strip_accents").map(|setting| setting.flag()).transpose()?.flatten(),
            chinese: config.flag("tokenize_chinese_chars", true)?,
            lower_case: config.flag("do_lower_case", true)?,
        })
    }
}

/// The tokenizer that the classes build around a vocabulary.
pub(super) fn tokenizer(settings: Settings, words: Vocab, tokens: &Tokens) -> tokenizers::Result<Tokenizer> {
    let Settings { strip_accents, chinese, lower_case } = settings;
    // What the library writes for a token whose name is null.
    let unknown = tokens.content("unk_token").unwrap_or("None");
    let model = WordPiece::builder().vocab(words).unk_token(unknown.to_owned()).build()?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, chinese, strip_accents, lower_case)))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    Ok(tokenizer)
}

/// BERT's frame: `[CLS]` before a text and `[SEP]` after each, whatever they are called. A null has these ids.
pub(super) fn template(tokenizer: &Tokenizer, tokens: &Tokens) -> tokenizers::Result<TemplateProcessing> {
    let first = tokens.named_id("cls_token", Some(2), tokenizer)?;
    let last = tokens.named_id("sep_token", Some(3), tokenizer)?;
    let (cls, sep) = (&first.0, &last.0);
    let single = format!("{cls}:0 $A:0 {sep}:0");
    let pair = format!("{single} $B:1 {sep}:1");
    let mut template = TemplateProcessing::builder();
    template.try_single(single)?.try_pair(pair)?.special_tokens(vec![first, last]);
    Ok(template.build()?)
}
