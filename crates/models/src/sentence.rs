//! What sentence-transformers keeps beside a transformer: how long texts may be, and arguments for the libraries below.

use crate::error::Result;
use crate::json::{Json, JsonFile, Keys, Others, Setting};
use crate::tokenizer::PROCESSOR_KEYS;
use std::path::Path;

/// The names of the file. As in sentence-transformers, the first that is there and holds anything is read.
const NAMES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// The keys of the file.
static KEYS: Keys = Keys {
    read: &[
        "max_seq_length",
        "do_lower_case",
        "transformer_task",
        "modality_config",
        "module_output_name",
        "tokenizer_name_or_path",
        "processing_kwargs",
        "processor_kwargs",
        "tokenizer_args",
        "config_kwargs",
        "config_args",
        "model_kwargs",
        "model_args",
    ],
    read_ending: None,
    harmless: &[
        (&["backend"], "what runs the model is chosen where it is loaded"),
        (&["unpad_inputs"], "nothing is padded here"),
        (&["query_length", "document_length", "query_expansion"], "they are for queries and documents, not for texts"),
    ],
    others: Others::Refused,
};

/// The keys of arguments of every kind that say from where files come, which is decided by now.
pub(crate) const FROM_WHERE: (&[&str], &str) = (
    &[
        "cache_dir",
        "cache_folder",
        "force_download",
        "local_files_only",
        "proxies",
        "resume_download",
        "revision",
        "subfolder",
        "token",
        "trust_remote_code",
        "use_auth_token",
    ],
    "the files are there, and none is code that is run",
);

/// `processing_kwargs`: arguments for each call of the tokenizer.
static PROCESSING: Keys = Keys {
    read: &["text", "common"],
    read_ending: None,
    harmless: &[(&["audio", "image", "video", "chat_template"], "there are texts alone")],
    others: Others::Refused,
};

/// The arguments of one call.
static CALL: Keys = Keys {
    read: &[
        "max_length",
        "truncation",
        "add_special_tokens",
        "return_token_type_ids",
        "return_attention_mask",
        "split_special_tokens",
    ],
    read_ending: None,
    harmless: &[
        (&["padding", "padding_side", "pad_to_multiple_of"], "nothing is padded here"),
        (&["return_tensors", "return_length", "verbose"], "they say in what form tokens are given back"),
    ],
    others: Others::Refused,
};

/// `model_kwargs`: arguments for loading the weights.
static MODEL: Keys = Keys {
    read: &["torch_dtype", "dtype"],
    read_ending: None,
    harmless: &[
        FROM_WHERE,
        (
            &["attn_implementation", "device_map", "low_cpu_mem_usage", "use_safetensors", "add_pooling_layer"],
            "they change where or how the model is computed, not the values",
        ),
    ],
    others: Others::Refused,
};

/// The arguments of sentence-transformers.
#[derive(Debug, Default)]
pub(crate) struct Sentence {
    /// The file, if there is one.
    file: Option<JsonFile>,
    /// What overrides `tokenizer_config.json`.
    pub(crate) processor: Option<JsonFile>,
    /// Arguments of a call, weakest first.
    calls: Vec<JsonFile>,
}

impl Sentence {
    /// Reads the file in the transformer's folder, if there is one, and refuses what is not understood.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        for name in NAMES {
            if let Some(file) = JsonFile::read_if_there(folder.join(name), &KEYS)?
                && file.settings().next().is_some()
            {
                return Self::of(file);
            }
        }
        Ok(Self::default())
    }

    fn of(file: JsonFile) -> Result<Self> {
        let processor = either(&file, "tokenizer_args", "processor_kwargs", &PROCESSOR_KEYS)?;
        if let Some(model) = either(&file, "model_args", "model_kwargs", &MODEL)? {
            for key in MODEL.read {
                let expected = "\"float32\": the type to compute in is chosen where the model is loaded";
                model.get(key).only(&["float32".into(), "torch.float32".into(), "auto".into()], expected)?;
            }
        }
        let mut calls = Vec::new();
        if let Some(processing) = file.object("processing_kwargs", &PROCESSING)? {
            for key in PROCESSING.read {
                calls.extend(processing.object(key, &CALL)?);
            }
        }
        for call in &calls {
            for (key, value) in [
                ("add_special_tokens", true),
                ("return_token_type_ids", true),
                ("return_attention_mask", true),
                ("split_special_tokens", false),
            ] {
                call.get(key)
                    .only(&[value.into()], &format!("{value}, which is the default: no other is supported"))?;
            }
        }
        file.get("tokenizer_name_or_path").only(&[], "null: the tokenizer is the one in the model's directory")?;
        Ok(Self { file: Some(file), processor, calls })
    }

    /// What overrides `config.json`, which has these keys.
    pub(crate) fn config(&self, keys: &'static Keys) -> Result<Option<JsonFile>> {
        self.file.as_ref().map_or(Ok(None), |file| either(file, "config_args", "config_kwargs", keys))
    }

    /// Refuses a transformer that gives something else; `without` is what it gives where nothing is said.
    pub(crate) fn check(&self, gives: Gives, without: Gives) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let setting = file.get("transformer_task");
        let given = if setting.is_there() { setting.string()? } else { Some(without.task()) };
        if given != Some(gives.task()) {
            return Err(setting.wrong(format!("{:?}, which is what this task is made of", gives.task())));
        }
        check_modalities(file, gives)
    }

    /// `max_seq_length`, for whoever complains about it too.
    pub(crate) fn max_seq_length(&self) -> Option<Setting<'_>> {
        self.file.as_ref().map(|file| file.get("max_seq_length"))
    }

    /// Whether texts are put into lower case, by a step before all others of the tokenizer's normaliser.
    pub(crate) fn lower_case(&self) -> Result<bool> {
        Ok(self.file.as_ref().map(|file| file.get("do_lower_case").flag()).transpose()?.flatten().unwrap_or(false))
    }

    /// The `max_length` of a call, if there is one; it overrides every other limit.
    pub(crate) fn max_length(&self) -> Option<Setting<'_>> {
        Setting::last(self.calls.iter().map(|call| call.get("max_length"))).filter(|setting| setting.value().is_some())
    }

    /// Whether long texts are cut. Where they are not, they are errors.
    pub(crate) fn cut(&self) -> Result<bool> {
        const EXPECTED: &str = "true, \"longest_first\" or \"only_first\", or false or \"do_not_truncate\"";
        let Some(setting) = Setting::last(self.calls.iter().map(|call| call.get("truncation"))) else {
            return Ok(true);
        };
        if !setting.is_there() {
            return Ok(true);
        }
        let cut = setting.convert(EXPECTED, |value| match value {
            Json::Bool(cut) => Some(*cut),
            Json::String(text) => match text.as_str() {
                "longest_first" | "only_first" => Some(true),
                "do_not_truncate" => Some(false),
                _ => None,
            },
            _ => None,
        })?;
        Ok(cut.unwrap_or(false))
    }
}

/// The object under the old name of a key, which wins where both are there, or under its name of today.
fn either(file: &JsonFile, old: &'static str, new: &'static str, keys: &'static Keys) -> Result<Option<JsonFile>> {
    match file.object(old, keys)? {
        None => file.object(new, keys),
        there => Ok(there),
    }
}

/// What a transformer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    /// A vector for each token.
    Vectors,
    /// Scores of a text's labels, by a head.
    Scores,
    /// Scores of all words at each token, by a head.
    Words,
}

impl Gives {
    /// Its name in `transformer_task`.
    fn task(self) -> &'static str {
        match self {
            Self::Vectors => "feature-extraction",
            Self::Scores => "sequence-classification",
            Self::Words => "fill-mask",
        }
    }

    /// Its names in what the model gives, and for the modules after it.
    fn outputs(self) -> [&'static str; 2] {
        match self {
            Self::Vectors => ["last_hidden_state", "token_embeddings"],
            Self::Scores => ["logits", "scores"],
            Self::Words => ["logits", "token_embeddings"],
        }
    }
}

/// The modalities are texts, for which the model gives what it should.
fn check_modalities(file: &JsonFile, gives: Gives) -> Result<()> {
    let modalities = file.get("modality_config");
    if modalities.value().is_none() {
        // Then the name of the output is not looked at either.
        return Ok(());
    }
    let [name, for_modules] = gives.outputs();
    let expected = format!("texts alone: {{\"text\": {{\"method\": \"forward\", \"method_output_name\": {name:?}}}}}");
    let is_text = |value: &Json| {
        let text = value.get("text")?;
        let is = |key: &str, given: &str| text.get(key).and_then(Json::as_str) == Some(given);
        let only = value.as_object()?.len() == 1 && text.as_object()?.len() == 2;
        (only && is("method", "forward") && is("method_output_name", name)).then_some(())
    };
    modalities.convert(&expected, is_text)?;
    let output = file.get("module_output_name");
    match output.string()? {
        Some(name) if name == for_modules => Ok(()),
        _ => Err(output.wrong(format!("{for_modules:?}"))),
    }
}
