//! What a pull reads and writes in a model's top folder, beside the files that it fetches.

use crate::error::{Error, Result};
use crate::files::read_file_if_there;
use crate::json::{Json, MAX_SETTINGS_BYTES, read_array};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The folders of a model with files to load: its own, written as nothing, and those of its modules.
pub(super) fn folders(directory: &Path) -> Result<Vec<String>> {
    let mut folders = vec![String::new()];
    let modules = match read_array(&directory.join("modules.json")) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        modules => modules?,
    };
    for module in modules {
        // What is no string, the load refuses.
        let path = module.get("path").and_then(Json::as_str).unwrap_or_default().trim_matches('/').to_owned();
        if !folders.contains(&path) {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// The list of weights in several files.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether the weights in a directory are all there. A pull fetches them last, and the hub's own tools leave those out
/// that they have not fetched yet.
pub(super) fn is_whole(directory: &Path) -> bool {
    let Ok(folders) = folders(directory) else { return false };
    let mut weights = 0;
    for folder in folders.iter().map(|folder| directory.join(folder)) {
        if folder.join("model.safetensors").is_file() {
            weights += 1;
            continue;
        }
        let index = read_file_if_there(&folder.join("model.safetensors.index.json"), MAX_SETTINGS_BYTES);
        let Ok(Some(index)) = index else { continue };
        let Ok(Index { weight_map }) = serde_json::from_slice(&index) else { return false };
        if !weight_map.values().all(|file| folder.join(file).is_file()) {
            return false;
        }
        weights += 1;
    }
    weights > 0
}

/// Enters which commit a revision is; all at once.
pub(super) fn write_ref(top: &Path, revision: &str, commit: &str) -> Result<()> {
    let path = top.join("refs").join(revision);
    let new = path.with_file_name(format!(".new-{}", std::process::id()));
    let write = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&new, commit)?;
        fs::rename(&new, &path)
    };
    write().map_err(|source| Error::Io { path: path.clone(), source: source.into() })
}
