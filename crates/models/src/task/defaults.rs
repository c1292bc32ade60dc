//! What a whole model says of its calls: `config_sentence_transformers.json`.

use super::Similarity;
use crate::error::{Error, Result};
use crate::json::{Json, JsonFile, Keys, Others};
use crate::layout::Layout;
use std::path::PathBuf;
use std::sync::Arc;

/// The keys of the file.
static KEYS: Keys = Keys {
    read: &[
        "activation_fn",
        "default_prompt_name",
        "max_active_dims",
        "model_type",
        "prompts",
        "similarity_fn_name",
        "truncate_dim",
    ],
    read_ending: None,
    harmless: &[
        (&["requirements"], "they are of Python packages"),
        (&["keep_in_fp32_modules"], "what is left of an encoder's vectors is computed in f32 anyhow"),
    ],
    // Sentence-transformers reads no other that changes a value.
    others: Others::Harmless,
};

/// What sentence-transformers calls models that give an embedding for each text.
pub(crate) const SENTENCE_TRANSFORMER: &str = "SentenceTransformer";
/// What it calls models that score pairs of texts.
pub(crate) const CROSS_ENCODER: &str = "CrossEncoder";
/// What it calls models that give an embedding of few elements.
pub(crate) const SPARSE_ENCODER: &str = "SparseEncoder";

/// Where the file is.
fn path(layout: &Layout) -> PathBuf {
    layout.directory.join("config_sentence_transformers.json")
}

/// What the file says, if there is one.
#[derive(Debug)]
pub(crate) struct Defaults {
    /// The file, for what only some tasks ask of it.
    pub(crate) file: Option<JsonFile>,
    pub(crate) prompts: Prompts,
    /// If it says so.
    pub(crate) similarity: Option<Similarity>,
    /// How many of a vector's elements are kept.
    pub(crate) dimensions: Option<usize>,
}

impl Defaults {
    /// What sentence-transformers calls a model that it has saved, if the file says so.
    pub(crate) fn family(layout: &Layout) -> Result<Option<String>> {
        let file = JsonFile::read_if_there(path(layout), &KEYS)?;
        Ok(file.as_ref().map(|file| file.get("model_type").string()).transpose()?.flatten().map(str::to_owned))
    }

    /// Reads the file of a model that sentence-transformers calls `family`, or does not call at all.
    ///
    /// # Errors
    /// If it is of another family: `instead` says what loads which.
    pub(crate) fn read(layout: &Layout, family: &str) -> Result<Self> {
        // As in sentence-transformers, the file is nothing without the list of modules.
        let file = if layout.is_bare { None } else { JsonFile::read_if_there(path(layout), &KEYS)? };
        let Some(file) = file else {
            return Ok(Self { file: None, prompts: Prompts::of(family), similarity: None, dimensions: None });
        };
        // Older releases name no family, and saved sentence encoders alone.
        let setting = file.get("model_type");
        let given = if setting.is_there() { setting.string()? } else { Some(SENTENCE_TRANSFORMER) };
        if given != Some(family) {
            return Err(setting.wrong(format!(
                "{family:?}; a \"SentenceTransformer\", which is also what is meant by no such key, is loaded by \
                 EmbeddingModel, a \"CrossEncoder\" by Reranker or Classifier, a \"SparseEncoder\" by SparseEncoder"
            )));
        }
        let prompts = Prompts::read(&file, family)?;
        // As sentence-transformers: one that it does not know is none.
        let similarity = file.get("similarity_fn_name").string()?.and_then(Similarity::named);
        let dimensions = file.get("truncate_dim").size()?;
        Ok(Self { prompts, similarity, dimensions, file: Some(file) })
    }
}

/// A text that goes before others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prompt(Option<Arc<str>>);

impl Prompt {
    pub(crate) fn new(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.into()))
    }

    /// The text; empty, if there is none.
    pub(crate) fn text(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

/// The prompts that a model has, by their names.
#[derive(Clone, Debug)]
pub(crate) struct Prompts {
    named: Vec<(String, Prompt)>,
    /// What goes before texts where nothing else is said.
    pub(crate) default: Prompt,
}

impl Prompts {
    /// Those of a model that has none. Encoders have two names without their being written, with empty prompts.
    fn of(family: &str) -> Self {
        let names: &[&str] = if family == CROSS_ENCODER { &[] } else { &["query", "document"] };
        let named = names.iter().map(|name| ((*name).to_owned(), Prompt::default())).collect();
        Self { named, default: Prompt::default() }
    }

    fn read(file: &JsonFile, family: &str) -> Result<Self> {
        const EXPECTED: &str = "an object of texts by their names";
        let mut prompts = Self::of(family);
        let setting = file.get("prompts");
        for (name, value) in setting.convert(EXPECTED, Json::as_object)?.unwrap_or_default() {
            let text = match value {
                Json::Null => "",
                Json::String(text) => text,
                _ => return Err(setting.wrong_at(name, "a text, or null")),
            };
            match prompts.named.iter_mut().find(|(known, _)| known == name) {
                Some((_, prompt)) => *prompt = Prompt::new(text),
                None => prompts.named.push((name.clone(), Prompt::new(text))),
            }
        }
        let setting = file.get("default_prompt_name");
        if let Some(name) = setting.string()?.filter(|name| !name.is_empty()) {
            let names = || format!("null, or one of the names of `prompts`: {}", prompts.names());
            prompts.default = prompts.find(name).ok_or_else(|| setting.wrong(names()))?;
        }
        Ok(prompts)
    }

    /// The prompt of this name.
    ///
    /// # Errors
    /// [`Error::PromptName`] if there is none.
    pub(crate) fn get(&self, name: &str) -> Result<Prompt> {
        self.find(name).ok_or_else(|| Error::PromptName { given: name.to_owned(), known: self.names() })
    }

    fn find(&self, name: &str) -> Option<Prompt> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, prompt)| prompt.clone())
    }

    /// All names and texts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.named.iter().map(|(name, prompt)| (name.as_str(), prompt.text()))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.named.iter().map(|(name, _)| format!("{name:?}")).collect();
        names.join(", ")
    }
}
