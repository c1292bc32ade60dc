//! The encoder's `config.json`, and how many tokens a text may have.

use crate::arch::{self, Architecture, ConfigFile, Encoder, Family, Limits, SequenceHead, WordHead};
use crate::error::Result;
use crate::files::refuse_adapter;
use crate::json::{Json, JsonFile, Setting};
use crate::sentence::Sentence;
use crate::tokenizer::{MODEL_KEYS, TOKENIZER_KEYS, TokenizerConfig};
use crate::weights::{Scope, Weights};
use std::path::Path;
use thalweg_tensor::DType;

/// What a load reads before the weights: which family it is, and the shape of its tensors.
pub(crate) struct Config {
    family: &'static Family,
    file: ConfigFile,
    architecture: Box<dyn Architecture>,
    /// What the encoder takes and gives.
    pub(crate) limits: Limits,
}

impl Config {
    /// Reads `config.json` in the transformer's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        refuse_adapter(folder)?;
        let (family, file, architecture) = arch::read(folder)?;
        Ok(Self { family, file, limits: architecture.limits().clone(), architecture })
    }

    /// The family's name.
    pub(crate) fn family(&self) -> &'static str {
        self.family.name
    }

    /// Opens the weights in the transformer's folder, for a device that computes in `dtype`.
    pub(crate) fn open_weights(&self, folder: &Path, dtype: DType) -> Result<Weights> {
        Weights::open(folder, dtype, self.family.prefixes)
    }

    /// The head that scores texts.
    pub(crate) fn sequence_head(&self) -> Result<SequenceHead> {
        self.family.sequence_head(&self.file)
    }

    /// The head that scores words.
    pub(crate) fn word_head(&self) -> Result<WordHead> {
        self.family.word_head(&self.file)
    }

    /// The encoder with these weights.
    pub(crate) fn load(&self, weights: &Scope<'_>) -> Result<Box<dyn Encoder>> {
        self.architecture.load(weights)
    }
}

/// How many tokens a sequence may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    /// The most that the encoder can take.
    pub(crate) most: usize,
    /// As the settings say: some encoders use up the first ones for padding, others can take more.
    pub(crate) declared: usize,
}

/// What the files beside `config.json` say about texts.
#[derive(Debug)]
pub(crate) struct TextConfig {
    /// The most tokens of a text, special ones included; the rest is cut off. `None`: nothing is cut.
    pub(crate) cut_to: Option<usize>,
    /// The most tokens that the encoder takes, which is the most of a text that is not cut.
    pub(crate) positions: usize,
    /// Whether texts are put into lower case by a step of the normaliser before all others.
    pub(crate) lower_case: bool,
    /// The side on which a long text is cut, if a file beside `tokenizer.json` says it: whether it loses its beginning.
    pub(crate) cut_beginning: Option<bool>,
    /// What else is said about the tokenizer.
    pub(crate) tokenizer: TokenizerConfig,
    /// What `config.json` says about it.
    pub(crate) model: JsonFile,
}

impl TextConfig {
    /// Reads sentence-transformers' settings and `tokenizer_config.json`; both may be absent.
    ///
    /// The limit is the first that is there of: `max_length` of sentence-transformers' arguments for each call,
    /// `model_max_length` of its arguments for the tokenizer, its `max_seq_length`; without them, it is the smaller of
    /// the encoder's positions and `tokenizer_config.json`'s `model_max_length`.
    pub(crate) fn read(folder: &Path, lengths: Lengths) -> Result<Self> {
        let sentence = Sentence::read(folder)?;
        let file = JsonFile::read_if_there(folder.join("tokenizer_config.json"), &TOKENIZER_KEYS)?;
        let lower_case = sentence.lower_case()?;
        let cut_to = if sentence.cut()? { limit(&sentence, file.as_ref(), lengths)? } else { None };
        let tokenizer = TokenizerConfig { file, over: sentence.processor };
        let cut_beginning = tokenizer.get("truncation_side").map(cut_beginning).transpose()?.flatten();
        Ok(Self {
            cut_to,
            positions: lengths.most,
            lower_case,
            cut_beginning,
            tokenizer,
            model: JsonFile::read(folder.join("config.json"), &MODEL_KEYS)?,
        })
    }
}

/// The most tokens of a text; `None` if there is no limit.
fn limit(sentence: &Sentence, tokenizer: Option<&JsonFile>, lengths: Lengths) -> Result<Option<usize>> {
    // More than this is no limit, as in the transformers library.
    const NO_LIMIT: f64 = 1e20;
    let Lengths { most: positions, declared } = lengths;
    let most = declared.max(positions);
    // Sentence-transformers writes all positions there, where some are for padding.
    let fits = |setting: &Setting<'_>, tokens: usize| match tokens <= most {
        true => Ok(Some(tokens.min(positions))),
        false if most == declared => {
            Err(setting.wrong(format!("at most {most}, the max_position_embeddings of the encoder")))
        }
        false => Err(setting.wrong(format!("at most {most}"))),
    };
    if let Some(setting) = sentence.max_length() {
        return setting.size()?.map_or(Ok(None), |tokens| fits(&setting, tokens));
    }
    if let Some(setting) = sentence.processor.as_ref().and_then(model_max_length) {
        let tokens = checked(setting)?.unwrap_or(f64::INFINITY);
        return if tokens > NO_LIMIT { Ok(None) } else { fits(&setting, tokens as usize) };
    }
    if let Some(setting) = sentence.max_seq_length()
        && let Some(tokens) = setting.size()?
    {
        return fits(&setting, tokens);
    }
    // The conversion saturates.
    let tokens = tokenizer.and_then(model_max_length).map(checked).transpose()?.flatten();
    Ok(Some(declared.min(positions).min(tokens.unwrap_or(f64::INFINITY) as usize)))
}

/// The setting under its name of today, or its old one.
fn model_max_length(file: &JsonFile) -> Option<Setting<'_>> {
    ["model_max_length", "max_len"].into_iter().map(|key| file.get(key)).find(Setting::is_there)
}

/// It may be any positive number: tokenizers without a limit are saved with 1e30.
fn checked(setting: Setting<'_>) -> Result<Option<f64>> {
    match setting.number()? {
        Some(tokens) if tokens >= 1.0 => Ok(Some(tokens)),
        Some(_) => Err(setting.wrong("a number of at least 1")),
        None => Ok(None),
    }
}

fn cut_beginning(setting: Setting<'_>) -> Result<Option<bool>> {
    setting.convert("\"left\" or \"right\"", |value| match value {
        Json::String(side) if side == "left" => Some(true),
        Json::String(side) if side == "right" => Some(false),
        _ => None,
    })
}
