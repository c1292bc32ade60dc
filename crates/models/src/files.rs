//! Files of a model: opened and read within limits, and what is told of one that is not what it seems, or not there.

use crate::weights::{INDEX, WEIGHTS};
use crate::{Error, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// How a Git LFS pointer begins: the small file that stands for a large one in a repository.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let io_error = |source: io::Error| Error::Io { path: path.to_owned(), source: source.into() };
    let (file, _) = open_file(path)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io_error)?;
    let read = bytes.len() as u64;
    if read > limit {
        return Err(Error::TooLarge { path: path.to_owned(), what: "the file", bytes: read, limit });
    }
    refuse_pointer(path, &bytes)?;
    Ok(bytes)
}

/// As [`read_file`], for a file that may be absent.
pub(crate) fn read_file_if_there(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    match read_file(path, limit) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Opens a regular file; also its length. Anything else, such as a pipe that would block, is an error.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64)> {
    let io_error = |source: io::Error| Error::Io { path: path.to_owned(), source: source.into() };
    let metadata = std::fs::metadata(path).map_err(io_error)?;
    if !metadata.is_file() {
        return Err(io_error(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    Ok((File::open(path).map_err(io_error)?, metadata.len()))
}

/// An error if a file begins as a Git LFS pointer does.
pub(crate) fn refuse_pointer(path: &Path, beginning: &[u8]) -> Result<()> {
    if beginning.starts_with(LFS_POINTER) {
        return Err(Error::LfsPointer { path: path.to_owned() });
    }
    Ok(())
}

const MERGE: &str = "apply it in Python and save the whole model: merge_and_unload(), then save";

/// An error if a folder holds an adapter, which changes the weights of a model.
pub(crate) fn refuse_adapter(folder: &Path) -> Result<()> {
    let path = folder.join("adapter_config.json");
    if path.is_file() {
        return Err(Error::NotAModel {
            path,
            found: "an adapter (PEFT) that changes the weights of a model".to_owned(),
            advice: MERGE.to_owned(),
        });
    }
    Ok(())
}

/// An error if a weights file begins as files of other kinds do, of which its first bytes tell.
pub(crate) fn refuse_other_weights(path: &Path, beginning: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(beginning)
        .ok()
        .filter(|text| text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace()));
    let (found, advice) = match (beginning, text) {
        ([], _) => ("an empty file".to_owned(), "download it again"),
        ([b'<', ..], _) => ("a web page, not weights".to_owned(), "download it again, by its direct address"),
        ([b'P', b'K', 3, 4, ..] | [0x80, 1..6, ..], _) => {
            ("the weights as PyTorch pickles them, under another name".to_owned(), SAVE)
        }
        (_, Some(text)) => (format!("text that begins {text:?}, not weights"), "download it again"),
        _ => return Ok(()),
    };
    Err(Error::NotAModel { path: path.to_owned(), found, advice: advice.to_owned() })
}

/// How many bytes [`refuse_pointer`] has to see.
pub(crate) const POINTER_BYTES: u64 = LFS_POINTER.len() as u64;

/// Fails for a directory without `modules.json`, unless it looks like a checkpoint of the transformers library: with
/// what the directory is instead, if that can be told.
pub(crate) fn expect_checkpoint(directory: &Path, source: Error) -> Result<()> {
    match instead(directory) {
        Some(error) => Err(error),
        None if directory.join("config.json").exists() => Ok(()),
        None => Err(source),
    }
}

/// What a directory is that has no `modules.json`.
fn instead(directory: &Path) -> Option<Error> {
    let found = |found: String, advice: &str| {
        Some(Error::NotAModel { path: directory.to_owned(), found, advice: advice.to_owned() })
    };
    let Entries { files, folders } = Entries::of(directory);
    if folders.iter().any(|name| name.starts_with("models--")) {
        let advice = "give the folder of one model, models--ORGANISATION--NAME, or its name, ORGANISATION/NAME";
        return found("a cache of the Hugging Face hub".into(), advice);
    }
    let below: Vec<_> = folders.iter().filter(|name| directory.join(name).join("modules.json").is_file()).collect();
    match below[..] {
        [] => {}
        [folder] => {
            let advice = format!("give the folder with the model: {}", directory.join(folder).display());
            return found("a folder with a model in it".into(), &advice);
        }
        _ => return found(format!("a folder with {} models in it", below.len()), "give the folder of one of them"),
    }
    if directory.join("../modules.json").is_file() {
        return found("a module of the model in the folder above".into(), "give that folder");
    }
    let has = |name: &str| files.iter().any(|file| file == name);
    if let Some((what, advice)) = other_weights(&files, &folders).filter(|_| !has(WEIGHTS) && !has(INDEX)) {
        return found(what.to_owned(), advice);
    }
    None
}

/// The error for a folder without `model.safetensors`: what holds the weights instead, if that can be told.
pub(crate) fn no_weights(folder: &Path, source: Error) -> Error {
    let Entries { files, folders } = Entries::of(folder);
    match other_weights(&files, &folders) {
        None => source,
        Some((what, advice)) => Error::NotAModel {
            path: folder.join("model.safetensors"),
            found: format!("not there, but {what}"),
            advice: advice.to_owned(),
        },
    }
}

const SAVE: &str = "load it with sentence-transformers and save it again, which writes model.safetensors: \
                    SentenceTransformer(FOLDER).save(NEW_FOLDER)";

/// Weights in another format than safetensors: what they are, and what to do.
fn other_weights(files: &[String], folders: &[String]) -> Option<(&'static str, &'static str)> {
    const FETCH: &str = "download the model again with its model.safetensors";
    let file = |test: &dyn Fn(&str) -> bool| files.iter().any(|name| test(name));
    if file(&|name| name.starts_with("adapter_model")) {
        return Some(("an adapter (PEFT) alone, which changes the weights of another model", MERGE));
    }
    if file(&|name| name.starts_with("pytorch_model") && name.ends_with(".bin")) {
        return Some(("the weights as PyTorch pickles them (pytorch_model.bin), which would run code when read", SAVE));
    }
    if file(&|name| name.ends_with(".onnx")) || folders.iter().any(|name| name == "onnx") {
        return Some(("a model exported to ONNX", FETCH));
    }
    if file(&|name| name.starts_with("openvino_")) || folders.iter().any(|name| name == "openvino") {
        return Some(("a model exported to OpenVINO", FETCH));
    }
    if file(&|name| name.ends_with(".gguf")) {
        return Some(("a model in the GGUF format", FETCH));
    }
    if file(&|name| name.ends_with(".safetensors") && name.contains("-of-")) {
        return Some(("weights in several safetensors files without model.safetensors.index.json, their list", FETCH));
    }
    if file(&|name| name.ends_with(".safetensors") && name != WEIGHTS) {
        return Some(("safetensors files of other names", "rename the one with the whole model to model.safetensors"));
    }
    if file(&|name| matches!(name, "tf_model.h5" | "flax_model.msgpack" | "rust_model.ot")) {
        return Some(("weights for another framework (TensorFlow, Flax or tch)", FETCH));
    }
    None
}

/// The names in a directory, of those that are text; none if it cannot be read.
pub(crate) struct Entries {
    files: Vec<String>,
    pub(crate) folders: Vec<String>,
}

impl Entries {
    /// The most that are looked at. A model's directory has a few dozen.
    const MOST: usize = 10_000;

    pub(crate) fn of(directory: &Path) -> Self {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().take(Self::MOST);
        for entry in entries {
            let path: PathBuf = entry.path();
            if let Ok(name) = entry.file_name().into_string() {
                if path.is_dir() { folders.push(name) } else { files.push(name) }
            }
        }
        folders.sort();
        Self { files, folders }
    }
}
