//! The sentence-transformers layout: which modules a model is made of, and where their files are.

use crate::error::{Error, Result};
use crate::files::expect_checkpoint;
use crate::json::{Json, read_array};
use std::path::{Component, Path, PathBuf};

/// What `modules.json` says.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Where the model is.
    pub(crate) directory: PathBuf,
    /// The modules in their order.
    pub(crate) modules: Vec<Module>,
    /// Whether no file says so: sentence-transformers, which would have written it, has not saved the model.
    pub(crate) is_bare: bool,
}

/// The kinds of modules that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Transformer,
    /// A transformer with a masked-LM head.
    MLMTransformer,
    Pooling,
    Dense,
    Normalize,
    LayerNorm,
    Dropout,
    SpladePooling,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Transformer,
        Self::MLMTransformer,
        Self::Pooling,
        Self::Dense,
        Self::Normalize,
        Self::LayerNorm,
        Self::Dropout,
        Self::SpladePooling,
    ];

    /// The one with this class in Python.
    fn of(class: &str) -> Option<Self> {
        // The package's inner path differs between its versions: `sentence_transformers.models.Pooling` and others.
        let name = class.strip_prefix("sentence_transformers.")?.rsplit('.').next()?;
        Self::ALL.into_iter().find(|kind| format!("{kind:?}") == name)
    }
}

/// A module of a model.
#[derive(Debug)]
pub(crate) struct Module {
    name: Option<String>,
    pub(crate) kind: Kind,
    /// Where its files are.
    pub(crate) folder: PathBuf,
}

impl Layout {
    /// Reads `modules.json` of a model directory. A checkpoint of the transformers library has none, and one module.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let directory = &crate::hub::resolve(directory)?;
        let path = directory.join("modules.json");
        let values = match read_array(&path) {
            Err(error @ Error::Io { .. }) if error.is_not_found() => {
                expect_checkpoint(directory, error)?;
                let transformer = Module { name: None, kind: Kind::Transformer, folder: directory.to_owned() };
                return Ok(Self { directory: directory.to_owned(), modules: vec![transformer], is_bare: true });
            }
            values => values?,
        };
        let parse = |(index, value)| Module::parse(value, index, &path, directory);
        let modules: Vec<Module> = values.iter().enumerate().map(parse).collect::<Result<_>>()?;
        for (index, module) in modules.iter().enumerate() {
            // sentence-transformers would put the later one in the place of the earlier one.
            if module.name.is_some() && modules[..index].iter().any(|before| before.name == module.name) {
                let given = format!("{:?}", module.name.as_deref().unwrap_or_default());
                return Err(setting(&path, &format!("name of module {index}"), given, "a name of its own"));
            }
        }
        Ok(Self { directory: directory.to_owned(), modules, is_bare: false })
    }

    /// The module with the encoder, which is the first.
    pub(crate) fn transformer(&self) -> Result<&Module> {
        self.modules.first().ok_or_else(|| self.wrong("a Transformer first"))
    }

    /// What the modules are.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.modules.iter().map(|module| module.kind).collect()
    }

    /// The error that there should be other modules.
    pub(crate) fn wrong(&self, expected: &str) -> Error {
        setting(&self.directory.join("modules.json"), "type of the modules", format!("{:?}", self.kinds()), expected)
    }
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
        let Some(kind) = Kind::of(class) else {
            let kinds: Vec<_> = Kind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
            let expected = format!("sentence_transformers' {}; no other module is supported", kinds.join(", "));
            return Err(setting(file, &format!("type of module {index}"), format!("{class:?}"), &expected));
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

fn setting(path: &Path, key: &str, given: String, expected: &str) -> Error {
    Error::Setting { path: path.to_owned(), key: key.to_owned(), given, expected: expected.to_owned() }
}
