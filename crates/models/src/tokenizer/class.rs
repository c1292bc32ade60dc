//! Which of the transformers library's classes makes the tokenizer, by the rule of its `AutoTokenizer` (version 5) for
//! a model of the family "bert".

/// How a tokenizer is made of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// `BertTokenizer`: of `tokenizer.json` the vocabulary alone is taken; every setting is that of
    /// `tokenizer_config.json`, or the class's default.
    Bert,
    /// `TokenizersBackend`, once named `PreTrainedTokenizerFast`: `tokenizer.json` is taken as it is.
    File,
}

/// The names of [`Class::Bert`], but for an ending "Fast".
const BERT: &[&str] = &[
    "BertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "SqueezeBertTokenizer",
];

/// Classes of the library with rules of their own. Any name that it does not know is [`Class::File`].
#[rustfmt::skip]
const OTHERS: &[&str] = &[
    "AlbertTokenizer", "BartTokenizer", "BarthezTokenizer", "BartphoTokenizer", "BertGenerationTokenizer",
    "BertJapaneseTokenizer", "BertweetTokenizer", "BigBirdTokenizer", "BioGptTokenizer",
    "BlenderbotSmallTokenizer", "BlenderbotTokenizer", "ByT5Tokenizer", "CLIPTokenizer", "CTRLTokenizer",
    "CamembertTokenizer", "CanineTokenizer", "ClvpTokenizer", "CodeGenTokenizer", "CodeLlamaTokenizer",
    "CohereTokenizer", "ConvBertTokenizer", "CpmAntTokenizer", "CpmTokenizer", "DPRContextEncoderTokenizer",
    "DPRQuestionEncoderTokenizer", "DPRReaderTokenizer", "DebertaTokenizer", "DebertaV2Tokenizer",
    "DiaTokenizer", "EsmTokenizer", "EsmcTokenizer", "FNetTokenizer", "FSMTTokenizer",
    "FastSpeech2ConformerTokenizer", "FlaubertTokenizer", "FunnelTokenizer", "GPT2Tokenizer",
    "GPTNeoXJapaneseTokenizer", "GPTNeoXTokenizer", "GPTSw3Tokenizer", "GemmaTokenizer", "HerbertTokenizer",
    "LEDTokenizer", "LasrTokenizer", "LayoutLMv2Tokenizer", "LayoutLMv3Tokenizer", "LayoutXLMTokenizer",
    "LlamaTokenizer", "LongformerTokenizer", "LukeTokenizer", "M2M100Tokenizer", "MBart50Tokenizer",
    "MBartTokenizer", "MLukeTokenizer", "MPNetTokenizer", "MarianTokenizer", "MarkupLMTokenizer",
    "MgpstrTokenizer", "MvpTokenizer", "MyT5Tokenizer", "NllbTokenizer", "NougatTokenizer",
    "OpenAIGPTTokenizer", "PLBartTokenizer", "ParakeetTokenizer", "PegasusTokenizer", "PerceiverTokenizer",
    "Phi3Tokenizer", "PhobertTokenizer", "Pop2PianoTokenizer", "ProphetNetTokenizer", "Qwen2Tokenizer",
    "Qwen3_5Tokenizer", "RagTokenizer", "ReformerTokenizer", "RemBertTokenizer", "RoCBertTokenizer",
    "RoFormerTokenizer", "RobertaTokenizer", "SeamlessM4TTokenizer", "Siglip2Tokenizer", "SiglipTokenizer",
    "Speech2TextTokenizer", "SpeechT5Tokenizer", "SplinterTokenizer", "T5Tokenizer", "TapasTokenizer",
    "Tipsv2Tokenizer", "UdopTokenizer", "VideoPrismTokenizer", "VitsTokenizer", "Wav2Vec2CTCTokenizer",
    "Wav2Vec2PhonemeCTCTokenizer", "WhisperTokenizer", "XGLMTokenizer", "XLMRobertaTokenizer", "XLMTokenizer",
    "XLNetTokenizer",
];

impl Class {
    /// The class of this name; `None` if it has rules of its own, which are not supported.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.strip_suffix("Fast").unwrap_or(name) {
            name if BERT.contains(&name) => Some(Self::Bert),
            name if OTHERS.contains(&name) => None,
            _ => Some(Self::File),
        }
    }
}
