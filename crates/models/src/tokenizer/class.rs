//! Which of the transformers library's classes makes the tokenizer, by the rule of its `AutoTokenizer` (version 5), and
//! what each class makes of the files.
//!
//! Most classes build a tokenizer of their own around the vocabulary in `tokenizer.json`, and let the rest of that file
//! be:
//!
//! | class | model, normaliser, pre-tokeniser | around a text | around a pair |
//! |---|---|---|---|
//! | BERT, DistilBERT | [`word_piece`] | `[CLS] a [SEP]` | `[CLS] a [SEP] b [SEP]` |
//! | MPNet | [`word_piece`] | `<s> a </s>` | `<s> a </s></s> b </s>` |
//! | RoBERTa | [`byte_level`] | `<s> a </s>` | `<s> a </s></s> b </s>` |
//! | Qwen2 | [`byte_level`] | as `tokenizer.json` says | as `tokenizer.json` says |
//! | XLM-RoBERTa, CamemBERT | [`unigram`] | `<s> a </s>` | `<s> a </s></s> b </s>` |
//! | `TokenizersBackend` | as `tokenizer.json` says | as `tokenizer.json` says | as `tokenizer.json` says |
//!
//! The tokens are those that `tokenizer_config.json` names. Only BERT's class gives types to the tokens of a pair.

mod byte_level;
mod unigram;
mod word_piece;

use super::added::Tokens;
use super::settings::TokenizerConfig;
use super::source::{About, Contents};
use crate::error::Result;
use crate::json::{Json, JsonFile, Keys, Others};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{PostProcessorWrapper, Tokenizer};

/// How a tokenizer is made of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// `TokenizersBackend`, once named `PreTrainedTokenizerFast`: `tokenizer.json` is taken as it is.
    File,
    Bert,
    /// As BERT's, but for the types of tokens.
    DistilBert,
    MpNet,
    Roberta,
    Qwen2,
    XlmRoberta,
    Camembert,
}

/// The names of the classes, but for an ending "Fast". Several names are one class.
const NAMED: &[(&str, Class)] = &[
    ("BertTokenizer", Class::Bert),
    ("ElectraTokenizer", Class::Bert),
    ("LayoutLMTokenizer", Class::Bert),
    ("LxmertTokenizer", Class::Bert),
    ("MobileBertTokenizer", Class::Bert),
    ("SqueezeBertTokenizer", Class::Bert),
    ("DistilBertTokenizer", Class::DistilBert),
    ("MPNetTokenizer", Class::MpNet),
    ("RobertaTokenizer", Class::Roberta),
    ("BartTokenizer", Class::Roberta),
    ("LEDTokenizer", Class::Roberta),
    ("LongformerTokenizer", Class::Roberta),
    ("MvpTokenizer", Class::Roberta),
    ("Qwen2Tokenizer", Class::Qwen2),
    ("XLMRobertaTokenizer", Class::XlmRoberta),
    ("CamembertTokenizer", Class::Camembert),
];

/// Classes of the library with rules of their own. Any name that it does not know is [`Class::File`].
#[rustfmt::skip]
const OTHERS: &[&str] = &[
    "AlbertTokenizer", "BarthezTokenizer", "BartphoTokenizer", "BertGenerationTokenizer",
    "BertJapaneseTokenizer", "BertweetTokenizer", "BigBirdTokenizer", "BioGptTokenizer",
    "BlenderbotSmallTokenizer", "BlenderbotTokenizer", "ByT5Tokenizer", "CLIPTokenizer", "CTRLTokenizer",
    "CanineTokenizer", "ClvpTokenizer", "CodeGenTokenizer", "CodeLlamaTokenizer", "CohereTokenizer",
    "ConvBertTokenizer", "CpmAntTokenizer", "CpmTokenizer", "DPRContextEncoderTokenizer",
    "DPRQuestionEncoderTokenizer", "DPRReaderTokenizer", "DebertaTokenizer", "DebertaV2Tokenizer",
    "DiaTokenizer", "EsmTokenizer", "EsmcTokenizer", "FNetTokenizer", "FSMTTokenizer",
    "FastSpeech2ConformerTokenizer", "FlaubertTokenizer", "FunnelTokenizer", "GPT2Tokenizer",
    "GPTNeoXJapaneseTokenizer", "GPTNeoXTokenizer", "GPTSw3Tokenizer", "GemmaTokenizer", "HerbertTokenizer",
    "LasrTokenizer", "LayoutLMv2Tokenizer", "LayoutLMv3Tokenizer", "LayoutXLMTokenizer", "LlamaTokenizer",
    "LukeTokenizer", "M2M100Tokenizer", "MBart50Tokenizer", "MBartTokenizer", "MLukeTokenizer",
    "MarianTokenizer", "MarkupLMTokenizer", "MgpstrTokenizer", "MyT5Tokenizer", "NllbTokenizer",
    "NougatTokenizer", "OpenAIGPTTokenizer", "PLBartTokenizer", "ParakeetTokenizer", "PegasusTokenizer",
    "PerceiverTokenizer", "Phi3Tokenizer", "PhobertTokenizer", "Pop2PianoTokenizer", "ProphetNetTokenizer",
    "Qwen3_5Tokenizer", "RagTokenizer", "ReformerTokenizer", "RemBertTokenizer", "RoCBertTokenizer",
    "RoFormerTokenizer", "SeamlessM4TTokenizer", "Siglip2Tokenizer", "SiglipTokenizer", "Speech2TextTokenizer",
    "SpeechT5Tokenizer", "SplinterTokenizer", "T5Tokenizer", "TapasTokenizer", "Tipsv2Tokenizer",
    "UdopTokenizer", "VideoPrismTokenizer", "VitsTokenizer", "Wav2Vec2CTCTokenizer",
    "Wav2Vec2PhonemeCTCTokenizer", "WhisperTokenizer", "XGLMTokenizer", "XLMTokenizer", "XLNetTokenizer",
];

/// The name of the class for each `model_type`.
const REGISTERED: &[(&str, &str)] = &[
    ("bert", "BertTokenizer"),
    ("camembert", "CamembertTokenizer"),
    ("distilbert", "BertTokenizer"),
    ("electra", "BertTokenizer"),
    ("gte", "XLMRobertaTokenizer"),
    ("jina_embeddings_v3", "XLMRobertaTokenizer"),
    ("modernbert", BACKEND),
    ("mpnet", "MPNetTokenizer"),
    ("nomic_bert", "BertTokenizer"),
    ("qwen2", "Qwen2Tokenizer"),
    ("qwen3", "Qwen2Tokenizer"),
    ("roberta", "RobertaTokenizer"),
    ("xlm-roberta", "XLMRobertaTokenizer"),
    ("xlm-roberta-xl", BACKEND),
];

/// The name of [`Class::File`].
const BACKEND: &str = "TokenizersBackend";

/// What `model_type` or `model_name` says where the files are known to name a wrong class.
const WRONGLY_NAMED: &[&str] = &["camembertv2-base", "modernbert", "qwen2"];

const EXPECTED: &str = "\"BertTokenizer\", \"DistilBertTokenizer\", \"MPNetTokenizer\", \"RobertaTokenizer\", \
                        \"XLMRobertaTokenizer\", \"CamembertTokenizer\", \"Qwen2Tokenizer\", or \
                        \"PreTrainedTokenizerFast\", which takes tokenizer.json as it is: no other class is supported";

/// What is read of `config.json` here.
pub(crate) static MODEL_KEYS: Keys = Keys {
    read: &["model_type", "model_name", "tokenizer_class"],
    read_ending: None,
    harmless: &[],
    // The encoder's part of the file is read elsewhere.
    others: Others::Harmless,
};

impl Class {
    /// The class for these files: the one that `tokenizer_config.json` names, else `config.json`, else that of the
    /// kind of model. Some kinds have their own, whatever is named.
    pub(crate) fn of(config: &TokenizerConfig, model: &JsonFile) -> Result<Self> {
        let beside = config.file.as_ref().map(|file| file.get("tokenizer_class"));
        let first = beside.map(|setting| setting.string()).transpose()?.flatten();
        let inside = model.get("tokenizer_class");
        let second = inside.string()?;
        let kind = model.get("model_type").string()?;
        let own = REGISTERED.iter().find(|(name, _)| Some(*name) == kind).map(|(_, class)| *class);
        let said = first.filter(|name| !name.is_empty()).or(second);
        let name = match (said, own) {
            (Some(said), Some(own)) if !has_code(config) && plain(said) != plain(own) => {
                let names = [kind, model.get("model_name").string()?];
                let is_wrong = own == BACKEND || names.into_iter().flatten().any(|name| WRONGLY_NAMED.contains(&name));
                if is_wrong { own } else { said }
            }
            // An empty name is one that the library does not know, and does not keep it from asking the second place.
            _ => first.or(second.filter(|name| !name.is_empty())).or(own).unwrap_or(BACKEND),
        };
        Self::named(name).ok_or_else(|| match beside {
            Some(setting) if first == Some(name) => setting.wrong(EXPECTED),
            _ => inside.wrong(EXPECTED),
        })
    }

    /// The class of this name; `None` if it has rules of its own, which are not supported.
    fn named(name: &str) -> Option<Self> {
        let name = plain(name);
        match NAMED.iter().find(|(known, _)| *known == name) {
            Some((_, class)) => Some(*class),
            None if OTHERS.contains(&name) => None,
            None => Some(Self::File),
        }
    }

    /// What the library calls the class.
    pub(super) fn name(self) -> &'static str {
        NAMED.iter().find(|(_, class)| *class == self).map_or(BACKEND, |(name, _)| name)
    }

    /// What the class calls the tokens that every tokenizer has, where no file says it, in the order of
    /// [`NAMES`](super::added::NAMES).
    pub(super) fn names(self) -> [Option<&'static str>; 7] {
        let roberta =
            [Some("<s>"), Some("</s>"), Some("<unk>"), Some("</s>"), Some("<pad>"), Some("<s>"), Some("<mask>")];
        match self {
            Self::File => [None; 7],
            Self::Bert | Self::DistilBert => {
                [None, None, Some("[UNK]"), Some("[SEP]"), Some("[PAD]"), Some("[CLS]"), Some("[MASK]")]
            }
            Self::MpNet => {
                let [bos, eos, _, rest @ ..] = roberta;
                let [sep, pad, cls, mask] = rest;
                [bos, eos, Some("[UNK]"), sep, pad, cls, mask]
            }
            Self::Qwen2 => {
                let end = Some("<|endoftext|>");
                [None, end, end, None, end, None, None]
            }
            Self::Roberta | Self::XlmRoberta | Self::Camembert => roberta,
        }
    }

    /// Whether a mask token of which files give only the text takes the white space before it.
    pub(super) fn mask_takes_space(self) -> bool {
        matches!(self, Self::MpNet | Self::Camembert)
    }

    /// The class's additional tokens, where no file lists any.
    pub(super) fn extra(self) -> &'static [&'static str] {
        match self {
            Self::Camembert => &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
            _ => &[],
        }
    }

    /// Whether tokens have types, where `model_input_names` does not say it.
    pub(super) fn has_types(self) -> bool {
        self == Self::Bert
    }

    /// The tokenizer that the class builds, before tokens are added to it.
    pub(super) fn tokenizer(
        self,
        contents: Contents,
        about: &About,
        config: &TokenizerConfig,
        tokens: &Tokens,
    ) -> Result<Tokenizer> {
        let made = match self {
            Self::File => contents.tokenizer(),
            Self::Bert | Self::DistilBert | Self::MpNet => {
                let settings = word_piece::Settings::read(config)?;
                contents.words().and_then(|words| word_piece::tokenizer(settings, words, tokens))
            }
            Self::Roberta => {
                let prefix = byte_level::prefix(config)?;
                contents.byte_pairs(self).map(|pairs| byte_level::roberta(prefix, pairs))
            }
            Self::Qwen2 => {
                let prefix = byte_level::prefix_or_null(config)?;
                contents.byte_pairs(self).and_then(|pairs| byte_level::qwen2(prefix, pairs))
            }
            Self::XlmRoberta | Self::Camembert => {
                let prefix = unigram::prefix(config);
                contents.pieces(self).and_then(|pieces| {
                    let unknown = match self {
                        Self::Camembert => pieces.place(tokens.content("unk_token")).unwrap_or(0),
                        // Whatever the file says.
                        _ => 3,
                    };
                    unigram::tokenizer(prefix, pieces, unknown)
                })
            }
        };
        made.map_err(|error| about.failed(error))
    }

    /// What the class does when the tokens are there: what surrounds a text is made of them.
    pub(super) fn finish(
        self,
        tokenizer: &mut Tokenizer,
        about: &About,
        config: &TokenizerConfig,
        tokens: &Tokens,
    ) -> tokenizers::Result<()> {
        let around: PostProcessorWrapper = match self {
            Self::File => return Ok(()),
            Self::Bert | Self::DistilBert => word_piece::template(tokenizer, tokens)?.into(),
            Self::MpNet => pairs([("cls_token", Some(0)), ("sep_token", Some(2))], tokenizer, tokens)?.into(),
            Self::Roberta => pairs([("cls_token", None), ("sep_token", None)], tokenizer, tokens)?.into(),
            Self::Qwen2 => return byte_level::finish_qwen2(tokenizer, about, config, tokens),
            Self::XlmRoberta | Self::Camembert => unigram::template(tokenizer, tokens)?.into(),
        };
        tokenizer.with_post_processor(Some(around));
        Ok(())
    }
}

/// A class's name without its ending "Fast".
fn plain(name: &str) -> &str {
    name.strip_suffix("Fast").unwrap_or(name)
}

/// Whether `tokenizer_config.json` names code beside it that makes the tokenizer. It is never run, but where it is
/// named the kind of model has no say.
fn has_code(config: &TokenizerConfig) -> bool {
    match config.file.as_ref().and_then(|file| file.get("auto_map").value()) {
        Some(Json::Object(entries)) => entries.iter().any(|(key, value)| key == "AutoTokenizer" && !value.is_null()),
        code => code.is_some(),
    }
}

/// `<s> a </s>`, and `<s> a </s></s> b </s>`, of the tokens with these names. One that is null has the id given here,
/// or is an error.
fn pairs(
    of: [(&str, Option<u32>); 2],
    tokenizer: &Tokenizer,
    tokens: &Tokens,
) -> tokenizers::Result<RobertaProcessing> {
    let [first, last] = of.map(|(name, default)| tokens.named_id(name, default, tokenizer));
    Ok(RobertaProcessing::new(last?, first?))
}
