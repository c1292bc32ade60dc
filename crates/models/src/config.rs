//! The encoder's `config.json`, and how many tokens a text may have.

use crate::error::Result;
use crate::json::JsonFile;
use std::path::Path;
use thalweg_tensor::Activation;

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
        let file = JsonFile::read(folder.join("config.json"))?;
        match file.optional_string("model_type")? {
            Some("bert") => {}
            None => return Err(file.wrong("model_type", "missing", "\"bert\"")),
            Some(other) => {
                let expected = "\"bert\", the only encoder family that is supported so far";
                return Err(file.wrong("model_type", format!("{other:?}"), expected));
            }
        }
        if let Some(other) = file.optional_string("position_embedding_type")?.filter(|&kind| kind != "absolute") {
            return Err(file.wrong("position_embedding_type", format!("{other:?}"), "\"absolute\""));
        }
        if file.optional_flag("is_decoder")? == Some(true) {
            return Err(file.wrong("is_decoder", true, "false: a sentence encoder attends in both directions"));
        }
        let width = file.size("hidden_size")?;
        let heads = file.size("num_attention_heads")?;
        if !width.is_multiple_of(heads) {
            let expected = format!("a divisor of hidden_size, which is {width}");
            return Err(file.wrong("num_attention_heads", heads, expected));
        }
        Ok(Self {
            vocabulary: file.size("vocab_size")?,
            width,
            layers: file.size("num_hidden_layers")?,
            heads,
            intermediate: file.size("intermediate_size")?,
            positions: file.size("max_position_embeddings")?,
            types: file.optional_size("type_vocab_size")?.unwrap_or(2),
            activation: activation(&file)?,
            epsilon: epsilon(&file)?,
        })
    }
}

/// `hidden_act`, under the names of the `transformers` library. There, "gelu" is the exact one, by the error function.
fn activation(file: &JsonFile) -> Result<Activation> {
    const KNOWN: &str = "one of gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish, tanh";
    match file.optional_string("hidden_act")?.unwrap_or("gelu") {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        "tanh" => Ok(Activation::Tanh),
        other => Err(file.wrong("hidden_act", format!("{other:?}"), KNOWN)),
    }
}

fn epsilon(file: &JsonFile) -> Result<f32> {
    let given = file.optional_number("layer_norm_eps")?.unwrap_or(1e-12);
    // A subnormal or zero in f32 would divide a constant row by nothing.
    let epsilon = given as f32;
    if epsilon.is_normal() && epsilon > 0.0 && epsilon < 1.0 {
        Ok(epsilon)
    } else {
        Err(file.wrong("layer_norm_eps", given, "a number above 1e-37 and below 1"))
    }
}

/// What the files beside `config.json` say about texts.
#[derive(Debug)]
pub(crate) struct TextConfig {
    /// The most tokens of a text, special ones included; the rest is cut off.
    pub(crate) max_tokens: usize,
    /// Whether texts are put into lower case before they reach the tokenizer.
    pub(crate) lower_case: bool,
    /// Whether a long text loses its beginning instead of its end.
    pub(crate) cut_beginning: bool,
}

impl TextConfig {
    /// Reads `sentence_bert_config.json` and `tokenizer_config.json`; both may be absent. The first one's
    /// `max_seq_length` decides. Without it, it is the smaller of the encoder's positions and `model_max_length`.
    pub(crate) fn read(folder: &Path, config: &Config) -> Result<Self> {
        let sentence = JsonFile::read_if_there(folder.join("sentence_bert_config.json"))?;
        let tokenizer = JsonFile::read_if_there(folder.join("tokenizer_config.json"))?;
        let max_seq_length = match &sentence {
            Some(file) => file.optional_size("max_seq_length")?.map(|tokens| (file, tokens)),
            None => None,
        };
        let max_tokens = match max_seq_length {
            Some((file, tokens)) if tokens > config.positions => {
                let expected = format!("at most {}, the max_position_embeddings of the encoder", config.positions);
                return Err(file.wrong("max_seq_length", tokens, expected));
            }
            Some((_, tokens)) => tokens,
            None => config.positions.min(model_max_length(tokenizer.as_ref())?.unwrap_or(usize::MAX)),
        };
        let lower_case = match &sentence {
            Some(file) => file.optional_flag("do_lower_case")?.unwrap_or(false),
            None => false,
        };
        Ok(Self { max_tokens, lower_case, cut_beginning: cut_beginning(tokenizer.as_ref())? })
    }
}

/// `model_max_length` may be any positive number: tokenizers without a limit are saved with 1e30.
fn model_max_length(file: Option<&JsonFile>) -> Result<Option<usize>> {
    const KEY: &str = "model_max_length";
    let Some(file) = file else { return Ok(None) };
    match file.optional_number(KEY)? {
        // The conversion saturates.
        Some(tokens) if tokens >= 1.0 => Ok(Some(tokens as usize)),
        Some(tokens) => Err(file.wrong(KEY, tokens, "a number of at least 1")),
        None => Ok(None),
    }
}

fn cut_beginning(file: Option<&JsonFile>) -> Result<bool> {
    const KEY: &str = "truncation_side";
    let Some(file) = file else { return Ok(false) };
    match file.optional_string(KEY)? {
        None | Some("right") => Ok(false),
        Some("left") => Ok(true),
        Some(other) => Err(file.wrong(KEY, format!("{other:?}"), "\"left\" or \"right\"")),
    }
}
