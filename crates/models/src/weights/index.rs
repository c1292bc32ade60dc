//! The list of a checkpoint's files: `model.safetensors.index.json`, where the weights are in several.

use crate::error::Result;
use crate::json::{Json, JsonFile, Keys, Others};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// The list's name.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// The most files of one checkpoint: each is kept open while a model loads. Checkpoints of hundreds of gigabytes have
/// about as many.
const MOST_FILES: usize = 128;

static KEYS: Keys = Keys {
    read: &["weight_map"],
    read_ending: None,
    harmless: &[],
    // The transformers library reads no other.
    others: Others::Harmless,
};

/// Which files there are, and which of them a tensor is said to be in. What is in a file, its own header says.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) path: PathBuf,
    /// The files, in the order of their names.
    pub(super) files: Vec<PathBuf>,
    /// A file by a tensor's name.
    map: BTreeMap<String, PathBuf>,
}

impl Index {
    /// Reads the list in a folder, if it has one.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        const EXPECTED: &str = "an object: for each tensor's name a file's";
        let path = folder.join(INDEX);
        let Some(file) = JsonFile::read_if_there(path.clone(), &KEYS)? else { return Ok(None) };
        let setting = file.get("weight_map");
        let entries = setting.convert(EXPECTED, Json::as_object)?.ok_or_else(|| setting.wrong(EXPECTED))?;
        let (mut map, mut files) = (BTreeMap::new(), BTreeSet::new());
        for (name, value) in entries {
            // A path that leaves the folder would let a downloaded model name any file of the machine.
            let inside = value.as_str().filter(|file| {
                let mut parts = Path::new(file).components();
                !file.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
            });
            let Some(inside) = inside else {
                return Err(setting.wrong_at(name, "the name of a file in the same folder"));
            };
            let shard = folder.join(inside);
            files.insert(shard.clone());
            map.insert(name.clone(), shard);
            if files.len() > MOST_FILES {
                let given = format!("a map to more than {MOST_FILES} files");
                return Err(file.wrong("weight_map", given, format!("at most {MOST_FILES}")));
            }
        }
        if files.is_empty() {
            return Err(setting.wrong("an object that names at least one file"));
        }
        Ok(Some(Self { path, files: files.into_iter().collect(), map }))
    }

    /// The file that is said to have the tensor.
    pub(super) fn file_of(&self, name: &str) -> Option<&Path> {
        self.map.get(name).map(PathBuf::as_path)
    }
}
