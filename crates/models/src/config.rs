//! The encoder's `config.json`, and how many tokens a text may have.

use crate::error::Result;
use crate::files::refuse_adapter;
use crate::json::{Json, JsonFile, Keys, Others, Setting};
use crate::sentence::Sentence;
use crate::tokenizer::{MODEL_KEYS, TOKENIZER_KEYS, TokenizerConfig};
use std::path::Path;
use thalweg_tensor::Activation;

/// The keys of `config.json` that are read.
pub(crate) const READ: &[&str] = &[
    "model_type",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_act",
    "layer_norm_eps",
    "position_embedding_type",
    "is_decoder",
    "is_causal",
    "add_cross_attention",
    "quantization_config",
    "pruned_heads",
    "per_layer_config",
    "transformers_weights",
];

/// The keys of `config.json`.
static KEYS: Keys = Keys {
    read: READ,
    read_ending: None,
    harmless: &[(
        &["torch_dtype", "dtype"],
        "the type to compute in is chosen where the model is loaded; the weights are taken as they are stored",
    )],
    // The transformers library has no other for BERT that changes an embedding.
    others: Others::Harmless,
};

/// The shape of a BERT encoder. Every number is at least 1; none is trusted until the weights file bears it out.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) vocabulary: usize,
    pub(crate) width: usize,
    pub(crate) layers: usize,
    /// Divides `width`.
    pub(crate) heads: usize,
    /// The width of the feed-forward block.
    pub(crate) intermediate: usize,
    /// How many positions have an embedding.
    pub(crate) positions: usize,
    /// How many token types have an embedding.
    pub(crate) types: usize,
    pub(crate) activation: Activation,
    pub(crate) epsilon: f32,
}

impl Config {
    /// Reads `config.json` in the transformer's folder. Absent settings have the defaults of the `transformers`
    /// library's `BertConfig`, but for those that give the tensors their shape, which must be there.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        refuse_adapter(folder)?;
        let file = JsonFile::read(folder.join("config.json"), &KEYS)?;
        let over = Sentence::read(folder)?.config;
        // What sentence-transformers' arguments say wins.
        let get = |key| {
            let over = over.as_ref().map(|over| over.get(key)).filter(Setting::is_there);
            over.unwrap_or_else(|| file.get(key))
        };
        let family = get("model_type");
        if family.string()? != Some("bert") {
            return Err(family.wrong("\"bert\", the only encoder family that is supported so far"));
        }
        get("position_embedding_type").only(&["absolute".into()], "\"absolute\"")?;
        for key in ["is_decoder", "is_causal"] {
            get(key).only(&[false.into()], "false: a sentence encoder attends in both directions")?;
        }
        get("transformers_weights").only(&["model.safetensors".into()], "\"model.safetensors\", which is read")?;
        get("add_cross_attention").only(&[false.into()], "false: a sentence encoder attends to its own text alone")?;
        get("quantization_config").only(&[], "null: quantized weights are not supported")?;
        get("pruned_heads")
            .only(&[Json::Object(Vec::new())], "null or {}: layers with fewer heads are not supported")?;
        get("per_layer_config").only(&[], "null: layers that differ from each other are not supported")?;
        let width = get("hidden_size").required_size()?;
        let heads = get("num_attention_heads");
        if !width.is_multiple_of(heads.required_size()?) {
            return Err(heads.wrong(format!("a divisor of hidden_size, which is {width}")));
        }
        Ok(Self {
            vocabulary: get("vocab_size").required_size()?,
            width,
            layers: get("num_hidden_layers").required_size()?,
            heads: heads.required_size()?,
            intermediate: get("intermediate_size").required_size()?,
            positions: get("max_position_embeddings").required_size()?,
            types: get("type_vocab_size").size()?.unwrap_or(2),
            activation: activation(get("hidden_act"))?,
            epsilon: epsilon(get("layer_norm_eps"))?,
        })
    }
}

/// `hidden_act`, under the names of the `transformers` library. There, "gelu" is the exact one, by the error function.
fn activation(setting: Setting<'_>) -> Result<Activation> {
    match setting.string()?.unwrap_or("gelu") {
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_fast" | "gelu_accurate" | "gelu_pytorch_tanh" | "gelu_python_tanh" => {
            Ok(Activation::GeluTanh)
        }
        "linear" => Ok(Activation::None),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        "tanh" => Ok(Activation::Tanh),
        _ => Err(setting.wrong("one of gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish, tanh, linear")),
    }
}

fn epsilon(setting: Setting<'_>) -> Result<f32> {
    let given = setting.number()?.unwrap_or(1e-12);
    // A subnormal or zero in f32 would divide a constant row by nothing.
    let epsilon = given as f32;
    if epsilon.is_normal() && epsilon > 0.0 && epsilon < 1.0 {
        Ok(epsilon)
    } else {
        Err(setting.wrong("a number above 1e-37 and below 1"))
    }
}

/// What the files beside `config.json` say about texts.
#[derive(Debug)]
pub(crate) struct TextConfig {
    /// The most tokens of a text, special ones included; the rest is cut off. `None`: nothing is cut.
    pub(crate) cut_to: Option<usize>,
    /// How many positions the encoder has, which is the most tokens of a text that is not cut.
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
    pub(crate) fn read(folder: &Path, positions: usize) -> Result<Self> {
        let sentence = Sentence::read(folder)?;
        let file = JsonFile::read_if_there(folder.join("tokenizer_config.json"), &TOKENIZER_KEYS)?;
        let lower_case = sentence.lower_case()?;
        let cut_to = if sentence.cut()? { limit(&sentence, file.as_ref(), positions)? } else { None };
        let tokenizer = TokenizerConfig { file, over: sentence.processor };
        let cut_beginning = tokenizer.get("truncation_side").map(cut_beginning).transpose()?.flatten();
        Ok(Self {
            cut_to,
            positions,
            lower_case,
            cut_beginning,
            tokenizer,
            model: JsonFile::read(folder.join("config.json"), &MODEL_KEYS)?,
        })
    }
}

/// The most tokens of a text; `None` if there is no limit.
fn limit(sentence: &Sentence, tokenizer: Option<&JsonFile>, positions: usize) -> Result<Option<usize>> {
    // More than this is no limit, as in the transformers library.
    const NO_LIMIT: f64 = 1e20;
    let fits = |setting: &Setting<'_>, tokens: usize| match tokens <= positions {
        true => Ok(Some(tokens)),
        false => Err(setting.wrong(format!("at most {positions}, the max_position_embeddings of the encoder"))),
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
    Ok(Some(positions.min(tokens.unwrap_or(f64::INFINITY) as usize)))
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
