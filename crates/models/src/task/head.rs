//! What `config.json` says of a checkpoint's head: what it was made for.

use crate::error::Result;
use crate::json::{Json, JsonFile, Keys, Others};
use std::path::Path;

/// The keys that are read.
static KEYS: Keys = Keys {
    read: &["architectures", "is_causal"],
    read_ending: None,
    harmless: &[],
    // What others mean, those say who read them.
    others: Others::Harmless,
};

/// The file.
#[derive(Debug)]
pub(crate) struct Head {
    file: JsonFile,
}

impl Head {
    /// Reads `config.json` in the transformer's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        Ok(Self { file: JsonFile::read(folder.join("config.json"), &KEYS)? })
    }

    /// The classes that the model was saved as.
    fn architectures(&self) -> Result<Vec<&str>> {
        let list = |value| Json::as_array(value)?.iter().map(Json::as_str).collect();
        Ok(self.file.get("architectures").convert("a list of names", list)?.unwrap_or_default())
    }

    /// Whether the model was made to continue texts.
    pub(crate) fn continues_texts(&self) -> Result<bool> {
        let is_causal = self.file.get("is_causal").flag()?.unwrap_or(true);
        Ok(is_causal && self.architectures()?.first().is_some_and(|name| name.ends_with("ForCausalLM")))
    }
}
