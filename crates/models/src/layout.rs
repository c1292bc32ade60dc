//! The sentence-transformers layout: which modules a model is made of, and where their files are.

use crate::error::{Error, Result};
use crate::json::{JsonFile, read_json};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// What `modules.json` says, reduced to the one sequence that is supported: Transformer, Pooling, and perhaps
/// Normalize.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The folder of config.json, model.safetensors and tokenizer.json.
    pub(crate) transformer: PathBuf,
    /// The folder of the pooling's config.json.
    pub(crate) pooling: PathBuf,
    /// Whether embeddings are scaled to unit length.
    pub(crate) normalize: bool,
}

impl Layout {
    /// Reads `modules.json` of a model directory.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        match std::fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(Error::NotADirectory { path: directory.to_owned(), found: "a file" }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotADirectory { path: directory.to_owned(), found: "nothing there" });
            }
            Err(source) => return Err(Error::Io { path: directory.to_owned(), source: source.into() }),
        }
        refuse_prompts(directory)?;
        let path = directory.join("modules.json");
        let modules: Vec<Value> = read_json(&path)?;
        let modules: Vec<Module> = modules
            .iter()
            .enumerate()
            .map(|(index, value)| Module::parse(value, index, &path, directory))
            .collect::<Result<_>>()?;
        let kinds: Vec<Kind> = modules.iter().map(|module| module.kind).collect();
        let normalize = match kinds[..] {
            [Kind::Transformer, Kind::Pooling] => false,
            [Kind::Transformer, Kind::Pooling, Kind::Normalize] => true,
            _ => {
                let given = format!("{kinds:?}");
                let expected = "[Transformer, Pooling], then Normalize or nothing";
                return Err(setting(&path, "type of the modules", given, expected));
            }
        };
        let mut folders = modules.into_iter().map(|module| module.folder);
        let (Some(transformer), Some(pooling)) = (folders.next(), folders.next()) else {
            unreachable!("both accepted sequences begin with two modules");
        };
        Ok(Self { transformer, pooling, normalize })
    }
}

/// The modules that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transformer,
    Pooling,
    Normalize,
}

struct Module {
    kind: Kind,
    folder: PathBuf,
}

impl Module {
    fn parse(value: &Value, index: usize, file: &Path, directory: &Path) -> Result<Self> {
        let field = |name: &str| {
            let value = &value[name];
            let given = if value.is_null() { "missing".to_owned() } else { value.to_string() };
            value.as_str().ok_or_else(|| setting(file, &format!("{name} of module {index}"), given, "a string"))
        };
        let class = field("type")?;
        // The package's inner path differs between its versions: `sentence_transformers.models.Pooling` and others.
        let name = class.strip_prefix("sentence_transformers.").and_then(|class| class.rsplit('.').next());
        let kind = match name {
            Some("Transformer") => Kind::Transformer,
            Some("Pooling") => Kind::Pooling,
            Some("Normalize") => Kind::Normalize,
            _ => {
                let expected = "sentence_transformers' Transformer, Pooling or Normalize; no other module is supported";
                return Err(setting(file, &format!("type of module {index}"), format!("{class:?}"), expected));
            }
        };
        let path = field("path")?;
        // A path that leaves the directory would let a downloaded model name any file of the machine.
        if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            let expected = "a relative path that stays inside the model directory";
            return Err(setting(file, &format!("path of module {index}"), format!("{path:?}"), expected));
        }
        Ok(Self { kind, folder: directory.join(path) })
    }
}

/// A default prompt would be put before every text. Leaving it out would give other embeddings, silently.
fn refuse_prompts(directory: &Path) -> Result<()> {
    let Some(file) = JsonFile::read_if_there(directory.join("config_sentence_transformers.json"))? else {
        return Ok(());
    };
    match file.optional_string("default_prompt_name")? {
        None => Ok(()),
        Some(name) => {
            Err(file.wrong("default_prompt_name", format!("{name:?}"), "null: default prompts are not supported"))
        }
    }
}

fn setting(path: &Path, key: &str, given: String, expected: &str) -> Error {
    Error::Setting { path: path.to_owned(), key: key.to_owned(), given, expected: expected.to_owned() }
}
