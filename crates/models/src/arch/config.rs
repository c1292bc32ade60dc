//! `config.json`: what all families read alike.

use crate::error::Result;
use crate::json::{Json, JsonFile, Keys, Others, Setting};
use crate::sentence::{FROM_WHERE, Sentence};
use crate::weights::WEIGHTS;
use std::path::Path;
use thalweg_tensor::Activation;

/// The keys of `config.json` that are read: a family's own, after those of BERT where it has these, and those that all
/// of them have.
macro_rules! read {
    (bert $(, $own:literal)* $(,)?) => {
        read![
            "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings",
            "type_vocab_size", "hidden_act", "layer_norm_eps", $($own,)*
        ]
    };
    ($($own:literal),* $(,)?) => {
        &[
            $($own,)*
            "model_type", "vocab_size", "position_embedding_type", "is_decoder", "is_causal", "add_cross_attention",
            "quantization_config", "pruned_heads", "per_layer_config", "transformers_weights", "tie_word_embeddings",
        ]
    };
}
pub(super) use read;

/// The keys of a family, in `config.json` and in the arguments that override it.
pub(super) struct ConfigKeys {
    file: Keys,
    over: Keys,
}

impl ConfigKeys {
    /// With the keys that are read, of [`read!`].
    pub(super) const fn new(read: &'static [&'static str]) -> Self {
        let file = Keys {
            read,
            read_ending: None,
            harmless: &[(
                &["torch_dtype", "dtype"],
                "the type to compute in is chosen where the model is loaded; the weights are taken as they are stored",
            )],
            // The transformers library has no other for these families that changes a token's vector.
            others: Others::Harmless,
        };
        let over = Keys { read, read_ending: None, harmless: OVER_HARMLESS, others: Others::Refused };
        Self { file, over }
    }
}

/// The keys to look at first: which family it is.
pub(super) static FAMILY: ConfigKeys = {
    let keys = Keys { read: &["model_type"], read_ending: None, harmless: &[], others: Others::Harmless };
    let over = Keys { read: &["model_type"], read_ending: None, harmless: &[], others: Others::Harmless };
    ConfigKeys { file: keys, over }
};

/// What may be in the arguments besides.
const OVER_HARMLESS: &[(&[&str], &str)] = &[
    FROM_WHERE,
    (
        &["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "initializer_range"],
        "they are for training",
    ),
    (
        &["num_labels", "id2label", "label2id", "problem_type", "tie_word_embeddings", "pad_token_id"],
        "they are for heads, and a sentence encoder has none",
    ),
    (
        &["use_cache", "attn_implementation", "output_attentions", "output_hidden_states", "return_dict"],
        "they change how the model is computed, or what is given back besides, not the values",
    ),
];

/// `config.json`, and what sentence-transformers' arguments say, which wins.
pub(crate) struct ConfigFile {
    file: JsonFile,
    over: Option<JsonFile>,
}

impl ConfigFile {
    /// Reads both in the transformer's folder.
    pub(super) fn read(folder: &Path, keys: &'static ConfigKeys) -> Result<Self> {
        let file = JsonFile::read(folder.join("config.json"), &keys.file)?;
        Ok(Self { file, over: Sentence::read(folder)?.config(&keys.over)? })
    }

    /// A setting, from the place that decides.
    pub(super) fn get<'a>(&'a self, key: &'a str) -> Setting<'a> {
        let over = self.over.as_ref().map(|over| over.get(key)).filter(Setting::is_there);
        over.unwrap_or_else(|| self.file.get(key))
    }

    /// Refuses what no family supports.
    pub(super) fn check(&self) -> Result<()> {
        let get = |key| self.get(key);
        get("transformers_weights").only(&[WEIGHTS.into()], "\"model.safetensors\", which is read")?;
        get("quantization_config").only(&[], "null: quantized weights are not supported")?;
        get("pruned_heads")
            .only(&[Json::Object(Vec::new())], "null or {}: layers with fewer heads are not supported")?;
        get("per_layer_config").only(&[], "null: layers that differ from each other are not supported")
    }

    /// Refuses what families with tables of positions, and attention to both sides, do not support.
    pub(super) fn check_bidirectional(&self) -> Result<()> {
        self.get("position_embedding_type").only(&["absolute".into()], "\"absolute\"")?;
        for key in ["is_decoder", "is_causal"] {
            self.get(key).only(&[false.into()], "false: a sentence encoder attends in both directions")?;
        }
        let alone = "false: a sentence encoder attends to its own text alone";
        self.get("add_cross_attention").only(&[false.into()], alone)
    }

    /// The first of two names of a setting, if it is there, else the second.
    pub(super) fn named(&self, first: &'static str, second: &'static str) -> &'static str {
        if self.get(first).is_there() { first } else { second }
    }

    /// A number that must be there.
    pub(super) fn size(&self, key: &str) -> Result<usize> {
        self.get(key).required_size()
    }

    /// A number with a default, where there may be none at all of what it counts.
    pub(super) fn size_or_none(&self, key: &str, default: usize) -> Result<Option<usize>> {
        let setting = self.get(key);
        match setting.value() {
            Some(value) if value.as_u64() == Some(0) => Ok(None),
            _ => Ok(Some(setting.size()?.unwrap_or(default))),
        }
    }

    /// `true` or `false`, with a default.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.get(key).flag()?.unwrap_or(default))
    }

    /// An activation, under its name in the `transformers` library. There, "gelu" is the exact one, by the error
    /// function.
    pub(super) fn activation(&self, key: &str, default: &str) -> Result<Activation> {
        let setting = self.get(key);
        match setting.string()?.unwrap_or(default) {
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

    /// What a normalisation adds to the variance.
    pub(super) fn epsilon(&self, key: &str, default: f64) -> Result<f32> {
        let setting = self.get(key);
        let given = setting.number()?.unwrap_or(default);
        // A subnormal or zero in f32 would divide a constant row by nothing.
        let epsilon = given as f32;
        if epsilon.is_normal() && epsilon > 0.0 && epsilon < 1.0 {
            Ok(epsilon)
        } else {
            Err(setting.wrong("a number above 1e-37 and below 1"))
        }
    }

    /// The name of the table that a masked-LM head has its words' vectors from, unless they are stored with the head;
    /// `None` if they have to be.
    pub(super) fn table(&self, name: &'static str) -> Result<Option<&'static str>> {
        Ok(self.flag("tie_word_embeddings", true)?.then_some(name))
    }

    /// The id of the token that pads; `default` if there is no such setting.
    pub(super) fn padding(&self, default: u32) -> Result<u32> {
        let setting = self.get("pad_token_id");
        let vocabulary = self.size("vocab_size")?;
        let expected = || format!("the id of a token, from 0 to {}", vocabulary - 1);
        let id = match setting.value() {
            None if !setting.is_there() => Some(u64::from(default)),
            value => value.and_then(Json::as_u64),
        };
        id.filter(|id| *id < vocabulary as u64).map(|id| id as u32).ok_or_else(|| setting.wrong(expected()))
    }
}
