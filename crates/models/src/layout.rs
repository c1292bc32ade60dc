//! The sentence-transformers layout: which modules a model is made of, and where their files are.

use crate::error::{Error, Result};
use crate::files::no_modules;
use crate::json::{Json, JsonFile, Keys, Others, read_array};
use std::io;
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
        let directory = &crate::hub::resolve(directory)?;
        let path = directory.join("modules.json");
        let modules: Vec<Module> = read_array(&path)
            .map_err(|error| match error {
                Error::Io { ref source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    no_modules(directory, error)
                }
                other => other,
            })?
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
        for (index, module) in modules.iter().enumerate() {
            // sentence-transformers would put the later one in the place of the earlier one.
            if module.name.is_some() && modules[..index].iter().any(|before| before.name == module.name) {
                let given = format!("{:?}", module.name.as_deref().unwrap_or_default());
                return Err(setting(&path, &format!("name of module {index}"), given, "a name of its own"));
            }
        }
        check_model(directory)?;
        let mut folders = modules.into_iter().map(|module| module.folder);
        let (Some(transformer), Some(pooling)) = (folders.next(), folders.next()) else {
            unreachable!("both accepted sequences begin with two modules");
        };
        if let Some(normalize) = folders.next() {
            check_normalize(&normalize)?;
        }
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
    name: Option<String>,
    kind: Kind,
    folder: PathBuf,
}

impl Module {
    fn parse(value: &Json, index: usize, file: &Path, directory: &Path) -> Result<Self> {
        let field = |name: &str| {
            let value = value.get(name).filter(|value| !value.is_null());
            let given = value.map_or_else(|| "missing".to_owned(), Json::to_string);
            value
                .and_then(Json::as_str)
                .ok_or_else(|| setting(file, &format!("{name} of module {index}"), given, "a string"))
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
        let name = value.get("name").and_then(Json::as_str).map(str::to_owned);
        Ok(Self { name, kind, folder: directory.join(path) })
    }
}

/// The keys of `config_sentence_transformers.json`.
static MODEL_KEYS: Keys = Keys {
    read: &["default_prompt_name", "model_type", "prompts", "truncate_dim"],
    read_ending: None,
    harmless: &[
        (&["similarity_fn_name"], "it compares embeddings, and makes none"),
        (&["requirements"], "they are of Python packages"),
    ],
    // Sentence-transformers reads no other that changes an embedding.
    others: Others::Harmless,
};

/// Reads `config_sentence_transformers.json`, if there is one: what it asks for changes every embedding, and is not
/// supported.
fn check_model(directory: &Path) -> Result<()> {
    let path = directory.join("config_sentence_transformers.json");
    let Some(file) = JsonFile::read_if_there(path, &MODEL_KEYS)? else { return Ok(()) };
    let family = file.get("model_type");
    family.only(&["SentenceTransformer".into()], "\"SentenceTransformer\"")?;
    if file.has("model_type") && family.value().is_none() {
        return Err(family.wrong("\"SentenceTransformer\", or no such key"));
    }
    if file.get("truncate_dim").value().is_some() {
        return Err(file
            .get("truncate_dim")
            .wrong("null: cut the embeddings yourself, they are not scaled afterwards"));
    }
    let setting = file.get("default_prompt_name");
    let Some(name) = setting.string()?.filter(|name| !name.is_empty()) else { return Ok(()) };
    match file.get("prompts").value().and_then(|prompts| prompts.get(name)) {
        // Two names are there without being written, with empty prompts.
        None if ["query", "document"].contains(&name) => Ok(()),
        None => Err(setting.wrong("null, or the name of one of `prompts`")),
        Some(Json::Null) => Ok(()),
        Some(Json::String(prompt)) if prompt.is_empty() => Ok(()),
        Some(_) => Err(setting.wrong(
            "null, or the name of an empty prompt: default prompts are not supported; put the prompt before your texts",
        )),
    }
}

/// The keys of the Normalize module's `config.json`.
static NORMALIZE_KEYS: Keys = Keys {
    read: &["module_input_name", "module_output_name"],
    read_ending: None,
    harmless: &[],
    // Sentence-transformers takes these two and leaves all others.
    others: Others::Harmless,
};

/// Reads the Normalize module's `config.json`, if there is one: it scales the sentence's embedding, and nothing else.
fn check_normalize(folder: &Path) -> Result<()> {
    let Some(file) = JsonFile::read_if_there(folder.join("config.json"), &NORMALIZE_KEYS)? else { return Ok(()) };
    NORMALIZE_KEYS
        .read
        .iter()
        .try_for_each(|key| file.get(key).only(&["sentence_embedding".into()], "\"sentence_embedding\""))
}

fn setting(path: &Path, key: &str, given: String, expected: &str) -> Error {
    Error::Setting { path: path.to_owned(), key: key.to_owned(), given, expected: expected.to_owned() }
}
