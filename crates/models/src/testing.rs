//! Small encoders with seeded random weights, written in the layout that [`EmbeddingModel::load`] reads.
//!
//! For tests and benchmarks that need a real model directory but not a real model. The same settings and seed write
//! the same bytes on every machine.
//!
//! [`EmbeddingModel::load`]: crate::EmbeddingModel::load

use crate::config::{Lengths, TextConfig};
use crate::tokenizer::{Tokenizer, Tokens};
use half::{bf16, f16};
pub use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::Path;

/// The most tokens of a text, as the written model says.
pub const MAX_TOKENS: usize = 64;
/// How many positions the encoder has.
pub const POSITIONS: usize = 80;
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const WORDS: [&str; 11] = ["river", "stream", "bank", "water", "flows", "joins", "many", "one", "the", "deep", "fast"];

/// What to write. [`write`](Self::write) makes a directory of it.
#[derive(Clone, Debug)]
pub struct SmallEncoder {
    /// Seed of the weights.
    pub seed: u64,
    /// Number of layers.
    pub layers: usize,
    /// Length of a token's vector; a multiple of `heads`.
    pub width: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Width of the feed-forward block.
    pub intermediate: usize,
    /// `hidden_act`.
    pub activation: &'static str,
    /// "cls", "mean" or "max".
    pub pooling: &'static str,
    /// Whether embeddings have unit length.
    pub normalize: bool,
    /// Before the names of all tensors: "" or "bert.".
    pub prefix: &'static str,
}

impl SmallEncoder {
    /// An encoder with exact GELU, mean pooling and normalisation; 4 heads, and a feed-forward block of `4 * width`.
    pub fn new(seed: u64, layers: usize, width: usize) -> Self {
        Self {
            seed,
            layers,
            width,
            heads: 4,
            intermediate: 4 * width,
            activation: "gelu",
            pooling: "mean",
            normalize: true,
            prefix: "",
        }
    }

    /// Writes the model's files into the directory, which must exist.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, directory: impl AsRef<Path>) -> io::Result<()> {
        let directory = directory.as_ref();
        write_json(&directory.join("modules.json"), &self.modules())?;
        write_json(&directory.join("config.json"), &self.config())?;
        let sentence = json!({"max_seq_length": MAX_TOKENS, "do_lower_case": false});
        write_json(&directory.join("sentence_bert_config.json"), &sentence)?;
        write_json(&directory.join("tokenizer.json"), &tokenizer())?;
        fs::create_dir_all(directory.join("1_Pooling"))?;
        write_json(&directory.join("1_Pooling/config.json"), &self.pooling())?;
        write_weights(&directory.join("model.safetensors"), &self.tensors())
    }

    /// The tensors of `model.safetensors`: name, shape, and values in row-major order.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let (width, wide) = (self.width, self.intermediate);
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: &[usize], centre: f32, spread: f32| {
            let values = (0..shape.iter().product()).map(|_| centre + spread * (2.0 * random.f32() - 1.0)).collect();
            tensors.push((format!("{}{name}", self.prefix), shape.to_vec(), values));
        };
        add("embeddings.word_embeddings.weight".into(), &[vocabulary().len(), width], 0.0, 1.0);
        add("embeddings.position_embeddings.weight".into(), &[POSITIONS, width], 0.0, 0.5);
        add("embeddings.token_type_embeddings.weight".into(), &[2, width], 0.0, 0.5);
        let mut norms = vec!["embeddings.LayerNorm".to_owned()];
        for layer in (0..self.layers).map(|index| format!("encoder.layer.{index}")) {
            for (name, out, input) in [
                ("attention.self.query", width, width),
                ("attention.self.key", width, width),
                ("attention.self.value", width, width),
                ("attention.output.dense", width, width),
                ("intermediate.dense", wide, width),
                ("output.dense", width, wide),
            ] {
                // Keeps the variance of a product's result near that of its input.
                let spread = (3.0 / input as f32).sqrt();
                add(format!("{layer}.{name}.weight"), &[out, input], 0.0, spread);
                add(format!("{layer}.{name}.bias"), &[out], 0.0, 0.1);
            }
            norms.push(format!("{layer}.attention.output.LayerNorm"));
            norms.push(format!("{layer}.output.LayerNorm"));
        }
        for norm in norms {
            add(format!("{norm}.weight"), &[width], 1.0, 0.2);
            add(format!("{norm}.bias"), &[width], 0.0, 0.2);
        }
        tensors
    }

    fn modules(&self) -> Value {
        let module = |index: usize, path: &str, kind: &str| {
            let class = format!("sentence_transformers.models.{kind}");
            json!({"idx": index, "name": index.to_string(), "path": path, "type": class})
        };
        let mut modules = vec![module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")];
        if self.normalize {
            modules.push(module(2, "2_Normalize", "Normalize"));
        }
        Value::Array(modules)
    }

    fn config(&self) -> Value {
        json!({
            "model_type": "bert",
            "hidden_act": self.activation,
            "hidden_size": self.width,
            "intermediate_size": self.intermediate,
            "layer_norm_eps": 1e-12,
            "max_position_embeddings": POSITIONS,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "type_vocab_size": 2,
            "vocab_size": vocabulary().len(),
        })
    }

    fn pooling(&self) -> Value {
        json!({
            "word_embedding_dimension": self.width,
            "pooling_mode_cls_token": self.pooling == "cls",
            "pooling_mode_mean_tokens": self.pooling == "mean",
            "pooling_mode_max_tokens": self.pooling == "max",
        })
    }
}

/// A tokenizer without a model, for comparing it with the libraries'.
pub struct TextTokenizer(Tokenizer);

impl TextTokenizer {
    /// Takes the library's tokenizer, truncation and all, and follows it in everything.
    ///
    /// # Errors
    /// If its special tokens cannot be told, or leave no room.
    pub fn new(configured: tokenizers::Tokenizer) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Tokenizer::of(configured, "tokenizer.json".into(), true, Vec::new()).map(Self)
    }

    /// The tokenizer of a model's folder, for an encoder with so many token ids and positions.
    ///
    /// # Errors
    /// As for [`EmbeddingModel::load`](crate::EmbeddingModel::load), of which it reads the tokenizer's part.
    pub fn load(folder: impl AsRef<Path>, vocabulary: usize, positions: usize) -> crate::Result<Self> {
        let folder = folder.as_ref();
        let (tokenizer, _) = Tokenizer::load(
            folder,
            &TextConfig::read(folder, Lengths { most: positions, declared: positions })?,
            vocabulary,
        )?;
        Ok(Self(tokenizer))
    }

    /// One text's tokens.
    ///
    /// # Errors
    /// As for [`EmbeddingModel::tokenize`](crate::EmbeddingModel::tokenize).
    pub fn tokenize(&self, text: &str) -> crate::Result<Tokens> {
        self.0.tokenize(text, 0)
    }

    /// The tokens of a pair of texts.
    ///
    /// # Errors
    /// As for [`tokenize`](Self::tokenize).
    pub fn tokenize_pair(&self, first: &str, second: &str) -> crate::Result<Tokens> {
        self.0.tokenize_pair(first, second, 0)
    }

    /// How many tokens of a text are those of a prompt before it.
    ///
    /// # Errors
    /// As for [`tokenize`](Self::tokenize).
    pub fn prompt_tokens(&self, prompt: &str) -> crate::Result<usize> {
        self.0.prompt_tokens(prompt)
    }
}

/// Writes a safetensors file of f32 tensors: name, shape, values.
///
/// # Errors
/// If the file cannot be written, or a shape does not fit its values.
pub fn write_weights(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) -> io::Result<()> {
    write_weights_as(path, tensors, Dtype::F32)
}

/// As [`write_weights`], with the values rounded to f16 or bf16.
///
/// # Errors
/// As for [`write_weights`], or if the type is another.
pub fn write_weights_as(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)], dtype: Dtype) -> io::Result<()> {
    let element = |value: &f32| match dtype {
        Dtype::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
        Dtype::BF16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| values.iter().flat_map(element).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| Ok((name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(io::Error::other)?;
    fs::write(path, safetensors::serialize(views, None).map_err(io::Error::other)?)
}

/// Special tokens, a few words, and every small letter and digit, alone and as a continuation: any text of those is
/// tokens other than [UNK].
fn vocabulary() -> Vec<String> {
    let single = || ('a'..='z').chain('0'..='9');
    let whole = SPECIAL.iter().chain(&WORDS).map(|&word| word.to_owned());
    whole.chain(single().map(String::from)).chain(single().map(|letter| format!("##{letter}"))).collect()
}

/// A WordPiece tokenizer. Its truncation and padding are as wrong as those of real models, which a load must override.
fn tokenizer() -> Value {
    let vocabulary: serde_json::Map<String, Value> =
        vocabulary().into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    let added = |(id, content): (usize, &&str)| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false})
    };
    let special = |token: &str, id: usize| json!({"id": token, "ids": [id], "tokens": [token]});
    let token = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    json!({
        "version": "1.0",
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": SPECIAL.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, token("[SEP]")],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"[CLS]": special("[CLS]", 2), "[SEP]": special("[SEP]", 3)},
        },
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

fn write_json(path: &Path, value: &Value) -> io::Result<()> {
    fs::write(path, serde_json::to_vec_pretty(value)?)
}
